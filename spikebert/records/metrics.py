"""Accuracy and the other metrics of a set; mean, deviation and interval over seeds.

scikit-learn, which is slow to load, is imported where a metric is computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Of `count` values: mean, sample deviation and Student's interval of the mean.

    With one value there is no deviation and no interval: they are NaN.
    """

    count: int
    mean: float
    sd: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan


def accuracy(labels: Sequence[int], predictions: Sequence[int]) -> float:
    """Share of rows predicted right, in 0..1; NaN without rows.

    Raises:
        ValueError: the two differ in length.
    """
    right = [label == guess for label, guess in zip(labels, predictions, strict=True)]
    return fmean(right) if right else math.nan


def scores(metric: str, labels: Sequence[float], predictions: Sequence[float]) -> dict[str, float]:
    """The values of a metric, one of `SCORES`, by name; `headline` makes one number of them.

    Labels and predictions are class ids or, for correlations, scores.

    Raises:
        ValueError: the two differ in length, there are no rows, or a number is not finite.
    """
    if len(labels) != len(predictions) or not labels:
        raise ValueError(
            f"{metric}: expected as many predictions as labels, at least one, got "
            f"{len(predictions)} and {len(labels)}"
        )
    if not all(map(math.isfinite, [*labels, *predictions])):
        raise ValueError(f"{metric}: expected finite numbers, got a NaN or an infinite one")
    return SCORES[metric](labels, predictions)


def headline(values: dict[str, float]) -> float:
    """What selects on dev and stands in tables: the value, or the mean of two."""
    return fmean(values.values())


def _accuracy(labels: Sequence[float], predictions: Sequence[float]) -> dict[str, float]:
    right = [label == guess for label, guess in zip(labels, predictions, strict=True)]
    return {"accuracy": fmean(right)}


def _f1(labels: Sequence[float], predictions: Sequence[float]) -> dict[str, float]:
    """Of class 1; 0 where neither labels nor predictions hold it."""
    from sklearn.metrics import f1_score

    return {"f1": float(f1_score(labels, predictions, pos_label=1, zero_division=0))}


def _f1_macro(labels: Sequence[float], predictions: Sequence[float]) -> dict[str, float]:
    from sklearn.metrics import f1_score

    return {"f1_macro": float(f1_score(labels, predictions, average="macro", zero_division=0))}


def _matthews(labels: Sequence[float], predictions: Sequence[float]) -> dict[str, float]:
    """0 where one side has a single class."""
    from sklearn.metrics import matthews_corrcoef

    return {"matthews": float(matthews_corrcoef(labels, predictions))}


def _pearson(labels: Sequence[float], predictions: Sequence[float]) -> dict[str, float]:
    from scipy.stats import pearsonr

    return {"pearson": _correlation(pearsonr, labels, predictions)}


def _spearman(labels: Sequence[float], predictions: Sequence[float]) -> dict[str, float]:
    from scipy.stats import spearmanr

    return {"spearman": _correlation(spearmanr, labels, predictions)}


def _both(labels: Sequence[float], predictions: Sequence[float]) -> dict[str, float]:
    return _pearson(labels, predictions) | _spearman(labels, predictions)


def _correlation(
    function: Callable[..., Any], labels: Sequence[float], predictions: Sequence[float]
) -> float:
    """A correlation; 0 where a side is constant, of which it is not defined."""
    if len(set(labels)) < 2 or len(set(predictions)) < 2:
        return 0.0
    return float(function(labels, predictions).statistic)


# By the names of `specs.METRICS`.
SCORES: dict[str, Callable[[Sequence[float], Sequence[float]], dict[str, float]]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "f1_macro": _f1_macro,
    "matthews": _matthews,
    "pearson_spearman": _both,
    "pearson": _pearson,
    "spearman": _spearman,
}


def summarise(values: Sequence[float]) -> Summary:
    """Mean, sample standard deviation (n - 1) and the 95 % interval mean -+ t s / sqrt(n).

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("expected at least one value, got none")
    count, mean = len(values), fmean(values)
    if count == 1:
        return Summary(count, mean)
    sd = stdev(values)
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * sd / math.sqrt(count)
    return Summary(count, mean, sd, mean - half, mean + half)
