"""Closed forms, scipy's own tests, and how often the bootstrap's interval covers the truth."""

from math import comb

import numpy as np
import pytest
from scipy import stats

from spikebert.errors import UserError
from spikebert.records.significance import bootstrap, from_draws, mcnemar, right_rows, welch


def pair(both: int, only_first: int, only_second: int, neither: int):
    first = [1] * both + [1] * only_first + [0] * only_second + [0] * neither
    second = [1] * both + [0] * only_first + [1] * only_second + [0] * neither
    return np.array(first, bool), np.array(second, bool)


def names(count: int, prefix: str = "row"):
    return [f"{prefix}-{i}" for i in range(count)]


def rows(*triples):
    return [dict(zip(("row", "label", "prediction"), triple, strict=True)) for triple in triples]


def lines(*texts):
    return [text.split() for text in texts]


def test_right_rows_compare_label_and_prediction():
    found = right_rows({"a": rows(*lines("r1 0 0", "r2 1 0"))})
    assert found["a"].tolist() == [True, False]
    assert right_rows({}) == {}


@pytest.mark.parametrize(
    ("other", "got"),
    [
        (["r1 0 0", "r3 1 1"], r"row 2: r2 \(1\) and r3 \(1\)"),
        (["r1 1 0", "r2 1 1"], r"row 1: r1 \(0\) and r1 \(1\)"),
        (["r2 1 1", "r1 0 0"], r"row 1: r1"),
        (["r1 0 0"], "2 and 1 rows"),
    ],
)
def test_other_rows_are_refused(other, got):
    first = rows(*lines("r1 0 0", "r2 1 1"))
    with pytest.raises(UserError, match=rf"predictions of a and b[\s\S]*{got}"):
        right_rows({"a": first, "b": rows(*lines(*other))})


def test_mcnemar_is_a_binomial_test_by_hand():
    # 9 rows against 2: twice the chance of 2 or fewer heads in 11 throws.
    by_hand = 2 * sum(comb(11, k) for k in range(3)) / 2**11
    assert mcnemar(*pair(30, 9, 2, 5)) == pytest.approx(by_hand, rel=1e-12)
    assert mcnemar(*pair(30, 2, 9, 5)) == pytest.approx(by_hand, rel=1e-12)
    assert mcnemar(*pair(0, 9, 2, 0)) == pytest.approx(by_hand, rel=1e-12)  # others do not count


def test_mcnemar_without_a_difference():
    assert mcnemar(*pair(3, 0, 0, 2)) == 1
    assert mcnemar(*pair(3, 4, 4, 2)) == 1
    with pytest.raises(ValueError, match="equal shapes"):
        mcnemar(np.ones(2, bool), np.ones(3, bool))


def test_bootstrap_of_equal_predictions_has_no_width():
    right = np.random.default_rng(0).random((3, 50)) < 0.8
    found = from_draws(0.0, bootstrap(right, right, rows=names(50), paired=True))
    assert (found.low, found.high, found.p) == (0, 0, 1)


def test_bootstrap_over_rows_has_the_standard_error_of_a_mean():
    first, second = pair(500, 120, 80, 300)
    draws = bootstrap(first[None], second[None], rows=names(1000), paired=True)
    gain = first.astype(float) - second
    assert draws.mean() == pytest.approx(0.04, abs=1e-3)
    assert draws.std() == pytest.approx(gain.std() / np.sqrt(1000), rel=0.03)
    found = from_draws(0.04, draws)
    normal = stats.norm.interval(0.95, 0.04, gain.std() / np.sqrt(1000))
    assert (found.low, found.high) == pytest.approx(normal, abs=2e-3)
    assert found.p == pytest.approx(mcnemar(first, second), abs=5e-3)


