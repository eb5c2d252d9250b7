"""Tables as web pages: one file each, with nothing to load, for the report.

A page holds the Markdown table that a run publishes, and its notes.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt

from ..errors import UserError
from ..utils.files import write_text

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem; color: #1e293b; }
h1 { font-size: 1.2rem; }
.sheet { overflow-x: auto; }
table { width: max-content; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; vertical-align: top; max-width: 22rem; }
thead th { border-top: 2px solid; border-bottom: 1px solid; }
tbody tr:last-child td { border-bottom: 2px solid; }
tbody tr:nth-child(even) { background: #f1f5f9; }
p { max-width: 60rem; font-size: .9rem; }
"""


def page(markdown: str, title: str) -> str:
    """HTML of a Markdown text, numbers aligned as its table says; HTML in it stays text.

    Raises:
        UserError: there is no table in it.
    """
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    if "<table>" not in body:
        raise UserError(
            f"table {title}",
            expected="Markdown with a table",
            got=markdown[:60] or "nothing",
            fix="name a file of results/<run>/tables",
        )
    body = body.replace("<table>", '<div class="sheet"><table>').replace(
        "</table>", "</table></div>"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{body}</body>\n</html>\n"
    )


def write_pages(tables: Iterable[str | Path], out: str | Path) -> None:
    """Write <name>.html into the folder `out` for every <name>.md.

    Raises:
        UserError: a file is missing, or holds no table.
    """
    for table in map(Path, tables):
        try:
            markdown = table.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"table {table}", expected="a Markdown file", got=error, fix="make the tables"
            ) from None
        write_text(Path(out) / f"{table.stem}.html", page(markdown, table.stem.replace("_", " ")))
