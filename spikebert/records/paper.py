"""What the paper prints (arXiv 2308.15122): the numbers that ours stand beside, each of them once.

Accuracies (table 1) are percent, mean and deviation of 10 seeds; energies (table 2) mJ per sample.
`sourced` values are seen in a public source. `recalled` ones are not: they are quoted from memory
and agree with a sourced average, so every table marks them.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Literal

Status = Literal["sourced", "recalled"]


@dataclass(frozen=True)
class PaperValue:
    """One cell; `sd` is None where no deviation is known."""

    accuracy: float
    sd: float | None = None
    status: Status = "sourced"


# Ours -> the paper's row: teacher is its fine-tuned BERT, direct its directly trained Spikformer,
# snn_textcnn that of Lv et al. (2023), of which textcnn is the dense network.
# The other models of this package have no row there.
# Behind ~ the deviation, where it is known; behind a value that is recalled, a question mark.
_TABLE_1 = """
             mr          sst2        subj        sst5        chnsenti    waimai
textcnn      77.41?      83.25?      94.00?      45.48?      86.74?      88.49?
snn_textcnn  75.45       80.91       90.60?      41.63?      85.02?      86.66?
teacher      87.63~0.18  92.31~0.17  95.90~0.16  50.41~0.13  89.48~0.16  90.27~0.13
direct       76.38       81.55       91.80~0.29  42.02?      85.45~0.29  86.93?
spikebert    80.69       85.39       93.00~0.33  46.11       86.36~0.28  89.66
"""


def _cell(text: str) -> PaperValue:
    mean, _, sd = text.rstrip("?").partition("~")
    status: Status = "recalled" if text.endswith("?") else "sourced"
    return PaperValue(float(mean), float(sd) if sd else None, status)


_HEAD, *_ROWS = map(str.split, _TABLE_1.strip().splitlines())
PAPER: dict[str, dict[str, PaperValue]] = {
    model: dict(zip(_HEAD, map(_cell, cells), strict=True)) for model, *cells in _ROWS
}

SETS = tuple(PAPER["spikebert"])

# SpikeBERT's row of GLUE as later papers quote it: sourced, without deviations, metrics or splits.
# The metrics of the rows are taken to be GLUE's own (Wang et al., 2019). MNLI has two test splits.
GLUE: dict[str, PaperValue] = {
    "glue_mnli": PaperValue(71.4),
    "glue_mnli_mm": PaperValue(71.0),
    "glue_qqp": PaperValue(68.2),
    "glue_qnli": PaperValue(66.4),
    "glue_sst2": PaperValue(85.4),
    "glue_cola": PaperValue(16.9),
    "glue_stsb": PaperValue(18.7),
    "glue_mrpc": PaperValue(82.0),
    "glue_rte": PaperValue(57.5),
}
GLUE_AVERAGE = 59.7  # as printed: the mean of these nine
# The averages of the six sets as printed: sourced even where a cell of the row is not.
AVERAGES = {
    "teacher": PaperValue(84.33),
    "direct": PaperValue(77.36),
    "spikebert": PaperValue(80.20),
    "textcnn": PaperValue(79.23, status="recalled"),
    "snn_textcnn": PaperValue(76.71),
}
ENGLISH = ("mr", "sst2", "subj", "sst5")

# Table 3, sourced: mean accuracy of the four English sets, and points gained where a part is left
# out. It gives no deviations.
ABLATION_BASE = 76.30
ABLATION: dict[str, float] = {
    "no_stage1": -3.23,
    "no_stage2": -3.16,
    "no_augmentation": -0.76,
    "no_feature": -1.90,
    "no_embedding": -1.74,
    "no_logits": -3.03,
    "no_ce": -0.17,
}

# Section on energy, sourced: SpikeBERT's energy per sample in percent of BERT's, mean of the sets.
ENERGY_SHARE = 27.82

# Figures 3a and 3c, sourced: where accuracy is best. The points themselves are not known.
BEST_TIMESTEPS = 4
BEST_BETA = 0.9


def paper_value(model: str, variant: str, dataset: str) -> PaperValue | None:
    """The paper's cell for a base run; None where it has none."""
    return PAPER.get(model, {}).get(dataset) if variant == "base" else None


def paper_difference(first: str, second: str, datasets: tuple[str, ...]) -> PaperValue:
    """Mean over sets of the difference of two rows of table 1, in points; recalled if a part is.

    Of all six sets, it is the difference of the printed averages.

    Raises:
        ValueError: a row lacks one of the sets, or no set is given.
    """
    sides = []
    for model in (first, second):
        cells = [paper_value(model, "base", name) for name in datasets]
        if set(datasets) == set(SETS):
            cells = [AVERAGES.get(model)]
        known = [cell for cell in cells if cell]
        if not known or len(known) < len(cells):
            raise ValueError(f"table 1 lacks {model} on one of {datasets}")
        sides.append(known)
    points = fmean(cell.accuracy for cell in sides[0]) - fmean(cell.accuracy for cell in sides[1])
    recalled = any(cell.status == "recalled" for side in sides for cell in side)
    return PaperValue(points, status="recalled" if recalled else "sourced")


@dataclass(frozen=True)
class PaperEnergy:
    """One cell of table 2."""

    millijoules: float
    status: Status = "sourced"


# Of its 12 x 768 models; the length of the samples is not stated.
PAPER_ENERGY: dict[str, dict[str, PaperEnergy]] = {
    "teacher": {
        "mr": PaperEnergy(102.24),
        "chnsenti": PaperEnergy(103.38, "recalled"),
    },
    "spikebert": {
        "mr": PaperEnergy(28.03),
        "sst2": PaperEnergy(28.54, "recalled"),
        "subj": PaperEnergy(26.96, "recalled"),
        "sst5": PaperEnergy(27.33, "recalled"),
        "chnsenti": PaperEnergy(30.51, "recalled"),
        "waimai": PaperEnergy(29.90, "recalled"),
    },
}


def paper_energy(model: str, variant: str, dataset: str) -> PaperEnergy | None:
    """The paper's energy of a base run; None where it has none."""
    return PAPER_ENERGY.get(model, {}).get(dataset) if variant == "base" else None
