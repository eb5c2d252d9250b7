"""Two models compared from records and predictions.

Differences are percentage points of test accuracy. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from ..config.registry import BASE, MODELS
from ..errors import UserError
from ..records.records import Record, read_predictions
from ..records.significance import (
    DRAWS,
    Difference,
    Draws,
    Right,
    bootstrap,
    from_draws,
    mcnemar,
    right_rows,
    welch,
)
from .published import Cells, Key, Label, Notes, Published, group, is_proxy, summary_cells

SEEDLESS = tuple(name for name, spec in MODELS.items() if not spec.neural)  # no seed changes them
INTERVAL_NOTE = (
    f"ci: 95 % interval from {DRAWS:,} bootstrap draws of test rows (one that two sets share is "
    "drawn for both) and, where a model has several, of seeds, not corrected for the number of "
    "rows here; differences are percentage points of test accuracy."
)


@dataclass(frozen=True)
class Evidence:
    """Records by set, model and variant; for each run which test rows are right; the ids of these
    rows by set; what sets are."""

    groups: Mapping[Key, Sequence[Record]]
    right: Mapping[str, Right]
    rows: Mapping[str, Sequence[str]]
    notes: Notes

    def is_proxy(self, dataset: str) -> bool:
        return is_proxy(self.notes, dataset)

    def of(self, dataset: str, label: Label) -> Sequence[Record]:
        return self.groups.get((dataset, *label), ())


@dataclass(frozen=True)
class Comparison:
    """First - second on `datasets`, in points, the mean over them where there are several.

    `seeds` is the number on the side that has fewer, models without a seed left out. `draws` are
    those of the bootstrap, `mcnemar` a p and a sign for each seed, `welch` the same over seeds
    alone; the last two belong to one set and are empty for a mean.
    """

    datasets: tuple[str, ...]
    seeds: int
    difference: Difference
    draws: Draws
    mcnemar: tuple[tuple[float, int], ...] = ()
    welch: Difference | None = None

    @property
    def cells(self) -> Cells:
        """The difference and its interval as cells of a table."""
        found = self.difference
        return {"difference": found.estimate, "ci_low": found.low, "ci_high": found.high}


def gather(
    records: Iterable[Record], predictions: Mapping[str, Sequence[Mapping[str, str]]], notes: Notes
) -> Evidence:
    """Put records and predictions together; predictions go by the id of their run.

    Raises:
        UserError: runs of one set were tested on different rows, or predictions give another
            accuracy than their record.
    """
    groups = group(records, notes)
    right: dict[str, Right] = {}
    ids: dict[str, list[str]] = {}
    for dataset in dict.fromkeys(dataset for dataset, _, _ in groups):
        runs = {r.id: r for key, members in groups.items() if key[0] == dataset for r in members}
        known = {name: predictions[name] for name in runs if name in predictions}
        found = right_rows(known)  # the same rows in all of them
        ids[dataset] = [row["row"] for row in next(iter(known.values()), [])]
        for name, rows in found.items():
            if abs(rows.mean() - runs[name].score) > 1e-6:
                raise UserError(
                    f"predictions of {name}",
                    expected=f"the accuracy of its record, {runs[name].score:.6f}",
                    got=f"{rows.mean():.6f}",
                    fix="the two are of different runs: run the workflow again for this set",
                )
        right |= found
    return Evidence(groups, right, ids, notes)


def read_evidence(run: Published) -> Evidence:
    """Evidence from the files of a run."""
    rows = {Path(p).name.removesuffix(".csv"): read_predictions(p) for p in run.predictions}
    return gather(run.read_accuracies(), rows, run.notes)


def compare(evidence: Evidence, dataset: str, first: Label, second: Label) -> Comparison | str:
    """First against second on one set; words that say why, where that cannot be done.

    Where the two share seeds, these alone are compared, seed by seed. A model without a seed, or
    one that shares none, is compared with the mean of all the other's.
    """
    sides = []
    for model, variant in (first, second):
        members = evidence.of(dataset, (model, variant))
        name = model if variant == BASE else f"{model} {variant}"
        if not members:
            return f"no runs of {name}"
        rows = {r.seed: evidence.right[r.id] for r in members if r.id in evidence.right}
        if not rows:
            return f"no predictions of {name}"
        sides.append(rows)
    shared = sorted(sides[0].keys() & sides[1].keys())
    seedless = [model in SEEDLESS for model, _ in (first, second)]
    paired = bool(shared) and not any(seedless)
    ours, theirs = (
        np.stack([rows[seed] for seed in (shared if paired else sorted(rows))]) for rows in sides
    )
    ids, seed = evidence.rows[dataset], list(dataset.encode())
    draws = 100 * bootstrap(ours, theirs, rows=ids, paired=paired, seed=seed)
    accuracies = [list(100 * side.mean(axis=1)) for side in (ours, theirs)]
    pairs = [(a, b) for a in ours for b in theirs] if any(seedless) else []
    pairs = list(zip(ours, theirs, strict=True)) if paired else pairs
    seeds = [len(side) for side, fixed in zip((ours, theirs), seedless, strict=True) if not fixed]
    several = min(len(ours), len(theirs)) > 1
    return Comparison(
        datasets=(dataset,),
        seeds=min(seeds, default=1),
        difference=from_draws(fmean(accuracies[0]) - fmean(accuracies[1]), draws),
        draws=draws,
        mcnemar=tuple((mcnemar(a, b), int(np.sign(a.mean() - b.mean()))) for a, b in pairs),
        welch=welch(*accuracies) if several else None,
    )


def average(parts: Sequence[Comparison]) -> Comparison:
    """The mean over sets; a test row of several is drawn as often from each (`bootstrap`)."""
    if len(parts) == 1:
        return parts[0]
    draws = np.mean([part.draws for part in parts], axis=0)
    estimate = fmean(part.difference.estimate for part in parts)
    datasets = tuple(name for part in parts for name in part.datasets)
    seeds = min(part.seeds for part in parts)
    return Comparison(datasets, seeds, from_draws(estimate, draws), draws)


def comparable(evidence: Evidence, results: Mapping[str, Comparison | str]) -> list[Comparison]:
    """The comparisons on the paper's own sets; those on proxies where there is no other."""
    found = {name: result for name, result in results.items() if not isinstance(result, str)}
    own = [result for name, result in found.items() if not evidence.is_proxy(name)]
    return own or list(found.values())


