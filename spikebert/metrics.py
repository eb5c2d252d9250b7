"""Accuracy, and its mean, deviation and interval over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

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
