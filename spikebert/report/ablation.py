"""Table 3 of the paper from our runs: what each part of the method is worth.

Every row is compared with the base runs of `spikebert` on the seeds that both have. Where the parts
are left out of another line, in variants `x-no_feature`, it is that of the variant `x`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import pandas as pd

from ..config.registry import BASE
from ..errors import UserError
from ..records.paper import ABLATION, ABLATION_BASE, ENGLISH
from .evidence import (
    INTERVAL_NOTE,
    Comparison,
    Evidence,
    average,
    beside,
    caveats,
    comparable,
    compare,
    reasons,
)
from .published import Cells, Label
from .render import COUNT, PERCENT, TEXT, WIDE, Table, frame

COLUMNS = {
    **dict.fromkeys(("row", "model", "variant", "dataset"), TEXT),
    "seeds": COUNT,
    **dict.fromkeys(("mean", "sd", "difference", "ci_low", "ci_high"), PERCENT),
    "paper_difference": PERCENT,
    "paper_status": TEXT,
    "note": WIDE,
}
AVERAGE = "average"
DIFFERENCE_NOTE = (
    "difference: to both stages, on the seeds that both rows have; mean, sd: of all seeds of the "
    "row, in percent; paper_difference: mean of four English sets."
)
SPIKEBERT: Label = ("spikebert", BASE)


@dataclass(frozen=True)
class Part:
    """A row of table 3: the runs that leave a part out, and the settings they must have."""

    words: str
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


NO_STAGE1 = "no_stage1"


# By the keys of `paper.ABLATION`. The paper does not say at which stage its losses are left out:
# here it is stage 2, so that all rows share stage 1's student. Without stage 2 the student of
# stage 1 learns from the gold labels alone. Older records do not say how they were augmented.
PARTS: dict[str, Part] = {
    NO_STAGE1: Part("without stage 1"),
    "no_stage2": Part(
        "without stage 2",
        {"stage2": {"feature_weight": 0.0, "embedding_weight": 0.0, "logits_weight": 0.0}},
    ),
    "no_augmentation": Part("without augmentation", {"augment": {"enabled": False}}),
    "no_feature": Part("without L_fea", {"stage2": {"feature_weight": 0.0}}),
    "no_embedding": Part("without L_emb", {"stage2": {"embedding_weight": 0.0}}),
    "no_logits": Part("without L_logits", {"stage2": {"logits_weight": 0.0}}),
    "no_ce": Part("without L_ce", {"stage2": {"ce_weight": 0.0}}),
}


def line_of(evidence: Evidence) -> str:
    """The variant that the parts are left out of: the base, or `x` of the first `x-no_feature`."""
    variants = [variant for _, model, variant in evidence.groups if model == "spikebert"]
    heads = [v.removesuffix(f"-{key}") for v in variants for key in PARTS if v.endswith(f"-{key}")]
    return BASE if PARTS.keys() & set(variants) else next(iter(heads), BASE)


def label_of(row: str, line: str) -> Label:
    """The runs of a row of table 3 ("" of both stages) on a line."""
    if row in ("", NO_STAGE1):
        return ("stage2_only" if row else "spikebert"), line
    return "spikebert", row if line == BASE else f"{line}-{row}"


def check_variants(evidence: Evidence) -> None:
    """See that runs named after a row of table 3 leave out what the row leaves out.

    Raises:
        UserError: the settings of such a record differ from the row's.
    """
    line = line_of(evidence)
    for key, part in PARTS.items():
        for (_, *label), members in evidence.groups.items():
            if tuple(label) != label_of(key, line):
                continue
            for section, values in part.settings.items():
                for name, value in values.items():
                    found = members[0].settings.get(section, {}).get(name, value)
                    if found != value:
                        raise UserError(
                            f"record {members[0].id}",
                            expected=f"{section}.{name} {value}, since its variant is named "
                            f"after the row {part.words} of table 3",
                            got=found,
                            fix="rename the variant, or change its overrides",
                        )


def without(evidence: Evidence, row: str) -> dict[str, Comparison | str]:
    """For each English set of the paper, the row of table 3 against both stages, or why not."""
    line = line_of(evidence)
    sides = label_of(row, line), label_of("", line)
    return {name: compare(evidence, name, *sides) for name in ENGLISH}


def _base_sets(evidence: Evidence) -> list[str]:
    """The English sets that the mean of both stages is over."""
    sets = [name for name in ENGLISH if evidence.of(name, label_of("", line_of(evidence)))]
    return [name for name in sets if not evidence.is_proxy(name)] or sets


def ablation_table(evidence: Evidence) -> pd.DataFrame:
    """The base and the rows of table 3: a line for each set with runs, and one for their mean.

    The mean is over the paper's English sets, as in table 3, or over their proxies where there is
    no set of the paper's own. A row without runs has the line of its mean, which says why it is
    empty.

    Raises:
        UserError: see `check_variants`.
    """
    check_variants(evidence)
    lines: list[Cells] = []
    line = line_of(evidence)
    for key, part in {"": Part("both stages"), **PARTS}.items():
        label = label_of(key, line)
        head = {"row": part.words, "model": label[0], "variant": label[1]}
        found = {}
        for name, *other in evidence.groups:
            if tuple(other) == label:
                found[name], notes = beside(evidence, name, label, label_of("", line))
                lines.append({**head, "dataset": name, **found[name], "note": "; ".join(notes)})
        lines.append({**head, **_mean(evidence, key, found)})
    return frame(lines, COLUMNS)


def _mean(evidence: Evidence, key: str, found: Mapping[str, Cells]) -> Cells:
    """The line of a row's mean over sets, from the cells of each set."""
    cells: Cells = {"dataset": AVERAGE, "seeds": 0}
    used, words = _base_sets(evidence), [f"the paper's mean: {ABLATION_BASE:.2f}"]
    if key:
        results = without(evidence, key)
        parts = comparable(evidence, results)
        used = [name for part in parts for name in part.datasets]
        cells |= {"paper_difference": ABLATION[key], "paper_status": "sourced"}
        cells |= average(parts).cells if parts else {}
        words = [] if parts else [reasons(evidence, results)]
    if used:
        seeds = min(found[name]["seeds"] for name in used)
        cells |= {"seeds": seeds, "mean": fmean(found[name]["mean"] for name in used)}
        few = len(used) < len(ENGLISH)
        few_words = f"{', '.join(used)} of the paper's {len(ENGLISH)} sets" if few else ""
        words = [few_words, caveats(evidence, used, seeds), *words]
    return {**cells, "note": "; ".join(filter(None, words))}


def rendered(evidence: Evidence) -> Table:
    """The table of `ablation_table`, ready to be written."""
    return Table(ablation_table(evidence), COLUMNS, [INTERVAL_NOTE, DIFFERENCE_NOTE])
