"""One record per trained model: what ran, on what, and what came out.

Tables and figures read nothing else, so that they can be made again from a clone without weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import UserError
from .settings import check
from .strict_json import parse_json

SCHEMA_VERSION = 1
AGAIN = "it was changed or cut short: delete it and run again"


@dataclass(frozen=True)
class Record:
    """The result of one run. Accuracies are fractions, durations seconds, memory bytes."""

    id: str
    dataset: str  # mr, sst2, subj, sst5, chnsenti, waimai, or the user's own
    source: str  # where the rows came from, in words fit for a table
    model: str  # a name in schema.MODELS
    variant: str  # base, or the name of a changed setting
    seed: int
    accuracy_dev: float  # of the selected epoch
    accuracy_test: float  # read once, after the selection
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
    """A temporary folder that takes the place of `folder` when the block succeeds.

    Whatever ends the process, or the machine, `folder` is the old one, the new one, or not there.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        part = Path(temporary) / folder.name
        part.mkdir()
        yield part
        for path in (*part.rglob("*"), part):
            _to_disk(path)
        if folder.exists():
            folder.replace(Path(temporary) / "before")
        part.replace(folder)
        _to_disk(folder.parent)


def _to_disk(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: str | Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_record(path: str | Path, record: Record) -> None:
    write_json(path, dataclasses.asdict(record))


def read_json(path: str | Path, what: str = "file", fix: str = "make it again") -> Any:
    """The value in a JSON file; a `UserError` if it is missing, or no JSON."""
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{what} {path}", expected="JSON", got=error, fix=fix) from None


_KINDS: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer", "minimum": 0},
    "float": {"type": "number"},
    "dict[str, Any]": {"type": "object"},
    "dict[str, str]": {"type": "object", "additionalProperties": {"type": "string"}},
    "list[dict[str, float]]": {
        "type": "array",
        "items": {"type": "object", "additionalProperties": {"type": "number"}},
    },
}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
RECORD_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        **{f.name: _KINDS[str(f.type)] for f in dataclasses.fields(Record)},
        "accuracy_dev": _SHARE,
        "accuracy_test": _SHARE,
    },
}


def read_record(path: str | Path) -> Record:
    """Read one record.

    Raises:
        UserError: it is missing or no JSON, is of another schema, lacks a field or has one more, a
            value has another type or cannot be (an accuracy that is NaN), or the id is another's.
    """
    value = read_json(path, "record", AGAIN)
    names = {f.name for f in dataclasses.fields(Record)}
    optional = {f.name for f in dataclasses.fields(Record) if f.name in ("history", "upstream")}
    keys = set(value) if isinstance(value, dict) else set()
    if not (names - optional <= keys <= names) or value["schema"] != SCHEMA_VERSION:
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


def write_predictions(
    path: str | Path, ids: Sequence[str], labels: Sequence[int], predictions: Sequence[int]
) -> None:
    """Predictions on the test rows, for paired tests: CSV with row id, gold label, prediction."""
    lines = [PREDICTION_COLUMNS]
    lines += [[i, str(y), str(p)] for i, y, p in zip(ids, labels, predictions, strict=True)]
    write_text(path, "".join(",".join(line) + "\n" for line in lines))


PREDICTION_COLUMNS = ["row", "label", "prediction"]


def read_predictions(path: str | Path) -> list[dict[str, str]]:
    """Rows of `write_predictions`, values as they stand there.

    Raises:
        UserError: the file is missing, empty or cut short, or holds anything else.
    """
    got: object
    try:
        text = Path(path).read_bytes().decode("utf-8")
        rows = [line.split(",") for line in text.splitlines()]
        bad = [r for r in rows[1:] if len(r) != 3 or not (r[1].isdecimal() and r[2].isdecimal())]
        got = f"{len(rows)} lines"
        if bad:
            got = ",".join(bad[0])
        elif rows and rows[0] != PREDICTION_COLUMNS:
            got = ",".join(rows[0])
        elif text and not text.endswith("\n"):
            got = "a last line cut short"
        elif len({row[0] for row in rows}) < len(rows):
            got = "a row twice"
        elif len(rows) > 1:
            return [dict(zip(PREDICTION_COLUMNS, row, strict=True)) for row in rows[1:]]
    except (OSError, UnicodeDecodeError) as error:
        got = error
    raise UserError(
        f"predictions {path}",
        expected="CSV: row,label,prediction, each row once, classes as numbers",
        got=got,
        fix="delete them and run again",
    )
