"""What all figures share: style, one colour and mark for each model, titles, and how files are
written. Nothing here imports torch.

Colours are of the palette of Okabe and Ito, which colour-blind readers can tell apart; the maps
(cividis, viridis) grow evenly in lightness. A spiking network and the dense one that it is made of,
or shares its shape and training with, have the same colour and differ in their marks: the dense
one's are hollow squares. The same input gives the same bytes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogLocator

from ..config.registry import BASE, MODELS, RunId
from ..records.records import Record
from .published import Key, Label, Notes, Published, in_order, is_proxy

STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "svg.hashsalt": "spikebert",
}
# Text stays text in the SVG: tokens can be searched for, in any script that the reader has.
TEXT_STYLE: dict[Any, Any] = {**STYLE, "svg.fonttype": "none"}
IMAGE_STYLE: dict[Any, Any] = {
    **TEXT_STYLE,
    "axes.grid": False,
    "axes.spines.top": True,
    "axes.spines.right": True,
}
OTHER = "#CC79A7"  # of models that the registry does not know
PANEL_WIDTH = 2.6  # inches
PATTERNS = ("--", ":", "-.")  # of a model's variants


def colour_of(model: str) -> str:
    return MODELS[model].colour if model in MODELS else OTHER


def is_dense_twin(model: str) -> bool:
    return model in MODELS and MODELS[model].dense


def mark_of(model: str) -> dict[str, Any]:
    """A disc, or a hollow square for a dense network that has a spiking twin."""
    return {"marker": "s", "markerfacecolor": "white"} if is_dense_twin(model) else {"marker": "o"}


def name_of(label: Label) -> str:
    model, variant = label
    return model if variant == BASE else f"{model} ({variant})"


def starred(dataset: str, notes: Notes) -> str:
    """The name of a set, with a star if it is a proxy."""
    return dataset + "*" * is_proxy(notes, dataset)


def run_title(name: str, notes: Notes | None) -> str:
    """Model, set and seed in words, from the id of a run; another name stands as it is."""
    try:
        run = RunId.parse(name)
    except ValueError:
        return name
    kind = " (a stand-in)" * is_proxy(notes or {}, run.dataset)
    return f"{run.model} ({run.variant}) on {run.dataset}{kind}, seed {run.seed}"


def labels_of(groups: Mapping[Key, Sequence[Record]]) -> list[Label]:
    """Models and variants of any dataset, in the order of the registry."""
    labels = {("", model, variant) for _, model, variant in groups}
    return [(model, variant) for _, model, variant in in_order(labels)]


def told_apart(groups: Mapping[Key, list[Record]]) -> dict[Key, list[Record]]:
    """Without the variants of a model that has more of them than there are patterns."""
    variants = Counter(model for model, variant in labels_of(groups) if variant != BASE)
    return {
        (dataset, model, variant): members
        for (dataset, model, variant), members in groups.items()
        if variant == BASE or variants[model] <= len(PATTERNS)
    }


def read_accuracies(run: Published) -> tuple[list[Record], Notes]:
    """Records and notes without the sets that are judged by another metric."""
    records = run.read_accuracies()
    others = {r.dataset for r in run.read()} - {r.dataset for r in records}
    return records, {name: note for name, note in run.notes.items() if name not in others}


def grid(
    figure: Figure | SubFigure, count: int, columns: int, **shared: Any
) -> tuple[np.ndarray, list[Axes]]:
    """At most so many panels in a row: all of them [rows, columns], and the `count` that are
    shown."""
    rows = math.ceil(count / columns)
    panels = figure.subplots(rows, columns, squeeze=False, **shared)
    for panel in panels.ravel()[count:]:
        panel.set_visible(False)
    return panels, list(panels.ravel()[:count])


def plain_ticks(panel: Axes) -> None:
    """Ticks of a logarithmic y axis at 1, 2 and 5, written as plain numbers."""
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter("{x:g}")


def write_in_cells(
    panel: Axes, values: np.ndarray, form: str, shades: np.ndarray, size: float
) -> None:
    """Numbers in the cells of an image in cividis, black where its shade (0 to 1) is light."""
    for (i, j), shade in np.ndenumerate(shades):
        colour = "black" if shade > 0.55 else "white"
        words = format(values[i, j], form)
        panel.text(j, i, words, ha="center", va="center", color=colour, fontsize=size)


def save(figure: Figure, path: Path) -> None:
    """Write `path`.svg and `path`.png, without a date, so that equal figures are equal files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
    figure.savefig(path.with_suffix(".png"), metadata={"Software": None})
