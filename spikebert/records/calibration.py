"""How sure two classifiers are, how often they are right, and whether they err on the same rows.

Probabilities are [rows, C], labels and predictions [rows]; a prediction is the largest
probability, its *confidence* that probability. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..utils.files import read_json
from ..utils.validation import Count, validate

BINS = 15  # as in Guo et al.
SCHEMA_VERSION = 1

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _File:
    """What a file of a student and its teacher on one split holds at least."""

    dataset: str
    split: str
    rows: Count
    labels: list[str]
    models: dict[Literal["student", "teacher"], dict[str, Any]]
    together: dict[str, Any]
    schema: Literal[1]


def confidence_bins(
    probabilities: Array, labels: Array, bins: int = BINS
) -> list[dict[str, float | int | None]]:
    """Equal bins over (0, 1] of the confidence: low, high, count, and the mean confidence and
    accuracy of the rows in it, None without rows. A row on an edge belongs to the bin below."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    return [
        {
            "low": float(edges[number]),
            "high": float(edges[number + 1]),
            "count": int(inside.sum()),
            "confidence": float(confidence[inside].mean()) if inside.any() else None,
            "accuracy": float(right[inside].mean()) if inside.any() else None,
        }
        for number, inside in enumerate(place == np.arange(bins)[:, None])
    ]


def calibration_error(bins: Sequence[Mapping[str, Any]]) -> float:
    """Expected calibration error: the mean over rows of |accuracy - confidence| of their bin.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (arXiv 1706.04599), equation 3.
    """
    rows = sum(each["count"] for each in bins)
    gaps = (abs(b["accuracy"] - b["confidence"]) * b["count"] for b in bins if b["count"])
    return float(sum(gaps) / rows)


def confusion(labels: Array, predictions: Array, classes: int) -> list[list[int]]:
    """Counts [C, C]: a row for each label, a column for each prediction."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, predictions), 1)
    return counts.tolist()


def calibration_of(probabilities: Array, labels: Array) -> dict[str, Any]:
    """What one classifier's probabilities say: accuracy, mean confidence, ece (a share), nll (mean
    cross-entropy in nats), bins, confusion."""
    bins = confidence_bins(probabilities, labels)
    predictions = probabilities.argmax(1)
    own = probabilities[np.arange(len(labels)), labels]
    return {
        "accuracy": float((predictions == labels).mean()),
        "confidence": float(probabilities.max(1).mean()),
        "ece": calibration_error(bins),
        "nll": float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean()),
        "bins": bins,
        "confusion": confusion(labels, predictions, probabilities.shape[1]),
    }


def agreement(labels: Array, first: Array, second: Array, classes: int) -> dict[str, Any]:
    """Two models' predictions on the same rows.

    - between [C, C]: counts, a row for each prediction of the second, a column for the first's
    - agree: share of rows with the same prediction
    - both_right, first_right, second_right (each alone), both_wrong: numbers of rows
    - error_consistency: kappa of being right or wrong together, 0 for independent errors, 1 for
      the same rows; Geirhos et al., Beyond accuracy, NeurIPS 2020 (arXiv 2006.16736), equation 3.
      None where both are right on every row, or on none
    """
    a, b = first == labels, second == labels
    observed = float((a == b).mean())
    expected = float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))
    return {
        "between": confusion(second, first, classes),
        "agree": float((first == second).mean()),
        "both_right": int((a & b).sum()),
        "first_right": int((a & ~b).sum()),
        "second_right": int((b & ~a).sum()),
        "both_wrong": int((~a & ~b).sum()),
        "error_consistency": (observed - expected) / (1 - expected) if expected < 1 else None,
    }


def compare(student: Array, teacher: Array, labels: Array, names: Sequence[str]) -> dict[str, Any]:
    """Calibration of both, by "student" and "teacher", and what they have together: `agreement`
    with the student as the first. `names` are those of the classes."""
    return {
        "rows": len(labels),
        "labels": list(names),
        "models": {
            "student": calibration_of(student, labels),
            "teacher": calibration_of(teacher, labels),
        },
        "together": agreement(labels, student.argmax(1), teacher.argmax(1), len(names)),
    }


def read_calibration(path: str | Path) -> dict[str, Any]:
    """Read the file that `spikebert calibration` writes; a `UserError` if it is another."""
    fix = "make it again with `spikebert calibration`"
    value = read_json(path, "calibration", fix)
    validate(_File, value, f"calibration {path}", noun="key", fix=fix)
    return dict(value)
