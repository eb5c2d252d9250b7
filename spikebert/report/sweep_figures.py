"""SpikeBERT's accuracy against one setting, all else equal: figure 3 of the paper, and more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ..records.metrics import summarise
from ..records.paper import BEST_BETA, BEST_TIMESTEPS
from .published import Notes, Published, group, is_proxy
from .render import PROXY_NOTE
from .style import PANEL_WIDTH, STYLE, save, starred
from .sweeps import TEXT_SEEN, Groups, Points, stands_on, sweep, text_points

MARKERS = "osD^vP"
MANY = 3  # lines that leave no room for a legend
# Okabe and Ito's, in the order of the sets.
SET_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#E69F00", "#CC79A7", "#000000")


@dataclass(frozen=True)
class Axis:
    """One panel: the setting, how it is written, and what the paper says of it."""

    setting: str
    words: str
    statement: str
    best: float | None = None
    log: bool = False

    def points(self, groups: Groups, dataset: str) -> Points:
        """The runs of one set, by their place on the axis."""
        of_text = self.setting == TEXT_SEEN
        return text_points(groups, dataset) if of_text else sweep(groups, dataset, self.setting)


TIMESTEPS = Axis(
    "model.timesteps", "time steps T",
    f"paper: best at T = {BEST_TIMESTEPS}", BEST_TIMESTEPS, log=True,
)  # fmt: skip
DEPTH = Axis("model.num_hidden_layers", "blocks", "paper: deeper is not better")
BETA = Axis("model.beta", "decay β", f"paper: best near β = {BEST_BETA}", BEST_BETA)
SURROGATE = Axis("model.surrogate", "surrogate derivative", "not swept in the paper")
SHARPNESS = Axis("model.surrogate_alpha", "sharpness α of the surrogate", "not swept in the paper")
THRESHOLD = Axis("model.threshold", "firing threshold", "not swept in the paper")
TEXT = Axis(TEXT_SEEN, "sentences seen in stage 1", "not swept in the paper")

# The panels of each figure, by the name of its file.
FIGURES: dict[str, tuple[Axis, ...]] = {
    "sweep_timesteps": (TIMESTEPS,),
    "sweep_depth": (DEPTH,),
    "sweep_beta": (BETA,),
    "sweep_surrogate": (SURROGATE, SHARPNESS),
    "sweep_threshold": (THRESHOLD,),
    "stage1_text": (TEXT,),
}


def sweep_figure(groups: Groups, axes: Sequence[Axis], notes: Notes) -> Figure:
    """Accuracy against settings, a panel for each, a line for each set that was swept; bars are
    95 % intervals over seeds, small dots the seeds."""
    figure = Figure(figsize=(PANEL_WIDTH * 1.5 * len(axes), PANEL_WIDTH * 1.15))
    panels = figure.subplots(1, len(axes), squeeze=False)[0]
    drawn = [_draw(panel, groups, axis, notes) for panel, axis in zip(panels, axes, strict=True)]
    if any(is_proxy(notes, name) for names in drawn for name in names):
        figure.supxlabel(f"* {PROXY_NOTE}", fontsize=6)
    if max(map(len, drawn)) > MANY:
        figure.set_figwidth(1.35 * figure.get_figwidth())  # the legend stands beside
    return figure


def _draw(panel: Axes, groups: Groups, axis: Axis, notes: Notes) -> list[str]:
    """Draw one panel. Returns the sets that are in it."""
    panel.set_title(axis.statement)
    panel.set_xlabel(axis.words)
    panel.set_ylabel("accuracy (%)")
    datasets = list(dict.fromkeys(dataset for dataset, _, _ in groups))
    lines = {name: axis.points(groups, name) for name in datasets}
    lines = {name: points for name, points in lines.items() if len(points) > 1}
    if not lines:
        words = f"no runs of spikebert\nthat differ in {axis.setting} alone"
        panel.text(0.5, 0.5, words, ha="center", va="center", transform=panel.transAxes)
        panel.set_xticks([])
        panel.set_yticks([])
        return []
    ticks = sorted({value for points in lines.values() for value in points})
    words_at_ticks = any(isinstance(tick, str) for tick in ticks)
    places = {tick: number if words_at_ticks else tick for number, tick in enumerate(ticks)}
    for name, points in lines.items():
        place = datasets.index(name)
        colour, marker = (each[place % len(each)] for each in (SET_COLOURS, MARKERS))
        style: dict[str, Any] = {"color": colour}
        means = []
        for value, label in points.items():
            accuracies = [100 * record.score for record in groups[name, *label]]
            found = summarise(accuracies)
            means.append(found.mean)
            if found.count > 1:
                x = [places[value]]
                panel.plot(x * 2, [found.ci_low, found.ci_high], **style)
                panel.plot(x * found.count, accuracies, ".", markersize=3, alpha=0.5, **style)
        on = stands_on(points)
        style["label"] = starred(name, notes) + (f" ({on})" if on else "")
        line = f"{marker}-" if not words_at_ticks else marker  # kinds have no order
        panel.plot([places[value] for value in points], means, line, markersize=4, **style)
    if axis.log:
        panel.set_xscale("log", base=2)
    if axis is TEXT:
        panel.set_xscale("symlog", linthresh=min(tick for tick in ticks if tick))
    labels = [tick if words_at_ticks else _number(tick) for tick in ticks]
    # Large numbers lie close to each other.
    slanted: dict[str, Any] = {"rotation": 30, "ha": "right"} if axis is TEXT else {}
    panel.set_xticks([places[tick] for tick in ticks], labels, **slanted)
    panel.xaxis.set_minor_locator(NullLocator())
    if axis.best is not None:
        panel.axvline(axis.best, color="0.6", linestyle=":", zorder=0)
    beside = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if len(lines) > MANY else {}
    panel.legend(**beside)
    return list(lines)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) and value > 999 else f"{value:g}"


def write_sweeps(run: Published, out: Path) -> None:
    """Draw each of `FIGURES` as .svg and .png into the folder `out`; a sweep without runs says
    so."""
    groups = group(run.read_accuracies(), run.notes)
    with mpl.rc_context(STYLE):
        for name, axes in FIGURES.items():
            save(sweep_figure(groups, axes, run.notes), out / name)
