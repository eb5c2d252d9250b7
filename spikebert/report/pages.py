"""Tables as web pages: one file each, with nothing to load, for the report.

A page holds the Markdown table that a run publishes, and its notes; its frame is page.html.j2.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markdown_it import MarkdownIt

from ..errors import UserError
from ..utils.files import write_text

FOLDER = FileSystemLoader(Path(__file__).parent)
TEMPLATES = Environment(
    loader=FOLDER, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
)


def page(markdown: str, title: str) -> str:
    """HTML of a Markdown text with a table, numbers aligned as that says; HTML in it stays text."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    if "<table>" not in body:
        raise UserError(
            f"table {title}",
            expected="Markdown with a table",
            got=markdown[:60] or "nothing",
            fix="name a file of results/<run>/tables",
        )
    return TEMPLATES.get_template("page.html.j2").render(title=title, body=body)


def write_pages(tables: Iterable[str | Path], out: str | Path) -> None:
    """Write <name>.html into the folder `out` for every <name>.md; a `UserError` if one is missing
    or holds no table."""
    for table in map(Path, tables):
        try:
            markdown = table.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"table {table}", expected="a Markdown file", got=error, fix="make the tables"
            ) from None
        write_text(Path(out) / f"{table.stem}.html", page(markdown, table.stem.replace("_", " ")))
