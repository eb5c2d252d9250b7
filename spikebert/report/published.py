"""What a run published: the files that tables and figures are made from, and its records by set,
model and variant. Nothing here imports torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config.registry import BASE, MODELS
from ..errors import UserError
from ..records.energy import EnergyRecord, read_energy
from ..records.metrics import summarise
from ..records.records import Record, read_accuracies, read_records

Key = tuple[str, str, str]  # dataset, model, variant
Label = tuple[str, str]  # model, variant
Cells = dict[str, Any]  # of a row, by column
Notes = Mapping[str, Mapping[str, Any]]  # by set: its source in words, and whether it is a proxy


@dataclass(frozen=True)
class Published:
    """The files of a run and what it says of its sets; each output takes what it needs of them.

    `notes` has, for each set in the order of the tables, `source` (words) and `analogue`, whether
    it is a proxy for the paper's set; `glue` and `compression` are what the tables of these names
    say.
    """

    records: Sequence[str | Path] = ()
    predictions: Sequence[str | Path] = ()  # <id of the run>.csv
    energies: Sequence[str | Path] = ()  # records of energy
    energy_table: str | Path | None = None  # energy.csv
    probe: str | Path | None = None  # what `spikebert probe`, `cka`, `calibration`, `bench` wrote
    cka: str | Path | None = None
    calibration: str | Path | None = None
    bench: str | Path | None = None
    notes: Notes = field(default_factory=dict)
    glue: Notes = field(default_factory=dict)
    compression: Mapping[str, Any] = field(default_factory=dict)

    def read(self) -> list[Record]:
        return read_records(self.records)

    def read_accuracies(self) -> list[Record]:
        """The records of sets that are judged by accuracy."""
        return read_accuracies(self.records)

    def read_energies(self) -> list[EnergyRecord]:
        return [read_energy(path) for path in sorted(map(str, self.energies))]

    def file(self, name: str) -> Path:
        """One of the files that may be absent.

        Raises:
            UserError: it was not given.
        """
        path = getattr(self, name)
        if path is None:
            raise UserError(
                f"--{name}", expected=f"the file that `spikebert {name}` wrote", got="nothing",
                fix="name it",
            )  # fmt: skip
        return Path(path)


def is_proxy(notes: Notes, dataset: str) -> bool:
    """Whether a set stands for one of the paper's and holds other rows."""
    return bool(notes.get(dataset, {}).get("analogue"))


def proxies(notes: Notes) -> set[str]:
    return {name for name in notes if is_proxy(notes, name)}


def in_order(keys: Iterable[Key], datasets: Iterable[str] = ()) -> list[Key]:
    """Datasets in the order given (others after them), models in that of the registry, base before
    other variants."""
    order = {name: place for place, name in enumerate(datasets)}
    models = {name: place for place, name in enumerate(MODELS)}

    def place(key: Key) -> tuple[Any, ...]:
        dataset, model, variant = key
        rank = models.get(model, len(models))
        return (order.get(dataset, len(order)), dataset, rank, model, variant != BASE, variant)

    return sorted(keys, key=place)


def group(records: Iterable[Record], datasets: Iterable[str] = ()) -> dict[Key, list[Record]]:
    """Records by dataset, model and variant as `in_order` has them, seeds in order.

    Raises:
        UserError: records of one group were tested on different numbers of rows.
    """
    groups: dict[Key, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.seed):
        groups[record.dataset, record.model, record.variant].append(record)
    for key, members in groups.items():
        sizes = sorted({record.n_test for record in members})
        if len(sizes) > 1:
            raise UserError(
                f"records of {'.'.join(key)}",
                expected="one test split for all seeds",
                got=f"{' and '.join(map(str, sizes))} test rows",
                fix="run the workflow again for this set",
            )
    return {key: groups[key] for key in in_order(groups, datasets)}


def summary_cells(members: Sequence[Record], interval: bool = True) -> Cells:
    """Seeds, mean and deviation of the test scores and the interval of the mean, in percent."""
    found = summarise([100 * record.score for record in members])
    names = ("mean", "sd", *(("ci_low", "ci_high") if interval else ()))
    return {"seeds": found.count, **{name: getattr(found, name) for name in names}}
