"""Tables as web pages, parsed back."""

from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from spikebert.errors import UserError
from spikebert.report.pages import page, write_pages
from spikebert.report.render import markdown


class Reader(HTMLParser):
    """Cells by row, with their alignment, and every address that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.styles: list[str] = []
        self.loads: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        self.inside = tag in ("td", "th")
        if self.inside:
            self.rows[-1].append("")
            self.styles.append(given.get("style") or "")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    return reader


def test_page_shows_the_table_aligned_and_loads_nothing(tmp_path: Path) -> None:
    table = pd.DataFrame({"dataset": ["mr\\*", "a_b"], "mean": ["77.20", "9.00"]})
    (tmp_path / "training_cost.md").write_text(
        markdown(table, ["\\* a stand-in.", "a < b & <b>c</b>"], ["mean"]), encoding="utf-8"
    )
    write_pages([tmp_path / "training_cost.md"], tmp_path / "out")
    text = (tmp_path / "out" / "training_cost.html").read_text("utf-8")
    found = read(text)
    assert found.rows == [["dataset", "mean"], ["mr*", "77.20"], ["a_b", "9.00"]]
    assert found.styles == ["text-align:left", "text-align:right"] * 3
    assert found.loads == []
    assert "<title>training cost</title>" in text
    assert "<p>* a stand-in.</p>" in text
    assert "a &lt; b &amp; &lt;b&gt;c&lt;/b&gt;" in text  # stays text


def test_a_text_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Markdown with a table"):
        page("words", "x")
    with pytest.raises(UserError, match="make the tables"):
        write_pages([tmp_path / "none.md"], tmp_path)
