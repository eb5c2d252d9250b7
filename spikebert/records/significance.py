"""Whether two models differ: tests and intervals on the rows they share and on their seeds.

Letters: S and Z seeds of the two models, R test rows. `right` arrays are True where a row was
predicted right; their rows have to be the same ones in the same order (`right_rows` sees to it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..errors import UserError
from .metrics import CONFIDENCE

DRAWS = 10_000
CHUNK = 500  # draws made at once: bounds the memory to CHUNK x R numbers
# Poisson numbers of mean 1 for each 16 random bits.
POISSON = np.searchsorted(
    stats.poisson.cdf(np.arange(16), 1), (np.arange(2**16) + 0.5) / 2**16
).astype(float)

Right = NDArray[np.bool_]
Draws = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A difference, its 95 % interval, and the two-sided p of no difference."""

    estimate: float
    low: float
    high: float
    p: float


def right_rows(predictions: Mapping[str, Sequence[Mapping[str, str]]]) -> dict[str, Right]:
    """For each run, bool [R]: was the row predicted right?

    `predictions` holds, for each run of one data set, rows of `row`, `label` and `prediction`.

    Raises:
        UserError: two runs differ in the ids, the order or the labels of their rows.
    """
    known: tuple[str, list[tuple[str, str]]] | None = None
    right = {}
    for name, rows in predictions.items():
        keys = [(row["row"], row["label"]) for row in rows]
        known = known or (name, keys)
        if keys != known[1]:
            differ = [
                f"row {place}: {a[0]} ({a[1]}) and {b[0]} ({b[1]})"
                for place, (a, b) in enumerate(zip(known[1], keys, strict=False), 1)
                if a != b
            ]
            raise UserError(
                f"predictions of {known[0]} and {name}",
                expected="the same test rows with the same labels, in the same order",
                got=[*differ, f"{len(known[1])} and {len(keys)} rows"][0],
                fix="run the workflow again for this set",
            )
        right[name] = np.array([row["label"] == row["prediction"] for row in rows], dtype=bool)
    return right


def mcnemar(first: Right, second: Right) -> float:
    """Two-sided p of McNemar's exact test (McNemar, 1947) that both, bool [R], are as often right.

    Of the rows where only one of the two is right, half belong to each under no difference: a
    binomial test. 1 where there is no such row.

    Raises:
        ValueError: the two differ in shape.
    """
    if first.shape != second.shape:
        raise ValueError(f"expected equal shapes, got {first.shape} and {second.shape}")
    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    if not only_first + only_second:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


def bootstrap(
    first: Right,
    second: Right,
    *,
    rows: Sequence[str],
    paired: bool,
    draws: int = DRAWS,
    seed: int | Sequence[int] = 0,
) -> Draws:
    """[draws] differences first - second of accuracies, averaged over seeds (Efron, 1979).

    first: bool [S, R], second: bool [Z, R]. A draw takes rows with replacement, the same for both,
    and seeds with replacement: the same for both if `paired` (seed i of one then belongs to seed i
    of the other), or each model's on its own. A model with one seed keeps it. With few seeds the
    spread over seeds is drawn too small, by sqrt((S - 1) / S).

    How often a row is drawn is a Poisson number of mean 1 (Hanley and MacGibbon, 2006) that its id
    in `rows` and the number of the draw decide, so that a row of two sets is drawn as often from
    the one as from the other, and the mean of their draws is that of sets that share rows.
    `seed` decides which seeds are drawn.

    Raises:
        ValueError: no row, other numbers of rows, or paired with other numbers of seeds.
    """
    count, others = len(first), len(second)
    if not rows or {first.shape[1], second.shape[1]} != {len(rows)} or (paired and count != others):
        raise ValueError(f"cannot pair {first.shape} with {second.shape} on {len(rows)} rows")
    digests = [blake2b(row.encode(), digest_size=8).digest() for row in rows]
    keys = np.array([int.from_bytes(digest) for digest in digests], dtype=np.uint64)
    random = np.random.default_rng(seed)
    out = np.empty(draws)
    for start in range(0, draws, CHUNK):
        size = min(CHUNK, draws - start)
        ours = _shares(random, size, count)
        theirs = ours if paired else _shares(random, size, others)
        difference = ours @ first - theirs @ second  # [size, R]
        drawn = _times_drawn(keys, start, size)
        out[start : start + size] = (drawn * difference).sum(axis=1) / drawn.sum(axis=1)
    return out


def _times_drawn(keys: NDArray[np.uint64], start: int, size: int) -> Draws:
    """[size, R]: how often the draws from number `start` on take each row; none takes no row."""
    number = _mixed(np.arange(start, start + size, dtype=np.uint64))
    drawn = POISSON[_mixed(keys + number[:, None]) >> np.uint64(48)]
    drawn[drawn.sum(axis=1) == 0] = 1
    return drawn


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of SplitMix64 (Steele, Lea and Flood, 2014)."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)))


def _shares(random: np.random.Generator, size: int, count: int) -> Draws:
    """[size, count]: the share of each seed in a draw of `count` seeds with replacement."""
    return random.multinomial(count, np.full(count, 1 / count), size=size) / count


def from_draws(estimate: float, draws: Draws) -> Difference:
    """The percentile interval, and twice the smaller share of draws on either side of 0."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    tail = 1 + min((draws <= 0).sum(), (draws >= 0).sum())
    return Difference(
        estimate, float(low), float(high), min(1.0, 2 * float(tail) / (len(draws) + 1))
    )


def welch(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Difference of means first - second over seeds, variances not assumed equal (Welch, 1947).

    Where neither has any spread, the interval is the difference itself and p is 1 or 0.

    Raises:
        ValueError: one of them has less than two values.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError("expected two values or more on each side")
    estimate = float(np.mean(first) - np.mean(second))
    if not np.ptp(first) and not np.ptp(second):
        return Difference(estimate, estimate, estimate, float(estimate == 0))
    test = stats.ttest_ind(first, second, equal_var=False)
    low, high = test.confidence_interval(CONFIDENCE)
    return Difference(estimate, float(low), float(high), float(test.pvalue))
