"""Closed-form values, and scipy's own interval as a second implementation."""

import math

import pytest
from scipy import stats

from spikebert.records.metrics import accuracy, summarise


def test_accuracy_counts_equal_labels() -> None:
    assert accuracy([0, 1, 1, 2], [0, 1, 0, 2]) == 0.75
    assert math.isnan(accuracy([], []))


def test_accuracy_refuses_unequal_lengths() -> None:
    with pytest.raises(ValueError, match="zip"):
        accuracy([0, 1], [0])


def test_summary_of_three_values() -> None:
    # mean 81, deviations -1 0 1, sample deviation 1, t(0.975, 2) = 4.302653
    summary = summarise([80.0, 81.0, 82.0])
    assert (summary.count, summary.mean, summary.sd) == (3, 81.0, 1.0)
    assert summary.ci_high - summary.mean == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert summary.mean - summary.ci_low == pytest.approx(summary.ci_high - summary.mean)


def test_interval_agrees_with_scipy() -> None:
    values = [80.1, 79.4, 82.2, 81.0, 80.7]
    low, high = stats.t.interval(0.95, len(values) - 1, stats.tmean(values), stats.sem(values))
    summary = summarise(values)
    assert (summary.ci_low, summary.ci_high) == pytest.approx((low, high), rel=1e-12)


def test_one_value_has_no_deviation_and_no_interval() -> None:
    summary = summarise([80.0])
    assert (summary.count, summary.mean) == (1, 80.0)
    assert all(map(math.isnan, (summary.sd, summary.ci_low, summary.ci_high)))


def test_no_value_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        summarise([])
