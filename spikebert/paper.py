"""Tables 1 and 2 of the paper (arXiv 2308.15122): accuracy in percent, mean and deviation of 10
seeds, and energy in mJ per sample.

`sourced` values are seen in a public source. `recalled` ones are not: they are quoted from memory
and agree with a sourced average, so every table marks them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PaperValue:
    """One cell; `sd` is None where no deviation is known."""

    accuracy: float
    sd: float | None = None
    status: Literal["sourced", "recalled"] = "sourced"


# Ours -> the paper's row: teacher is its fine-tuned BERT, direct its directly trained Spikformer.
# The other models of this package have no row there.
PAPER: dict[str, dict[str, PaperValue]] = {
    "teacher": {
        "mr": PaperValue(87.63, 0.18),
        "sst2": PaperValue(92.31, 0.17),
        "subj": PaperValue(95.90, 0.16),
        "sst5": PaperValue(50.41, 0.13),
        "chnsenti": PaperValue(89.48, 0.16),
        "waimai": PaperValue(90.27, 0.13),
    },
    "direct": {
        "mr": PaperValue(76.38),
        "sst2": PaperValue(81.55),
        "subj": PaperValue(91.80, 0.29),
        "sst5": PaperValue(42.02, status="recalled"),
        "chnsenti": PaperValue(85.45, 0.29),
        "waimai": PaperValue(86.93, status="recalled"),
    },
    "spikebert": {
        "mr": PaperValue(80.69),
        "sst2": PaperValue(85.39),
        "subj": PaperValue(93.00, 0.33),
        "sst5": PaperValue(46.11),
        "chnsenti": PaperValue(86.36, 0.28),
        "waimai": PaperValue(89.66),
    },
}


def paper_value(model: str, variant: str, dataset: str) -> PaperValue | None:
    """The paper's cell for a base run; None where it has none."""
    return PAPER.get(model, {}).get(dataset) if variant == "base" else None


@dataclass(frozen=True)
class PaperEnergy:
    """One cell of table 2."""

    millijoules: float
    status: Literal["sourced", "recalled"] = "sourced"


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
