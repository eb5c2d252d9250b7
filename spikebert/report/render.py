"""Tables as CSV, Markdown and LaTeX: one writer for all of them. Nothing here imports torch.

A table declares its columns with their formats, and everything else follows from these: the types
of its values, how cells are printed and on which side. A cell without a value stays empty.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from ..utils.files import write_text

# Formats of columns: text, sentences, or numbers by Python's format specification.
TEXT, WIDE = "", "sentences"
COUNT, PERCENT = "d", ".2f"
PROXY_NOTE = "a stand-in, not the set of the paper: its accuracy is not comparable"
RECALLED_NOTE = "recalled, not seen in a public source"

Columns = Mapping[str, str]  # name -> format


def frame(rows: Iterable[Mapping[str, Any]], columns: Columns) -> pd.DataFrame:
    """Values of the rows by column: text, whole numbers that may be missing, or floats."""
    rows = list(rows)

    def column(name: str, form: str) -> pd.Series:
        cells = [row.get(name) for row in rows]
        if form in (TEXT, WIDE):
            return pd.Series(["" if cell is None else cell for cell in cells], dtype=object)
        return pd.Series(cells, dtype="Int64" if form.endswith("d") else "float64")

    return pd.DataFrame({name: column(name, form) for name, form in columns.items()})


def cells(values: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """The columns as text."""

    def printed(value: Any, form: str) -> str:
        return "" if pd.isna(value) else format(value, "" if form == WIDE else form)

    text = {name: [printed(v, form) for v in values[name]] for name, form in columns.items()}
    return pd.DataFrame(text, dtype=object)


@dataclass(frozen=True)
class Table:
    """Values to write, and how. Sets among `proxies` are marked, and so are the paper's values
    that `paper_status` calls recalled; notes below the table say what the marks mean."""

    values: pd.DataFrame
    columns: Columns  # those that are printed
    notes: Sequence[str] = ()
    proxies: Collection[str] = ()
    proxy_note: str = PROXY_NOTE
    significant: int | None = None  # digits in CSV; None: four decimals of fixed-point numbers

    def csv(self) -> str:
        fixed = [name for name, form in self.columns.items() if form.endswith("f")]
        whole = self.significant is not None
        values = self.values if whole else self.values.round(dict.fromkeys(fixed, 4))
        form = f"%.{self.significant}g" if whole else None
        return values.to_csv(index=False, lineterminator="\n", float_format=form)

    def markdown(self) -> str:
        numbers = [name for name, form in self.columns.items() if form not in (TEXT, WIDE)]
        return markdown(*self._marked(r"\*"), numbers=numbers)

    def latex(self) -> str:
        kinds = {TEXT: "l", WIDE: "p{4cm}"}
        return latex(*self._marked("*"), [kinds.get(form, "r") for form in self.columns.values()])

    def write(self, path: Path) -> None:
        """Write `path` with the suffixes .csv, .md and .tex (for booktabs)."""
        for suffix, text in ((".csv", self.csv), (".md", self.markdown), (".tex", self.latex)):
            write_text(path.with_suffix(suffix), text())

    def _marked(self, mark: str) -> tuple[pd.DataFrame, list[str]]:
        text, notes = cells(self.values, self.columns), list(self.notes)
        if "dataset" in text and self.proxies:
            sets = [cell.split(", ") for cell in text["dataset"]]
            text["dataset"] = [
                ", ".join(name + mark * (name in self.proxies) for name in names) for names in sets
            ]
            if any(name in self.proxies for names in sets for name in names):
                notes.append(f"{mark} {self.proxy_note}.")
        if "paper_status" in self.values:
            recalled = self.values["paper_status"] == "recalled"
            for name in ("paper", "paper_difference"):
                if name in text:
                    text[name] += ["†" if marked else "" for marked in recalled]
            notes += [f"† {RECALLED_NOTE}."] if recalled.any() else []
        return text, notes


def markdown(text: pd.DataFrame, notes: Sequence[str], numbers: Collection[str]) -> str:
    """A Markdown table of cells that are text, columns of numbers to the right, notes below."""
    body = tabulate(
        text.values.tolist(),
        headers=list(text.columns),
        tablefmt="pipe",  # the one that says where numbers stand
        disable_numparse=True,
        colalign=["right" if name in numbers else "left" for name in text.columns],
    )
    return "\n\n".join([body, *notes]) + "\n"


def latex(text: pd.DataFrame, notes: Sequence[str], kinds: Sequence[str]) -> str:
    """A `tabular` for the package booktabs, its notes in small print below."""
    body = text.to_latex(index=False, escape=True, column_format="".join(kinds))
    below = "\\\\\n".join(re.sub(r"([%_&#$])", r"\\\1", note) for note in notes)
    return f"{body}\n\\footnotesize\n{below}\n".replace("†", r"\dag{}")
