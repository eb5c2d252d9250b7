"""One record per trained model: what ran, on what, and what came out.

Tables and figures read nothing else, so that they can be made again from a clone without weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from ..config.settings import check
from ..config.specs import METRICS
from ..errors import UserError
from ..utils.files import read_json, write_json

SCHEMA_VERSION = 1
AGAIN = "it was changed or cut short: delete it and run again"


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


def write_record(path: str | Path, record: Record) -> None:
    write_json(path, dataclasses.asdict(record))


_KINDS: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer", "minimum": 0},
    "float": {"type": "number"},
    "dict[str, Any]": {"type": "object"},
    "dict[str, float]": {"type": "object", "additionalProperties": {"type": "number"}},
    "dict[str, str]": {"type": "object", "additionalProperties": {"type": "string"}},
    "list[dict[str, float]]": {
        "type": "array",
        "items": {"type": "object", "additionalProperties": {"type": "number"}},
    },
}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_SHARES = {"accuracy_dev": _SHARE, "accuracy_test": _SHARE}
_VALUES = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"type": "number", "minimum": -1, "maximum": 1},
}
RECORD_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        **{
            f.name: _KINDS[str(f.type)] for f in dataclasses.fields(Record) if f.name not in _SHARES
        },
        "metric": {"enum": [name for names in METRICS.values() for name in names]},
    },
    # Labels that are scores have no accuracy, and other metrics than accuracy have values.
    "if": {"properties": {"metric": {"enum": list(METRICS["regression"])}}, "required": ["metric"]},
    "then": {"properties": {name: {"type": "null"} for name in _SHARES}},
    "else": {"properties": _SHARES},
    "allOf": [
        {
            "if": {"properties": {"metric": {"const": "accuracy"}}},
            "else": {
                "properties": {"metrics_dev": _VALUES, "metrics_test": _VALUES},
                "required": ["metrics_dev", "metrics_test"],
            },
        }
    ],
}


def read_record(path: str | Path) -> Record:
    """Read one record.

    Raises:
        UserError: it is missing or no JSON, is of another schema, lacks a field or has one more, a
            value has another type or cannot be (an accuracy that is NaN), or the id is another's.
    """
    value = read_json(path, "record", AGAIN)
    names = {f.name for f in dataclasses.fields(Record)}
    keys = set(value) if isinstance(value, dict) else set()
    if not (names - set(OPTIONAL) <= keys <= names) or value["schema"] != SCHEMA_VERSION:
        raise UserError(
            f"record {path}",
            expected=f"schema {SCHEMA_VERSION} with the fields {', '.join(sorted(names))}",
            got=", ".join(sorted(keys)) or type(value).__name__,
            fix="it was written by another version: delete it and run again",
        )
    check(value, RECORD_SCHEMA, f"record {path}")
    record = Record(**value)
    run = f"{record.dataset}.{record.model}.{record.variant}.s{record.seed}"
    if record.id != run:
        raise UserError(f"id of record {path}", expected=run, got=record.id, fix=AGAIN)
    return record


def read_records(paths: Iterable[str | Path]) -> list[Record]:
    """Records of the files <id>.json; one under another name is a `UserError`."""
    records = []
    for path in sorted(map(str, paths)):
        record = read_record(path)
        if Path(path).name != f"{record.id}.json":
            raise UserError(
                f"name of record {path}",
                expected=f"{record.id}.json",
                got=Path(path).name,
                fix="two files may hold one run: name it back, or delete it and run again",
            )
        records.append(record)
    return records


def read_accuracies(paths: Iterable[str | Path]) -> list[Record]:
    """The records of sets that are judged by accuracy."""
    return [record for record in read_records(paths) if record.metric == "accuracy"]
