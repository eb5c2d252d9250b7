"""The table of accuracies: every set, model and variant beside the paper's.

Where a set is judged by another metric, a column says by which, and its values are in percent, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..config.registry import BASE
from ..records.metrics import degenerate
from ..records.paper import paper_value
from ..records.records import Record, read_predictions
from .published import Key, Notes, Published, group, proxies, summary_cells
from .render import COUNT, PERCENT, TEXT, WIDE, Table, frame

COLUMNS = {
    **dict.fromkeys(("dataset", "source", "model", "variant"), TEXT),
    "seeds": COUNT,
    **dict.fromkeys(("mean", "sd", "ci_low", "ci_high", "paper"), PERCENT),
    "paper_status": TEXT,
    "n_test": COUNT,
}
NO_FAULTS: Mapping[str, str] = {}
WHERE_ASKED = {"metric": TEXT, "note": WIDE}  # columns of some tables
INTERVAL_NOTE = (
    "mean, sd: over seeds, in percent; ci: 95 % interval of the mean (Student's t), empty with "
    "one seed; paper: mean of the paper's 10 seeds."
)


def faults_of(predictions: Iterable[str | Path]) -> dict[str, str]:
    """What is wrong with the runs whose predictions say that they learned nothing, by their ids."""
    faults = {}
    for path in map(Path, predictions):
        labels, answers = (
            [row[column] for row in read_predictions(path)] for column in ("label", "prediction")
        )
        if labels[0].isdecimal() and (fault := degenerate(labels, answers)):
            faults[path.name.removesuffix(".csv")] = fault
    return faults


def accuracy_table(
    records: Iterable[Record], notes: Notes, faults: Mapping[str, str] = NO_FAULTS
) -> pd.DataFrame:
    """One row for each dataset, model and variant, with the columns `COLUMNS` and, where a set is
    not judged by accuracy, `metric`, and where a run is in `faults`, `note`.

    A dataset of `notes` without records gets a row for each base model, its mean empty.
    """
    groups = group(records, notes)
    models = dict.fromkeys(model for _, model, variant in groups if variant == BASE)
    with_records = {dataset for dataset, _, _ in groups}
    keys: list[Key] = []
    for dataset in dict.fromkeys([*notes, *with_records]):
        keys += [key for key in groups if key[0] == dataset] or [
            (dataset, model, BASE) for model in models
        ]
    judged = {record.metric for members in groups.values() for record in members}
    asked = {"metric": judged - {"accuracy"}, "note": faults}
    columns = COLUMNS | {name: form for name, form in WHERE_ASKED.items() if asked[name]}
    return frame((_row(key, groups.get(key, []), notes, faults) for key in keys), columns)


def _row(
    key: Key, members: Sequence[Record], notes: Notes, faults: Mapping[str, str]
) -> dict[str, Any]:
    dataset, model, variant = key
    paper = paper_value(model, variant, dataset)
    row: dict[str, Any] = {
        "dataset": dataset,
        "source": notes.get(dataset, {}).get("source") or members[0].source,
        "model": model,
        "variant": variant,
        "seeds": 0,
        "paper": paper.mean if paper else None,
        "paper_status": paper.status if paper else "",
    }
    if members:
        row |= {"n_test": members[0].n_test, "metric": members[0].metric, **summary_cells(members)}
        found = [f"seed {m.seed}: {faults[m.id]}" for m in members if m.id in faults]
        row["note"] = "; ".join(found)
    return row


def rendered(values: pd.DataFrame, notes: Notes) -> Table:
    """The table of `accuracy_table`, ready to be written."""
    columns = {name: (COLUMNS | WHERE_ASKED)[name] for name in values.columns}
    return Table(values, columns, [INTERVAL_NOTE], proxies(notes))


def write_accuracy(run: Published, out: Path) -> None:
    """Write accuracy.csv, accuracy.md and accuracy.tex into the folder `out`."""
    table = accuracy_table(run.read(), run.notes, faults_of(run.predictions))
    rendered(table, run.notes).write(out / "accuracy")
