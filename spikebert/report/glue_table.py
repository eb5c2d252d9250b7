"""The table of GLUE, beside the paper's row.

Values are percent of the set's metric. A set without runs has a row that says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from ..config.registry import BASE
from ..records.paper import GLUE, GLUE_AVERAGE
from ..records.records import Record
from .published import Notes, Published, group, is_proxy, proxies, summary_cells
from .render import COUNT, PERCENT, PROXY_NOTE, TEXT, WIDE, Table, frame

COLUMNS = {
    **dict.fromkeys(("dataset", "metric"), TEXT),
    **dict.fromkeys(("teacher", "direct", "mean", "sd", "ci_low", "ci_high"), PERCENT),
    "seeds": COUNT,
    "paper": PERCENT,
    "paper_status": TEXT,
    "n_test": COUNT,
    "note": WIDE,
}
AVERAGE = "average"
NOTES = (
    "mean, sd, ci: the student of both stages, over seeds, in percent of the metric (ci: 95 % "
    "interval of the mean, Student's t, empty with one seed); teacher, direct: means of the "
    "fine-tuned BERT and of direct training. pearson_spearman is the mean of the two "
    "correlations. glue_mnli and glue_mnli_mm train on the same rows, once each, and test on the "
    "matched and the mismatched ones.",
    "paper: the row as later papers quote it, which name neither the split nor the metrics; its "
    "average is over these nine values.",
)


def glue_table(records: Iterable[Record], notes: Notes) -> pd.DataFrame:
    """A row for each set of GLUE and one for their mean, with the columns `COLUMNS`.

    `notes` gives of each set its metric and the split that is tested on (`test`), whether it is
    a proxy (`analogue`), or the `reason` why it has no runs.
    """
    groups = group(records)
    rows = []
    for name, paper in GLUE.items():
        note = notes.get(name, {})
        row: dict[str, Any] = {
            "dataset": name,
            "metric": note.get("metric", ""),
            "seeds": 0,
            "paper": paper.mean,
            "paper_status": paper.status,
            "note": note.get("reason") or _splits(note, is_proxy(notes, name)),
        }
        for model in ("teacher", "direct"):
            if members := groups.get((name, model, BASE)):
                row[model] = 100 * fmean(record.score for record in members)
        if members := groups.get((name, "spikebert", BASE)):
            row |= {**summary_cells(members), "n_test": members[0].n_test}
        elif "reason" not in note:
            row["note"] = "; ".join(filter(None, ["no runs of spikebert", row["note"]]))
        rows.append(row)
    return frame([*rows, _average(rows, proxies(notes))], COLUMNS)


def _splits(note: Mapping[str, Any], proxy: bool) -> str:
    words = ["a stand-in"] if proxy else []
    if note.get("test"):
        words.append(f"tested on {note['test']}, the labels of GLUE's test split are not public")
    return "; ".join(words)


def _average(rows: list[dict[str, Any]], proxy_sets: set[str]) -> dict[str, Any]:
    """The mean of all nine, empty where a set is missing or a stand-in."""
    line: dict[str, Any] = {
        "dataset": AVERAGE,
        "metric": "",
        "seeds": min(row["seeds"] for row in rows),
        "paper": GLUE_AVERAGE,
        "paper_status": "sourced",
        "note": "",
    }
    for column in ("teacher", "direct", "mean"):
        if all(column in row for row in rows) and not proxy_sets:
            line[column] = fmean(row[column] for row in rows)
    if "mean" not in line:
        lacking = [row["dataset"] for row in rows if "mean" not in row]
        line["note"] = f"{len(lacking)} of {len(rows)} sets have no runs of spikebert"
        if proxy_sets:
            line["note"] = f"stand-ins: {', '.join(sorted(proxy_sets))}"
    return line


def write_glue(run: Published, out: Path) -> None:
    """Write glue.csv, glue.md and glue.tex into the folder `out`."""
    notes = [*NOTES, *([f"A{PROXY_NOTE[1:]}."] if proxies(run.glue) else [])]
    Table(glue_table(run.read(), run.glue), COLUMNS, notes).write(out / "glue")
