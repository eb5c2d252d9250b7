"""What one setting changes: SpikeBERT's accuracy, all else equal (figure 3 of the paper, and more),
and the time of an update."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ..records.metrics import summarise
from ..records.paper import BEST_BETA, BEST_TIMESTEPS
from .published import Notes, Published, group, is_proxy
from .render import PROXY_NOTE
from .style import PANEL_WIDTH, STYLE, colour_of, plain_ticks, save, starred
from .sweeps import TEXT_SEEN, Groups, stands_on, sweep, text_points

MARKERS = "osD^vP"
MANY = 3  # lines that leave no room for a legend
# Okabe and Ito's, in the order of the sets.
SET_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#E69F00", "#CC79A7", "#000000")
BENCH_AXES = {
    "timesteps": "time steps T",
    "tokens": "tokens N",
    "hidden_size": "width D",
    "batch_size": "sentences B",
}


@dataclass(frozen=True)
class Axis:
    """One panel: the setting, how it is written, and what the paper says of it."""

    setting: str
    words: str
    statement: str = "not swept in the paper"
    best: float | None = None
    log: bool = False


# The panels of each figure, by the name of its file.
FIGURES = {
    "sweep_timesteps": [
        Axis(
            "model.timesteps",
            "time steps T",
            f"paper: best at T = {BEST_TIMESTEPS}",
            BEST_TIMESTEPS,
            log=True,
        )
    ],
    "sweep_depth": [Axis("model.num_hidden_layers", "blocks", "paper: deeper is not better")],
    "sweep_beta": [Axis("model.beta", "decay β", f"paper: best near β = {BEST_BETA}", BEST_BETA)],
    "sweep_surrogate": [
        Axis("model.surrogate", "surrogate derivative"),
        Axis("model.surrogate_alpha", "sharpness α of the surrogate"),
    ],
    "sweep_threshold": [Axis("model.threshold", "firing threshold")],
    "stage1_text": [Axis(TEXT_SEEN, "sentences seen in stage 1")],
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
    panel.set(title=axis.statement, xlabel=axis.words, ylabel="accuracy (%)")
    of_text = axis.setting == TEXT_SEEN
    datasets = list(dict.fromkeys(dataset for dataset, _, _ in groups))
    lines = {}
    for name in datasets:
        points = text_points(groups, name) if of_text else sweep(groups, name, axis.setting)
        if len(points) > 1:
            lines[name] = points
    if not lines:
        words = f"no runs of spikebert\nthat differ in {axis.setting} alone"
        panel.text(0.5, 0.5, words, ha="center", va="center", transform=panel.transAxes)
        panel.set(xticks=[], yticks=[])
        return []
    ticks = sorted({value for points in lines.values() for value in points})
    words_at_ticks = any(isinstance(tick, str) for tick in ticks)
    places = {tick: number if words_at_ticks else tick for number, tick in enumerate(ticks)}
    for name, points in lines.items():
        order = datasets.index(name)
        style: dict[str, Any] = {"color": SET_COLOURS[order % len(SET_COLOURS)]}
        x = [places[value] for value in points]
        means = []
        for place, label in zip(x, points.values(), strict=True):
            scores = [100 * record.score for record in groups[name, *label]]
            found = summarise(scores)
            means.append(found.mean)
            if found.count > 1:
                panel.plot([place] * 2, [found.ci_low, found.ci_high], **style)
                panel.plot([place] * found.count, scores, ".", markersize=3, alpha=0.5, **style)
        on = stands_on(points)
        style["label"] = starred(name, notes) + (f" ({on})" if on else "")
        line = MARKERS[order % len(MARKERS)] + "-" * (not words_at_ticks)  # kinds have no order
        panel.plot(x, means, line, markersize=4, **style)
    if axis.log:
        panel.set_xscale("log", base=2)
    if of_text:
        panel.set_xscale("symlog", linthresh=min(tick for tick in ticks if tick))
    labels = ticks if words_at_ticks else [f"{tick:,.12g}" for tick in ticks]
    # Large numbers lie close to each other.
    slanted: dict[str, Any] = {"rotation": 30, "ha": "right"} if of_text else {}
    panel.set_xticks([places[tick] for tick in ticks], labels, **slanted)
    panel.xaxis.set_minor_locator(NullLocator())
    if axis.best is not None:
        panel.axvline(axis.best, color="0.6", linestyle=":", zorder=0)
    beside = {"loc": "upper left", "bbox_to_anchor": (1, 1)} if len(lines) > MANY else {}
    panel.legend(**beside)
    return list(lines)


def bench_figure(found: Mapping[str, Any]) -> Figure:
    """The time of an update against T, N, D and B, one varied at a time, with the fitted powers.

    `found` is the JSON of `spikebert bench`.
    """
    figure = Figure(figsize=(PANEL_WIDTH * 4 * 0.8, PANEL_WIDTH * 0.9))
    panels = figure.subplots(1, len(found["scaling"]), sharey=True, squeeze=False).ravel()
    for panel, (axis, measured) in zip(panels, found["scaling"].items(), strict=True):
        x, y = np.array(measured["values"]), 1e3 * np.array(measured["s"])
        power = measured["exponent"]
        level = np.exp(np.mean(np.log(y) - power * np.log(x)))
        panel.plot(x, level * x**power, color="0.6", linestyle="--")
        panel.plot(x, y, "o", color=colour_of("spikebert"), markersize=4)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks(x, x)
        panel.minorticks_off()
        name = BENCH_AXES.get(axis, axis)
        panel.set(xlabel=name, title=f"time ~ {name[-1]}^{power:.2f}")
    panels[0].set_ylabel("one update (ms)")
    plain_ticks(panels[0])
    return figure


@mpl.rc_context(STYLE)
def write_sweeps(run: Published, out: Path) -> None:
    groups = group(run.read_accuracies(), run.notes)
    for name, axes in FIGURES.items():
        save(sweep_figure(groups, axes, run.notes), out / name)


@mpl.rc_context(STYLE)
def write_bench(run: Published, out: Path) -> None:
    found = json.loads(run.file("bench").read_text(encoding="utf-8"))
    save(bench_figure(found), out / "bench")
