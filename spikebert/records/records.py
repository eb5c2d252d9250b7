"""One record per trained model: what ran, on what, and what came out.

Tables and figures read nothing else, so that they can be made again from a clone without weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, TypeVar

from pydantic import Field

from ..config.datasets import METRICS
from ..config.registry import RunId
from ..errors import UserError
from ..utils.files import read_json, write_json, write_text
from ..utils.validation import Count, FromFile, Real, validate

AGAIN = "it was changed or cut short: delete it and run again"

Share = Annotated[Real, Field(ge=0, le=1)]
Value = Annotated[Real, Field(ge=-1, le=1)]
T = TypeVar("T")


@dataclass(frozen=True)
class Record(FromFile):
    """The result of one run. Accuracies are fractions, durations seconds, memory bytes.

    Of a set that is judged by another metric, `metric` names it and `metrics_*` hold its values;
    accuracies are None where labels are scores.
    """

    id: str
    dataset: str  # mr, sst2, subj, sst5, chnsenti, waimai, or the user's own
    source: str  # where the rows came from, in words fit for a table
    model: str  # a name in registry.MODELS
    variant: str  # base, or the name of a changed setting
    seed: Count
    accuracy_dev: Share | None  # of the selected epoch
    accuracy_test: Share | None  # read once, after the selection
    n_train: Count
    n_dev: Count
    n_test: Count
    steps: Count  # updates made in this step, stage 1 excluded
    tokens: Count  # non-padding tokens seen in training, stage 1 excluded
    wall_s: Real
    samples_per_s: Real
    peak_rss_bytes: Count
    parameters: Count
    settings: dict[str, Any]
    settings_digest: str
    versions: dict[str, str]
    commit: str
    hardware: str
    history: list[dict[str, Real]] = field(default_factory=list)  # step, epoch, loss, accuracy
    upstream: dict[str, Any] = field(default_factory=dict)  # cost of stage 1, name of teacher
    schema: int = 1
    metric: str = "accuracy"  # what selected on dev, one of datasets.METRICS
    metrics_dev: dict[str, Value] = field(default_factory=dict)  # its values, unless accuracy
    metrics_test: dict[str, Value] = field(default_factory=dict)

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


def write_record(path: str | Path, record: Record) -> None:
    write_json(path, asdict(record))


def check_there(path: str | Path, what: str) -> None:
    """Raise a `UserError` unless the file of a run is there."""
    if not Path(path).exists():
        raise UserError(
            f"{what} {path}",
            expected="what the run left",
            got="no such file: it has not been run, or elsewhere",
            fix=f"snakemake {path} --cores 2, or take the run out of the configuration",
        )


def read_versioned(kind: type[T], path: str | Path, what: str, fix: str) -> T:
    """The dataclass `kind` in a JSON file; its field `schema` is the version of the format, and
    fields that came later have defaults and may be missing.

    Raises:
        UserError: the file is missing or no JSON, of another schema, lacks a field or has one more,
            or a value has another type or range.
    """
    check_there(path, what)
    value = read_json(path, what, fix)
    known: tuple[Any, ...] = fields(kind)  # type: ignore[arg-type]
    names = {field.name: field for field in known}
    needed = {f.name for f in known if f.default is f.default_factory is MISSING} | {"schema"}
    keys = set(value) if isinstance(value, dict) else set()
    version = names["schema"].default
    if not needed <= keys <= set(names) or value["schema"] != version:
        raise UserError(
            f"{what} {path}",
            expected=f"schema {version} with the fields {', '.join(sorted(names))}",
            got=", ".join(sorted(keys)) or type(value).__name__,
            fix=f"another version wrote it: {fix}",
        )
    found: T = validate(kind, value, f"{what} {path}", noun="field", fix=fix)
    return found


def read_record(path: str | Path) -> Record:
    """Read one record.

    Raises:
        UserError: it is missing or no JSON, is of another schema, lacks a field or has one more, a
            value has another type or cannot be (an accuracy that is NaN), or the id is another's.
    """
    record = read_versioned(Record, path, "record", AGAIN)
    _check_metric(record, path)
    run = str(RunId(record.dataset, record.model, record.variant, record.seed))
    if record.id != run:
        raise UserError(f"id of record {path}", expected=run, got=record.id, fix=AGAIN)
    return record


def _check_metric(record: Record, path: str | Path) -> None:
    """Labels that are scores have no accuracy, and other metrics than accuracy have values."""
    accuracies = (record.accuracy_dev, record.accuracy_test)
    values = (record.metrics_dev, record.metrics_test)
    if record.metric in METRICS["classification"]:
        fits = None not in accuracies and (record.metric == "accuracy" or all(values))
    else:
        fits = record.metric in METRICS["regression"] and accuracies == (None, None) and all(values)
    if not fits:
        raise UserError(
            f"metric of record {path}",
            expected="a known one, its values on dev and test, and accuracies (null of scores)",
            got=f"{record.metric}, values {values}, accuracies {accuracies}",
            fix=AGAIN,
        )


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


def write_predictions(
    path: str | Path, ids: Sequence[str], labels: Sequence[float], predictions: Sequence[float]
) -> None:
    """Predictions on the test rows, for paired tests: CSV with row id, gold label, prediction."""
    lines = [PREDICTION_COLUMNS]
    lines += [[i, str(y), str(p)] for i, y, p in zip(ids, labels, predictions, strict=True)]
    write_text(path, "".join(",".join(line) + "\n" for line in lines))


PREDICTION_COLUMNS = ["row", "label", "prediction"]
_SCORE = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")


def _answers(label: str, prediction: str) -> bool:
    """Whether the two are numbers of classes, or scores with their decimal point or exponent."""
    if label.isdecimal() and prediction.isdecimal():
        return True
    values = (label, prediction)
    return all(_SCORE.fullmatch(x) and not x.lstrip("-").isdecimal() for x in values)


def read_predictions(path: str | Path) -> list[dict[str, str]]:
    """Rows of `write_predictions`, values as they stand there.

    Raises:
        UserError: the file is missing, empty or cut short, or holds anything else.
    """
    check_there(path, "predictions")
    got: object
    try:
        text = Path(path).read_bytes().decode("utf-8")
        rows = [line.split(",") for line in text.splitlines()]
        bad = [r for r in rows[1:] if len(r) != 3 or not _answers(*r[1:])]
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
