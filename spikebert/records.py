"""One record per trained model: what ran, on what, and what came out.

Tables and figures read nothing else, so that they can be made again from a clone without weights.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from .errors import UserError

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Record:
    """The result of one run. Accuracies are fractions, durations seconds, memory bytes.

    Of a set that is judged by another metric, `metric` names it and `metrics_*` hold its values;
    accuracies are None where labels are scores.
    """

    id: str
    dataset: str  # mr, sst2, subj, sst5, chnsenti, waimai, or the user's own
    source: str  # where the rows came from, in words fit for a table
    model: str  # a name in schema.MODELS
    variant: str  # base, or the name of a changed setting
    seed: int
    accuracy_dev: float | None  # of the selected epoch
    accuracy_test: float | None  # read once, after the selection
    n_train: int
    n_dev: int
    n_test: int
    steps: int  # updates made in this step, stage 1 excluded
    tokens: int  # non-padding tokens seen in training, stage 1 excluded
    wall_s: float
    samples_per_s: float
    peak_rss_bytes: int
    parameters: int
    settings: dict[str, Any]
    settings_digest: str
    versions: dict[str, str]
    commit: str
    hardware: str
    history: list[dict[str, float]] = field(default_factory=list)  # step, epoch, loss, accuracy
    upstream: dict[str, Any] = field(default_factory=dict)  # cost of stage 1, name of teacher
    schema: int = SCHEMA_VERSION
    metric: str = "accuracy"  # what selected on dev, one of specs.METRICS
    metrics_dev: dict[str, float] = field(default_factory=dict)  # its values, unless accuracy
    metrics_test: dict[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """The metric on test: accuracy, or the mean of its values."""
        return _headline(self.metrics_test, self.accuracy_test)

    @property
    def score_dev(self) -> float:
        """The same on dev."""
        return _headline(self.metrics_dev, self.accuracy_dev)


def _headline(values: dict[str, float], accuracy: float | None) -> float:
    value = fmean(values.values()) if values else accuracy
    assert value is not None, "a set without accuracy has another metric"
    return value


OPTIONAL = ("history", "upstream", "metric", "metrics_dev", "metrics_test")


def write_text(path: str | Path, text: str) -> None:
    """Write a whole file or none: a reader never sees half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder` when the block succeeds."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        part = Path(temporary) / folder.name
        part.mkdir()
        yield part
        shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)


def write_json(path: str | Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_record(path: str | Path, record: Record) -> None:
    write_json(path, dataclasses.asdict(record))


def read_record(path: str | Path) -> Record:
    """Read one record; another schema, a missing or an unknown field is a `UserError`."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"record {path}", expected="JSON", got=error, fix="delete it and run again"
        ) from None
    names = {f.name for f in dataclasses.fields(Record)}
    keys = set(value) if isinstance(value, dict) else set()
    if not (names - set(OPTIONAL) <= keys <= names) or value["schema"] != SCHEMA_VERSION:
        raise UserError(
            f"record {path}",
            expected=f"schema {SCHEMA_VERSION} with the fields {', '.join(sorted(names))}",
            got=", ".join(sorted(keys)) or type(value).__name__,
            fix="it was written by another version: delete it and run again",
        )
    return Record(**value)


def read_records(paths: Iterable[str | Path]) -> list[Record]:
    return [read_record(path) for path in sorted(map(str, paths))]


def read_accuracies(paths: Iterable[str | Path]) -> list[Record]:
    """The records of sets that are judged by accuracy."""
    return [record for record in read_records(paths) if record.metric == "accuracy"]


def write_predictions(
    path: str | Path, ids: Sequence[str], labels: Sequence[float], predictions: Sequence[float]
) -> None:
    """Predictions on the test rows, for paired tests: CSV with row id, gold label, prediction."""
    lines = [["row", "label", "prediction"]]
    lines += [[i, str(y), str(p)] for i, y, p in zip(ids, labels, predictions, strict=True)]
    write_text(path, "".join(",".join(line) + "\n" for line in lines))


def read_predictions(path: str | Path) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