def beside(evidence: Evidence, dataset: str, label: Label, other: Label) -> tuple[Cells, list[str]]:
    """The scores of runs and their difference to others on one set, as cells of a table, and what
    there is to be noted; to the runs themselves there is no difference."""
    cells = summary_cells(evidence.of(dataset, label), interval=False)
    notes = [caveats(evidence, [dataset], cells["seeds"])]
    found = compare(evidence, dataset, label, other) if other != label else ""
    if isinstance(found, str):
        return cells, list(filter(None, [*notes, found]))
    return cells | found.cells, list(filter(None, notes))


def caveats(evidence: Evidence, datasets: Iterable[str], seeds: int) -> str:
    """What keeps a row from being compared with the paper's."""
    words = ["on a stand-in"] if any(map(evidence.is_proxy, datasets)) else []
    return ", ".join([*words, *(["one seed"] if seeds == 1 else [])])


def reasons(evidence: Evidence, results: Mapping[str, Comparison | str]) -> str:
    """Why sets could not be compared, sets with the same reason together."""
    present = {dataset for dataset, _, _ in evidence.groups}
    sets: dict[str, list[str]] = {}
    for name, result in results.items():
        if isinstance(result, str):
            note = evidence.notes.get(name, {}).get("source")
            reason = result if name in present else note or "no runs"
            sets.setdefault(reason, []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in sets.items())
