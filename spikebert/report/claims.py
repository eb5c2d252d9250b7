"""The claim sheet: what the paper says, what our records say to it, and whether it held.

Every number is computed from records and predictions, or stands in paper.py. A claim holds, or
does not, where the whole 95 % interval lies on one side of the boundary. It is not testable here
where runs are missing, where there is one seed, and where all there are is proxies for the paper's
sets; ours then stands beside it, if there is any. An average is over the sets at hand, which `why`
names, and so is the paper's, but for table 3, of which only that of four sets is known.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from ..config.registry import BASE, MODELS
from ..errors import UserError
from ..records.metrics import summarise
from ..records.paper import (
    ABLATION,
    BEST_BETA,
    BEST_TIMESTEPS,
    ENERGY_SHARE,
    ENGLISH,
    SETS,
    paper_difference,
)
from ..records.significance import Difference, from_draws
from ..utils.files import write_text
from . import ablation, variants
from .ablation import PARTS, SPIKEBERT, check_variants, label_of, line_of, without
from .evidence import (
    INTERVAL_NOTE,
    SEEDLESS,
    Comparison,
    Evidence,
    average,
    comparable,
    compare,
    read_evidence,
    reasons,
)
from .published import Label, Published
from .render import PERCENT, TEXT, WIDE, Table, frame
from .sweeps import as_many_rows, stands_on, sweep

COLUMNS = {
    "id": TEXT,
    **dict.fromkeys(("claim", "where"), WIDE),
    "paper": PERCENT,
    "paper_status": TEXT,
    **dict.fromkeys(("ours", "ci_low", "ci_high"), PERCENT),
    "test": WIDE,
    "p": ".2g",
    "verdict": TEXT,
    "why": WIDE,
}
HELD, NOT_HELD = "held", "not held"
UNDECIDED, NOT_TESTABLE = "undecided", "not testable here"
ENERGY_COLUMNS = ("dataset", "model", "convention", "length", "energy_pj")
OWN_QUESTION = "a question of ours"

Results = Mapping[str, Comparison | str]  # by set; words where there is no comparison


@dataclass(frozen=True)
class Claim:
    """One line of the sheet; accuracies and differences in points, energy in percent of BERT's."""

    id: str
    claim: str
    where: str
    paper: float | None = None
    paper_status: str = ""
    ours: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    test: str = ""
    p: float | None = None
    verdict: str = NOT_TESTABLE
    why: str = ""


def verdict(low: float, high: float, *, boundary: float = 0.0, above: bool = True) -> str:
    """Whether what is claimed to be above (or below) a boundary is, by its interval.

    An interval that contains the boundary, its ends included, decides nothing.
    """
    if math.isnan(low) or math.isnan(high):
        return NOT_TESTABLE
    if low <= boundary <= high:
        return UNDECIDED
    return HELD if (low > boundary) == above else NOT_HELD


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


