"""Accuracy and the other metrics of a set; mean, deviation and interval over seeds.

scikit-learn, which is slow to load, is imported where a metric is computed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy.special import stdtrit

CONFIDENCE = 0.95
Metric = Callable[[Sequence[float], Sequence[float]], dict[str, float]]


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


def accuracy(labels: Sequence[float], predictions: Sequence[float]) -> float:
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


def _by_sklearn(function: str, name: str, **options: Any) -> Metric:
    def score(labels: Sequence[float], predictions: Sequence[float]) -> dict[str, float]:
        import sklearn.metrics

        return {name: float(getattr(sklearn.metrics, function)(labels, predictions, **options))}

    return score


def _correlations(*names: str) -> Metric:
    """Correlations; 0 where a side is constant, of which they are not defined."""

    def score(labels: Sequence[float], predictions: Sequence[float]) -> dict[str, float]:
        from scipy import stats

        if len(set(labels)) < 2 or len(set(predictions)) < 2:
            return dict.fromkeys(names, 0.0)
        functions = {name: getattr(stats, f"{name}r") for name in names}
        return {name: float(f(labels, predictions).statistic) for name, f in functions.items()}

    return score


# By the names of `datasets.METRICS`. f1 is of class 1, and 0 where neither side holds it; Matthews'
# correlation is 0 where one side has a single class.
SCORES: dict[str, Metric] = {
    "accuracy": lambda labels, predictions: {"accuracy": accuracy(labels, predictions)},
    "f1": _by_sklearn("f1_score", "f1", pos_label=1, zero_division=0),
    "f1_macro": _by_sklearn("f1_score", "f1_macro", average="macro", zero_division=0),
    "matthews": _by_sklearn("matthews_corrcoef", "matthews"),
    "pearson_spearman": _correlations("pearson", "spearman"),
    "pearson": _correlations("pearson"),
    "spearman": _correlations("spearman"),
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


def degenerate(labels: Sequence[Any], predictions: Sequence[Any]) -> str:
    """What is wrong with a classifier that learned nothing from its rows, or ""; labels [B] and
    predictions [B] are classes."""
    if len(set(predictions)) == 1:
        return "one answer for every row"
    largest = Counter(labels).most_common(1)[0][1]
    right = sum(p == label for p, label in zip(predictions, labels, strict=True))
    if right <= largest:
        return f"not above the largest class ({100 * largest / len(labels):.1f} %)"
    return ""
