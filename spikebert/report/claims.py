"""The claim sheet: what the paper says, what our records say to it, and whether it held.

Every number is computed from records and predictions, or stands in paper.py. An average is over the
sets at hand, which `why` names, and so is the paper's, but for table 3, of which only that of four
sets is known.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
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
)
from .published import Label, Published
from .render import PERCENT, TEXT, WIDE, Table, frame
from .sweeps import as_many_rows, stands_on, sweep
from .verdicts import (
    HELD,
    NOT_HELD,
    NOT_TESTABLE,
    UNDECIDED,
    Claim,
    against,
    joined,
    judged,
    refuted_if,
    runs_like,
    verdict,
)

COLUMNS = {
    "id": TEXT,
    **dict.fromkeys(("claim", "where"), WIDE),
    "paper": PERCENT,
    "paper_status": TEXT,
    **dict.fromkeys(("ours", "ci_low", "ci_high"), PERCENT),
    "test": WIDE,
    "p": ".2g",
    "refuted_if": TEXT,
    "verdict": TEXT,
    "why": WIDE,
}
ENERGY_COLUMNS = ("dataset", "model", "convention", "length", "energy_pj")
OWN_QUESTION = "a question of ours"


# Table 1


def _row_of_table1(
    evidence: Evidence, other: str, sets: tuple[str, ...] = SETS, where: str = "", **words: Any
) -> Claim:
    """SpikeBERT beside another model of table 1, on one set or on the average of several."""
    results = against(evidence, (other, BASE), sets)
    parts = comparable(evidence, results)
    used = tuple(name for part in parts for name in part.datasets) or sets
    of = "" if set(used) == set(sets) else f" of {', '.join(used)}"
    cell = paper_difference("spikebert", other, used)
    return judged(
        evidence,
        results,
        where=f"{where}table 1" + f", average{of}" * (len(sets) > 1),
        paper=cell.mean,
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
        boundary=lambda used: paper_difference("spikebert", "teacher", used).mean,
        id="near_teacher",
        claim=f"SpikeBERT falls no further below {MODELS['teacher'].title} than in the paper",
    )


def _table3(evidence: Evidence) -> Iterator[Claim]:
    for row, part in PARTS.items():
        yield judged(
            evidence,
            without(evidence, row),
            above=False,
            before=runs_like([line_of(evidence)]),
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
    on = runs_like(map(stands_on, swept.values()))
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
        yield judged(
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


# Energy


def _energy(evidence: Evidence, energy: pd.DataFrame | None) -> Claim:
    claim: Claim = {
        "id": "energy",
        "claim": "SpikeBERT takes at most this percentage of its teacher's energy on average",
        "where": "section on energy, table 2",
        "paper": ENERGY_SHARE,
        "paper_status": "sourced",
        "refuted_if": refuted_if(ENERGY_SHARE, above=False),
        "verdict": NOT_TESTABLE,
    }
    shares = "no table of energy" if energy is None else _shares(energy, "teacher")
    if energy is None or isinstance(shares, str):
        return claim | {"why": str(shares)}
    shape = _another_shape(energy)
    own = {name: share for name, share in shares.items() if not evidence.is_proxy(name)}
    used = own or shares
    found = summarise(list(used.values()))
    decision = verdict(found.ci_low, found.ci_high, boundary=ENERGY_SHARE, above=False)
    return claim | {
        "ours": found.mean,
        "ci_low": found.ci_low,
        "ci_high": found.ci_high,
        "test": "Student's t over sets",
        "verdict": decision if own and not shape else NOT_TESTABLE,
        "why": joined(
            "" if own else "on stand-ins, not the paper's sets",
            shape,
            ", ".join(f"{name} {share:.2f}" for name, share in used.items()),
            "one set: no interval" if len(used) == 1 else "",
        ),
    }


def _another_shape(energy: pd.DataFrame) -> str:
    """Why the student's energy says nothing beside the teacher's: the two differ in depth or width,
    as their dense twins' energies do. Empty where the student's dense twin costs what the teacher
    does, to 5 %."""
    for twin in ("dense_direct", "dense_distilled"):
        sizes, own = _shares(energy, "teacher", twin), _shares(energy, twin)
        if isinstance(sizes, str):
            continue
        size = fmean(sizes.values())
        if abs(size - 100) < 5:
            return ""
        words = "the teacher is of another shape: a dense BERT of the student's own takes "
        words += f"{size:.2f} % of its energy, too"
        if isinstance(own, dict):
            words += f"; beside that BERT it takes {fmean(own.values()):.2f} %"
        return words
    return "no dense BERT of the student's shape in the table of energy, to tell size from spikes"


def _shares(energy: pd.DataFrame, other: str, model: str = "spikebert") -> dict[str, float] | str:
    """A model's energy in percent of another's on each of the paper's sets, or why there is none:
    as the paper counts, at one length for both. At the real lengths the shares are near."""
    counted = energy[energy["convention"].isin(["paper", "dense"]) & (energy["length"] != "real")]
    mean = counted.groupby(["dataset", "model"])["energy_pj"].mean().unstack()
    if not {model, other} <= set(mean.columns):
        return f"the table of energy lacks {model} or {other}"
    shares = (100 * mean[model] / mean[other]).dropna()
    found = {str(name): float(share) for name, share in shares.items() if name in SETS}
    return found or "the table of energy has none of the paper's sets"


# What the paper does not ask


def _questions(evidence: Evidence) -> Iterator[Claim]:
    yield _row_of_table1(evidence, "textcnn", where=f"{OWN_QUESTION} to ", **_above("textcnn"))
    for model in (*SEEDLESS, "dense_distilled"):
        other = (model, BASE)
        ours = _trained_as(evidence, other) if model == "dense_distilled" else SPIKEBERT
        yield judged(
            evidence,
            against(evidence, other, SETS, ours),
            before=runs_like([ours[1]]),
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
    return frame(claims, COLUMNS)


def read_energy(path: str | Path) -> pd.DataFrame:
    """The table of energy: a CSV with the columns `ENERGY_COLUMNS`, and others, which are left out.

    Raises:
        UserError: one of them is missing, or an energy is no number.
    """
    try:
        # All columns are read: a row of too many is a mistake, which `usecols` passes over.
        return pd.read_csv(path, dtype={"energy_pj": float})[list(ENERGY_COLUMNS)]
    except (OSError, ValueError, KeyError) as error:
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
