"""The table of GLUE from records, beside the paper's row. Nothing here imports torch.

Values are percent of the set's metric. A set without runs has a row that says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from ..config.schema import BASE
from ..records.metrics import summarise
from ..records.paper import GLUE, GLUE_AVERAGE
from ..records.records import Record, read_records
from .evidence import write_sheet
from .tables import ANALOGUE_NOTE, group

COLUMNS = (
    "dataset",
    "metric",
    "teacher",
    "direct",
    "mean",
    "sd",
    "ci_low",
    "ci_high",
    "seeds",
    "paper",
    "paper_status",
    "n_test",
    "note",
)
PERCENT = ("teacher", "direct", "mean", "sd", "ci_low", "ci_high", "paper")
COUNTS = ("seeds", "n_test")
FORMATS = dict.fromkeys(PERCENT, ".2f") | dict.fromkeys(COUNTS, "d")
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

Notes = Mapping[str, Mapping[str, Any]]


def glue_table(records: Iterable[Record], notes: Notes) -> pd.DataFrame:
    """A row for each set of GLUE and one for their mean, with the columns `COLUMNS`.

    `notes` gives of each set its metric and the split that is tested on (`test`), whether it is
    an `analogue`, or the `reason` why it has no runs.
    """
    groups = group(records)
    rows = []
    for name, paper in GLUE.items():
        note = notes.get(name, {})
        row: dict[str, Any] = {
            "dataset": name,
            "metric": note.get("metric", ""),
            "seeds": 0,
            "paper": paper.accuracy,
            "paper_status": paper.status,
            "note": note.get("reason") or _splits(note),
        }
        for model in ("teacher", "direct"):
            if members := groups.get((name, model, BASE)):
                row[model] = 100 * fmean(record.score for record in members)
        if members := groups.get((name, "spikebert", BASE)):
            found = summarise([100 * record.score for record in members])
            row |= {key: getattr(found, key) for key in ("mean", "sd", "ci_low", "ci_high")}
            row |= {"seeds": found.count, "n_test": members[0].n_test}
        elif "reason" not in note:
            row["note"] = "; ".join(filter(None, ["no runs of spikebert", row["note"]]))
        rows.append(row)
    rows.append(_average(rows, {name for name, note in notes.items() if note.get("analogue")}))
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype(dict.fromkeys(PERCENT, float) | dict.fromkeys(COUNTS, "Int64"))


def _splits(note: Mapping[str, Any]) -> str:
    words = ["a stand-in"] if note.get("analogue") else []
    if note.get("test"):
        words.append(f"tested on {note['test']}, the labels of GLUE's test split are not public")
    return "; ".join(words)


def _average(rows: list[dict[str, Any]], analogues: set[str]) -> dict[str, Any]:
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
        if all(column in row for row in rows) and not analogues:
            line[column] = fmean(row[column] for row in rows)
    if "mean" not in line:
        lacking = [row["dataset"] for row in rows if "mean" not in row]
        line["note"] = f"{len(lacking)} of {len(rows)} sets have no runs of spikebert"
        if analogues:
            line["note"] = f"stand-ins: {', '.join(sorted(analogues))}"
    return line


def write_glue(records: Iterable[str | Path], out: str | Path, notes: Notes) -> None:
    """Read records and write glue.csv, glue.md and glue.tex into the folder `out`."""
    table = glue_table(read_records(records), notes)
    analogue = any(note.get("analogue") for note in notes.values())
    write_sheet(
        table,
        Path(out) / "glue",
        formats=FORMATS,
        paper="paper",
        wide=("note",),
        notes=[*NOTES, *([f"A{ANALOGUE_NOTE[1:]}."] if analogue else [])],
    )
