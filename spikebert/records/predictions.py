"""Predictions on the test rows, which paired tests of two models need."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..utils.files import write_text


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
