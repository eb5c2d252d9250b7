"""What all figures share: style, one colour and mark for each model, titles, and how files are
written. Nothing here imports torch.

Colours are of the palette of Okabe and Ito, which colour-blind readers can tell apart; the maps
(cividis, viridis) grow evenly in lightness. A spiking network and the dense one that it is made of,
or shares its shape and training with, have the same colour and differ in their marks: the dense
one's are hollow squares. The same input gives the same bytes.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogLocator

from ..config.registry import MODELS, RunId
from .published import Notes, is_proxy

STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "figure.titlesize": 8,
    "figure.labelsize": 8,
    "image.cmap": "cividis",
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
TEXT_STYLE = STYLE | {"svg.fonttype": "none"}
IMAGE_STYLE = TEXT_STYLE | {"axes.grid": False, "axes.spines.top": True, "axes.spines.right": True}
DENSE_TWINS = {name for name, spec in MODELS.items() if spec.dense}
HOLLOW = {"markerfacecolor": "white"}
OTHER = "#CC79A7"  # of models that the registry does not know
PANEL_WIDTH = 2.6  # inches


def colour_of(model: str) -> str:
    return MODELS[model].colour if model in MODELS else OTHER


def mark_of(model: str) -> dict[str, Any]:
    """A disc, or a hollow square for a dense network that has a spiking twin."""
    return {"marker": "s", **HOLLOW} if model in DENSE_TWINS else {"marker": "o"}


def starred(dataset: str, notes: Notes) -> str:
    """The name of a set, with a star if it is a proxy."""
    return dataset + "*" * is_proxy(notes, dataset)


def run_title(name: Any, notes: Notes | None) -> str:
    """Model, set and seed in words, from the id of a run; another name stands as it is."""
    try:
        run = RunId.parse(str(name))
    except ValueError:
        return str(name)
    kind = " (a stand-in)" * is_proxy(notes or {}, run.dataset)
    return f"{run.model} ({run.variant}) on {run.dataset}{kind}, seed {run.seed}"


def grid(figure: Figure | SubFigure, count: int, columns: int, **shared: Any) -> list[Axes]:
    """The `count` panels that are shown, at most so many in a row."""
    panels = figure.subplots(math.ceil(count / columns), columns, squeeze=False, **shared).ravel()
    for panel in panels[count:]:
        panel.set_visible(False)
    return list(panels[:count])


def plain_ticks(panel: Axes) -> None:
    """Ticks of a logarithmic y axis at 1, 2 and 5, written as plain numbers."""
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter("{x:g}")


def save(figure: Figure, path: Path) -> None:
    """Write `path`.svg and `path`.png, without a date, so that equal figures are equal files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
    figure.savefig(path.with_suffix(".png"), metadata={"Software": None})
