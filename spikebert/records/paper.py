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

    mean: float
    sd: float | None = None
    status: Status = "sourced"


# Ours -> the paper's row: teacher is its fine-tuned BERT, direct its directly trained Spikformer,
# snn_textcnn that of Lv et al. (2023), of which textcnn is the dense network.
# The other models of this package have no row there.
# Behind ~ the deviation, where it is known; behind a value that is recalled, a question mark.
# The averages are as printed: sourced even where a cell of the row is not.
_TABLE_1 = """
             mr          sst2        subj        sst5        chnsenti    waimai      average
textcnn      77.41?      83.25?      94.00?      45.48?      86.74?      88.49?      79.23?
snn_textcnn  75.45       80.91       90.60?      41.63?      85.02?      86.66?      76.71
teacher      87.63~0.18  92.31~0.17  95.90~0.16  50.41~0.13  89.48~0.16  90.27~0.13  84.33
direct       76.38       81.55       91.80~0.29  42.02?      85.45~0.29  86.93?      77.36
spikebert    80.69       85.39       93.00~0.33  46.11       86.36~0.28  89.66       80.20
"""


def _cell(text: str) -> PaperValue:
    mean, _, sd = text.rstrip("?").partition("~")
    status: Status = "recalled" if text.endswith("?") else "sourced"
    return PaperValue(float(mean), float(sd) if sd else None, status)


def _read(table: str) -> dict[str, dict[str, PaperValue]]:
    """Cells by model and set; - stands for none."""
    head, *rows = map(str.split, table.strip().splitlines())
    return {
        model: {name: _cell(c) for name, c in zip(head, cells, strict=True) if c != "-"}
        for model, *cells in rows
    }


PAPER = _read(_TABLE_1)
AVERAGES = {model: cells.pop("average") for model, cells in PAPER.items()}
SETS = tuple(PAPER["spikebert"])

# Of its 12 x 768 models, in mJ; the length of the samples is not stated.
PAPER_ENERGY = _read("""
             mr          sst2        subj        sst5        chnsenti    waimai
teacher      102.24      -           -           -           103.38?     -
spikebert    28.03       28.54?      26.96?      27.33?      30.51?      29.90?
""")

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


def paper_value(
    model: str, variant: str, dataset: str, table: dict[str, dict[str, PaperValue]] = PAPER
) -> PaperValue | None:
    """The paper's cell for a base run; None where it has none."""
    return table.get(model, {}).get(dataset) if variant == "base" else None


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
    points = fmean(cell.mean for cell in sides[0]) - fmean(cell.mean for cell in sides[1])
    recalled = any(cell.status == "recalled" for side in sides for cell in side)
    return PaperValue(points, status="recalled" if recalled else "sourced")
