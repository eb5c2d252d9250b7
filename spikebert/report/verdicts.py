"""Whether a claim of the paper held, from the comparisons on the sets that it is about.

A claim holds, or does not, where the whole 95 % interval lies on one side of the boundary. It
cannot be judged where runs are missing, where there is one seed, and where all there are is proxies
for the paper's sets; ours then stands beside it, if there is any.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..config.registry import BASE
from ..records.significance import Difference, from_draws
from .ablation import SPIKEBERT
from .evidence import Comparison, Evidence, average, comparable, compare, reasons
from .published import Label

HELD, NOT_HELD = "held", "not held"
UNDECIDED, NOT_TESTABLE = "undecided", "cannot be judged"

Results = Mapping[str, Comparison | str]  # by set; words where there is no comparison
Claim = dict[str, Any]  # a row; accuracies and differences in points, energy in percent of BERT's


def verdict(low: float, high: float, *, boundary: float = 0.0, above: bool = True) -> str:
    """Whether what is claimed to be above (or below) a boundary is, by its interval.

    An interval that contains the boundary, its ends included, decides nothing.
    """
    if math.isnan(low) or math.isnan(high):
        return NOT_TESTABLE
    if low <= boundary <= high:
        return UNDECIDED
    return HELD if (low > boundary) == above else NOT_HELD


def refuted_if(boundary: float, above: bool = True) -> str:
    """What interval would contradict the claim."""
    return f"the interval lies {'below' if above else 'above'} {boundary:.2f}"


def _signed(difference: Difference) -> str:
    return f"{difference.estimate:+.2f} ({difference.low:+.2f} to {difference.high:+.2f})"


def _details(part: Comparison) -> str:
    """What the tests on rows alone and on seeds alone say of one set."""
    words = []
    if part.mcnemar:
        clear = [sign for p, sign in part.mcnemar if p < 0.05]
        words.append(
            f"McNemar's p is below 0.05 in {len(clear)} of {len(part.mcnemar)} pairs of runs, "
            f"{clear.count(1)} of them higher and {clear.count(-1)} lower"
        )
    if part.welch:
        words.append(f"over seeds alone {_signed(part.welch)}")
    return ", ".join(words)


def judged(
    evidence: Evidence,
    results: Results,
    *,
    boundary: Callable[[tuple[str, ...]], float] = lambda _: 0.0,
    above: bool = True,
    before: str = "",
    **words: Any,
) -> Claim:
    """A line from the comparisons of all the sets that the paper's statement is about; `before`
    opens its `why`."""
    parts = comparable(evidence, results)
    if not parts:
        return {
            **words,
            "refuted_if": refuted_if(boundary(tuple(results)), above),
            "verdict": NOT_TESTABLE,
            "why": joined(before, reasons(evidence, results)),
        }
    whole = average(parts)
    found = whole.difference
    fence = boundary(whole.datasets)
    decision = verdict(found.low, found.high, boundary=fence, above=above)
    why = [before]
    if any(map(evidence.is_proxy, whole.datasets)):
        decision = NOT_TESTABLE
        why.append(f"on stand-ins ({', '.join(whole.datasets)}), not the paper's sets")
    elif len(whole.datasets) < len(results):
        why.append(f"on {', '.join(whole.datasets)} of {len(results)} sets")
    if whole.seeds < 2:
        decision = NOT_TESTABLE
        why.append("one seed")
    if fence:
        why.append(f"boundary {fence:+.2f}")
    if len(parts) > 1:
        why += [f"{part.datasets[0]} {_signed(part.difference)}" for part in parts]
    else:
        why.append(_details(whole))
    test = f"bootstrap over rows and {whole.seeds} seed{'s' * (whole.seeds > 1)}"
    p = from_draws(found.estimate, whole.draws - fence).p
    if len(whole.mcnemar) == 1 and not fence:
        test, p = "bootstrap over rows; McNemar's exact p", whole.mcnemar[0][0]
    return {
        **words,
        "ours": found.estimate,
        "ci_low": found.low,
        "ci_high": found.high,
        "test": test,
        "p": float(f"{p:.4g}"),
        "refuted_if": refuted_if(fence, above),
        "verdict": decision,
        "why": joined(*why),
    }


def joined(*words: str) -> str:
    return "; ".join(filter(None, words))


def runs_like(variants: Iterable[str | None]) -> str:
    """A word on the reference variants that a comparison is with, where that is not the base."""
    others = dict.fromkeys(name for name in variants if name not in (None, BASE))
    return f"runs like {', '.join(map(str, others))}, not the base" if others else ""


def against(
    evidence: Evidence, other: Label, names: Iterable[str], ours: Label = SPIKEBERT
) -> dict[str, Comparison | str]:
    return {name: compare(evidence, name, ours, other) for name in names}
