"""What a changed setting did: every variant of a run beside the runs that it changes.

For questions that no table of the paper asks: an encoder, a reset, a neuron, a loss of one's own.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..config.registry import BASE
from .evidence import INTERVAL_NOTE, Evidence, beside
from .published import Label
from .render import COUNT, PERCENT, TEXT, WIDE, Table, frame
from .sweeps import as_many_rows, both_known, flat

COLUMNS = {
    **dict.fromkeys(("dataset", "model", "variant"), TEXT),
    "changed": WIDE,
    "against": TEXT,
    "seeds": COUNT,
    **dict.fromkeys(("mean", "sd", "difference", "ci_low", "ci_high"), PERCENT),
    "note": WIDE,
}
NOTE = (
    "against: a variant named `x-y` is compared with `x`, where that ran, any other with the base. "
    "changed: the variant's value of each setting that differs, and the value of the runs that it "
    "is compared with; older records do not know how their rows were augmented, but the number of "
    "training rows tells most of it. difference: on the seeds that both have; mean, sd: of all "
    "seeds of the variant, in percent."
)


def changes(evidence: Evidence, dataset: str, label: Label, other: Label) -> dict[str, Any]:
    """Settings of the first that the other has otherwise, and its training rows, if these are more
    or fewer -> (value, the other's value)."""
    one, two = (evidence.of(dataset, side)[0] for side in (label, other))
    mine, theirs = both_known(flat(one), flat(two))
    if not as_many_rows(one, two):
        mine["rows"], theirs["rows"] = one.n_train, two.n_train
    names = sorted(mine.keys() | theirs.keys())
    return {n: (mine.get(n), theirs.get(n)) for n in names if mine.get(n) != theirs.get(n)}


def reference(evidence: Evidence, dataset: str, label: Label) -> Label:
    """What it is compared with: `short-beta0.5` with `short`, where that ran; else the base."""
    model, variant = label
    lines = [
        other
        for name, kind, other in evidence.groups
        if (name, kind) == (dataset, model) and variant.startswith(f"{other}-")
    ]
    return model, max(lines, key=len, default=BASE)


def variants_table(evidence: Evidence) -> pd.DataFrame:
    """A row for each variant of each set and model, with the columns `COLUMNS`."""
    rows = []
    for dataset, model, variant in evidence.groups:
        if variant == BASE:
            continue
        label = (model, variant)
        other = reference(evidence, dataset, label)
        cells, notes = beside(evidence, dataset, label, other)
        row = {"dataset": dataset, "model": model, "variant": variant, "against": other[1], **cells}
        if evidence.of(dataset, other):
            row["changed"] = "; ".join(
                f"{name} {mine} for {theirs}"
                for name, (mine, theirs) in changes(evidence, dataset, label, other).items()
            )
        rows.append({**row, "note": ", ".join(notes)})
    return frame(rows, COLUMNS)


def rendered(evidence: Evidence) -> Table:
    """The table of `variants_table`, ready to be written."""
    return Table(variants_table(evidence), COLUMNS, [INTERVAL_NOTE, NOTE])