def test_bootstrap_over_seeds_alone():
    # Every row alike, so that only the seeds vary: a gain of 0, 1, 1.
    first = np.repeat([[False], [True], [True]], 7, axis=1)
    second = np.zeros_like(first)
    draws = bootstrap(first, second, rows=names(7), paired=True)
    assert draws.std() == pytest.approx(np.std([0, 1, 1]) / np.sqrt(3), rel=0.03)
    alone = bootstrap(first, second[:1], rows=names(7), paired=False)
    assert alone.std() == pytest.approx(draws.std(), rel=0.05)
    # Seeds that go together cancel, seeds drawn on their own do not.
    assert bootstrap(first, first, rows=names(7), paired=True).std() == 0
    apart = bootstrap(first, first, rows=names(7), paired=False)
    assert apart.std() == pytest.approx(draws.std() * np.sqrt(2), rel=0.05)


def test_bootstrap_is_seeded():
    first, second = (side[None] for side in pair(20, 9, 5, 7))
    ids, others = names(41), names(41, "other")
    first, second = (np.repeat(side, 2, axis=0) for side in (first, second))
    second[0] = first[0]
    draws = [
        bootstrap(first, second, rows=of, paired=True, draws=700, seed=seed)
        for of, seed in ((ids, 1), (ids, 1), (ids, 2), (others, 1))
    ]
    assert draws[0].shape == (700,)
    assert (draws[0] == draws[1]).all()
    assert (draws[0] != draws[2]).any()
    assert (draws[0] != draws[3]).any()


def test_rows_of_two_sets_are_drawn_together():
    # Half of the rows of each set are in the other one, where the same model is right.
    random = np.random.default_rng(2)
    right = np.repeat(random.random((1, 1500)) < 0.7, 2, axis=0)
    wrong = np.zeros_like(right)
    ids = names(1500)
    one, two = (
        bootstrap(right[:1, part], wrong[:1, part], rows=ids[part], paired=True)
        for part in (slice(0, 1000), slice(500, 1500))
    )
    assert np.corrcoef(one, two)[0, 1] == pytest.approx(0.5, abs=0.05)
    apart = bootstrap(
        right[:1, 500:], wrong[:1, 500:], rows=names(1000, "other"), paired=True, seed=1
    )
    assert np.corrcoef(one, apart)[0, 1] == pytest.approx(0, abs=0.05)


def test_a_draw_of_one_row_has_it():
    draws = bootstrap(np.ones((1, 1), bool), np.zeros((1, 1), bool), rows=["a"], paired=True)
    assert (draws == 1).all()


@pytest.mark.parametrize(
    ("first", "second", "paired"),
    [((1, 4), (1, 5), False), ((2, 4), (1, 4), True), ((1, 0), (1, 0), True)],
)
def test_bootstrap_refuses_what_cannot_be_paired(first, second, paired):
    with pytest.raises(ValueError, match="cannot pair"):
        bootstrap(np.ones(first, bool), np.ones(second, bool), rows=names(first[1]), paired=paired)


def test_the_interval_covers_the_truth():
    random = np.random.default_rng(1)
    inside = 0
    for trial in range(200):
        first, second = random.random((1, 400)) < 0.8, random.random((1, 400)) < 0.75
        ids = names(400, str(trial))
        found = from_draws(0, bootstrap(first, second, rows=ids, paired=True, draws=500))
        inside += found.low <= 0.05 <= found.high
    assert 0.90 <= inside / 200 <= 0.99


def test_p_of_draws():
    draws = np.array([-1.0, 1, 1, 1, 1, 1, 1, 1, 1])
    assert from_draws(1, draws).p == 2 * 2 / 10
    assert from_draws(1, -draws).p == 2 * 2 / 10
    assert from_draws(1, np.ones(9)).p == 2 / 10  # never 0


def test_welch_is_scipys():
    first, second = [77.8, 76.5, 77.9, 77.0], [75.1, 73.2, 76.0]
    found = welch(first, second)
    theirs = stats.ttest_ind(first, second, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-9)


def test_welch_without_spread_and_with_one_value():
    same = welch([1.0, 1.0], [3.0, 3.0])
    assert (same.estimate, same.low, same.high, same.p) == (-2, -2, -2, 0)
    assert welch([1.0, 1.0], [1.0, 1.0]).p == 1
    with pytest.raises(ValueError, match="two values"):
        welch([1.0], [1.0, 2.0])