def _claim(
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
        return Claim(**words, why=_joined(before, reasons(evidence, results)))
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
    return Claim(
        **words,
        ours=found.estimate,
        ci_low=found.low,
        ci_high=found.high,
        test=test,
        p=float(f"{p:.4g}"),
        verdict=decision,
        why=_joined(*why),
    )


def _joined(*words: str) -> str:
    return "; ".join(filter(None, words))


def _runs_like(variants: Iterable[str | None]) -> str:
    """A word on the reference variants that a comparison is with, where that is not the base."""
    others = dict.fromkeys(name for name in variants if name not in (None, BASE))
    return f"runs like {', '.join(map(str, others))}, not the base" if others else ""


def _against(
    evidence: Evidence, other: Label, names: Iterable[str], ours: Label = SPIKEBERT
) -> dict[str, Comparison | str]:
    return {name: compare(evidence, name, ours, other) for name in names}


# Table 1


def _row_of_table1(
    evidence: Evidence, other: str, sets: tuple[str, ...] = SETS, where: str = "", **words: Any
) -> Claim:
    """SpikeBERT beside another model of table 1, on one set or on the average of several."""
    results = _against(evidence, (other, BASE), sets)
    parts = comparable(evidence, results)
    used = tuple(name for part in parts for name in part.datasets) or sets
    of = "" if set(used) == set(sets) else f" of {', '.join(used)}"
    cell = paper_difference("spikebert", other, used)
    return _claim(
        evidence,
        results,
        where=f"{where}table 1" + f", average{of}" * (len(sets) > 1),
        paper=cell.accuracy,
        paper_status=cell.status,
        **words,
    )


def _above(model: str, on: str = "average", name: str = "") -> dict[str, Any]:
    """Identifier and words of the claim that SpikeBERT is above another model."""
    words = f"SpikeBERT is above {MODELS[model].title} on {on}"
    return {"id": f"above_{model}{name}", "claim": words}


def _table1(evidence: Evidence) -> Iterator[Claim]:
    for name in SETS:
        yield _row_of_table1(evidence, "direct", (name,), **_above("direct", name, f"_{name}"))
    for other in ("direct", "snn_textcnn"):
        yield _row_of_table1(evidence, other, **_above(other))
    yield _row_of_table1(
        evidence,
        "teacher",
        boundary=lambda used: paper_difference("spikebert", "teacher", used).accuracy,
        id="near_teacher",
        claim=f"SpikeBERT falls no further below {MODELS['teacher'].title} than in the paper",
    )


def _table3(evidence: Evidence) -> Iterator[Claim]:
    for row, part in PARTS.items():
        yield _claim(
            evidence,
            without(evidence, row),
            above=False,
            before=_runs_like([line_of(evidence)]),
            id=row,
            claim=f"SpikeBERT {part.words} is below SpikeBERT",
            where=f"table 3, average of {', '.join(ENGLISH)}",
            paper=ABLATION[row],
            paper_status="sourced",
        )


# Figure 3


def _best(
    evidence: Evidence, setting: str, value: float | None = None
) -> tuple[dict[str, Comparison | str], str]:
    """A value of a swept setting (None: the largest) against the best other one, on each set.

    Also the two in words. Values count that all swept sets have, and the paper's own sets come
    before proxies. The rival is chosen by the same test rows, which favours it a little.
    """
    sweeps = {name: sweep(evidence.groups, name, setting) for name in SETS}
    swept = {name: labels for name, labels in sweeps.items() if len(labels) > 1}
    swept = {n: v for n, v in swept.items() if not evidence.is_proxy(n)} or swept
    common = set.intersection(*(set(labels) for labels in swept.values())) if swept else set()
    if len(common) < 2:
        return dict.fromkeys(SETS, f"no runs of spikebert that differ in {setting} alone"), ""
    chosen = max(common) if value is None else value
    if chosen not in common:
        return dict.fromkeys(SETS, f"no run of spikebert with {setting} {chosen:g}"), ""
    tried = {
        rival: {n: compare(evidence, n, v[chosen], v[rival]) for n, v in swept.items()}
        for rival in sorted(common - {chosen})
    }

    def lead(rival: Any) -> float:
        parts = comparable(evidence, tried[rival])
        return average(parts).difference.estimate if parts else math.inf

    best = min(tried, key=lead)
    shown = ", ".join(f"{value:g}" for value in sorted(common))
    pair = f"{chosen:g} against {best:g}, the best other of {shown}"
    on = _runs_like(map(stands_on, swept.values()))
    return tried[best], f"{pair}, {on}" if on else pair


def _figure3(evidence: Evidence) -> Iterator[Claim]:
    best = "SpikeBERT is most accurate with"
    deeper = "The deepest SpikeBERT is below the best shallower one"
    for place, name, setting, words, value in (
        ("a", "best_timesteps", "timesteps", f"{best} T = {BEST_TIMESTEPS}", BEST_TIMESTEPS),
        ("c", "best_beta", "beta", f"{best} beta = {BEST_BETA}", BEST_BETA),
        ("b", "deeper_not_better", "num_hidden_layers", deeper, None),
    ):
        results, pair = _best(evidence, f"model.{setting}", value)
        yield _claim(
            evidence,
            results,
            above=value is not None,
            before=pair,
            id=name,
            claim=words,
            where=f"figure 3{place}",
            paper=value,
            paper_status="sourced",
        )


def _energy(evidence: Evidence, energy: pd.DataFrame | None) -> Claim:
    words: dict[str, Any] = {
        "id": "energy",
        "claim": "SpikeBERT takes at most this percentage of its teacher's energy on average",
        "where": "section on energy, table 2",
        "paper": ENERGY_SHARE,
        "paper_status": "sourced",
    }
    if energy is None:
        return Claim(**words, why="no table of energy")
    # As the paper counts, and at one length for both; at the real lengths the shares are near.
    counted = energy[energy["convention"].isin(["paper", "dense"]) & (energy["length"] != "real")]
    mean = counted.groupby(["dataset", "model"])["energy_pj"].mean().unstack()
    if not {"spikebert", "teacher"} <= set(mean.columns):
        return Claim(**words, why="the table of energy lacks spikebert or teacher")
    shares = (100 * mean["spikebert"] / mean["teacher"]).dropna()
    shares = shares[[name in SETS for name in shares.index]]
    own = shares[[not evidence.is_proxy(name) for name in shares.index]]
    used = own if len(own) else shares
    if not len(used):
        return Claim(**words, why="the table of energy has none of the paper's sets")
    found = summarise(list(used))
    decision = verdict(found.ci_low, found.ci_high, boundary=ENERGY_SHARE, above=False)
    why = [", ".join(f"{name} {share:.2f}" for name, share in used.items())]
    why.append("a difference in size of the two models is part of it")
    if not len(own):
        decision = NOT_TESTABLE
        why.insert(0, "on stand-ins, not the paper's sets")
    if len(used) == 1:
        why.append("one set: no interval")
    return Claim(
        **words,
        ours=found.mean,
        ci_low=found.ci_low,
        ci_high=found.ci_high,
        test="Student's t over sets",
        verdict=decision,
        why="; ".join(why),
    )


def _questions(evidence: Evidence) -> Iterator[Claim]:
    """What the paper does not ask."""
    yield _row_of_table1(evidence, "textcnn", where=f"{OWN_QUESTION} to ", **_above("textcnn"))
    for model in (*SEEDLESS, "dense_distilled"):
        other = (model, BASE)
        ours = _trained_as(evidence, other) if model == "dense_distilled" else SPIKEBERT
        yield _claim(
            evidence,
            _against(evidence, other, SETS, ours),
            before=_runs_like([ours[1]]),
            **_above(model),
            where=f"{OWN_QUESTION}, not the paper's",
        )


def _trained_as(evidence: Evidence, other: Label) -> Label:
    """The reference variant of SpikeBERT that had as many rows as the other: the base, or that of
    table 3."""
    for label in (SPIKEBERT, label_of("", line_of(evidence))):
        sides = [(evidence.of(name, label), evidence.of(name, other)) for name in SETS]
        pairs = [(ours[0], theirs[0]) for ours, theirs in sides if ours and theirs]
        if pairs and all(as_many_rows(*pair) for pair in pairs):
            return label
    return SPIKEBERT


def claims_table(evidence: Evidence, energy: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each claim, with the columns `COLUMNS`.

    `energy` is the table of `energy_table`, from which the paper's convention counts.

    Raises:
        UserError: runs named after a row of table 3 have other settings.
    """
    check_variants(evidence)
    claims = [
        *_table1(evidence),
        _energy(evidence, energy),
        *_table3(evidence),
        *_figure3(evidence),
        *_questions(evidence),
    ]
    return frame(map(vars, claims), COLUMNS)


def read_energy(path: str | Path) -> pd.DataFrame:
    """The table of energy: a CSV with the columns `ENERGY_COLUMNS`, and others, which are left out.

    Raises:
        UserError: one of them is missing, or an energy is no number.
    """
    try:
        return pd.read_csv(path, usecols=list(ENERGY_COLUMNS), dtype={"energy_pj": float})
    except (OSError, ValueError) as error:
        raise UserError(
            f"table of energy {path}",
            expected=f"CSV with the columns {', '.join(ENERGY_COLUMNS)}, energies as numbers",
            got=error,
            fix="make it again, or leave it out",
        ) from None


def front(sheet: pd.DataFrame) -> str:
    """The sheet in short, in reStructuredText, for the first page of the report: how many claims
    held, and claim, paper, ours with its interval, and verdict of each."""
    counts = sheet["verdict"].value_counts()
    words = [f"{counts.get(name, 0)} {name}" for name in (HELD, NOT_HELD, UNDECIDED, NOT_TESTABLE)]
    rows = []
    for line in sheet.itertuples():
        paper, ours = ("" if pd.isna(v) else f"{v:.2f}" for v in (line.paper, line.ours))
        if not pd.isna(line.ci_low):
            ours += f" ({line.ci_low:.2f} to {line.ci_high:.2f})"
        cells = [line.claim, paper + "†" * (line.paper_status == "recalled"), ours, line.verdict]
        rows.append([re.sub(r"([\\*`|_])", r"\\\1", cell) for cell in cells])
    headers = ["claim", "paper", "ours (95 % interval)", "verdict"]
    table = tabulate(rows, headers=headers, tablefmt="grid", disable_numparse=True)
    return f"Of the {len(sheet)} claims: **{', '.join(words)}**.\n\n{table}\n"


def write_claims(run: Published, out: Path) -> None:
    """Write claims, ablation and variants, each as .csv, .md and .tex, and claims.rst, which is
    `front`, into the folder `out`.

    Raises:
        UserError: records, predictions or the table of energy do not fit each other.
    """
    evidence = read_evidence(run)
    sheet = claims_table(evidence, read_energy(run.energy_table) if run.energy_table else None)
    Table(sheet, COLUMNS, [INTERVAL_NOTE]).write(out / "claims")
    write_text(out / "claims.rst", front(sheet))
    ablation.rendered(evidence).write(out / "ablation")
    variants.rendered(evidence).write(out / "variants")
