"""Figure 3 of the paper: SpikeBERT's accuracy against one setting, all else equal.

A sweep is made of variants of `spikebert` that change one setting of the model; the base runs are
one of its points. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from .figures import PANEL_WIDTH, STYLE, Notes, save
from .metrics import summarise
from .paper import BEST_BETA, BEST_TIMESTEPS
from .records import Record, read_accuracies
from .schema import BASE
from .tables import ANALOGUE_NOTE, Key, group

Groups = Mapping[Key, Sequence[Record]]
MARKERS = "osD^vP"
# Okabe and Ito's, in the order of the sets.
SET_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#E69F00", "#CC79A7", "#000000")


@dataclass(frozen=True)
class Axis:
    """One panel of figure 3: the setting, how it is written, and what the paper says of it."""

    name: str
    setting: str
    words: str
    statement: str
    best: float | None = None
    log: bool = False


AXES = (
    Axis(
        "timesteps", "model.timesteps", "time steps T",
        f"paper: best at T = {BEST_TIMESTEPS}", BEST_TIMESTEPS, log=True,
    ),
    Axis("depth", "model.num_hidden_layers", "blocks", "paper: deeper is not better"),
    Axis("beta", "model.beta", "decay β", f"paper: best near β = {BEST_BETA}", BEST_BETA),
)  # fmt: skip


def flat(record: Record) -> dict[str, Any]:
    """The settings of a record by dotted name."""
    return {
        f"{section}.{name}": value
        for section, values in record.settings.items()
        if isinstance(values, Mapping)
        for name, value in values.items()
    }


def sweep(groups: Groups, dataset: str, setting: str) -> dict[Any, tuple[str, str]]:
    """The values of a dotted setting for which SpikeBERT ran, all else as in its base runs: model
    and variant of each, by rising value."""
    base = groups.get((dataset, "spikebert", BASE))
    start = flat(base[0]) if base else {}
    if setting not in start:
        return {}
    found = {start[setting]: ("spikebert", BASE)}
    for (name, model, variant), members in groups.items():
        own = flat(members[0])
        same = (name, model) == (dataset, "spikebert") and own.keys() == start.keys()
        if same and {key for key in own if own[key] != start[key]} == {setting}:
            found[own[setting]] = (model, variant)
    return dict(sorted(found.items()))


def sweep_figure(groups: Groups, axis: Axis, notes: Notes) -> Figure:
    """Accuracy against a setting, a line for each set that was swept; bars are 95 % intervals over
    seeds, small dots the seeds."""
    figure = Figure(figsize=(PANEL_WIDTH * 1.5, PANEL_WIDTH * 1.15))
    panel = figure.subplots()
    panel.set_title(axis.statement)
    panel.set_xlabel(axis.words)
    panel.set_ylabel("accuracy (%)")
    ticks: set[Any] = set()
    stand_ins = False
    datasets = dict.fromkeys(dataset for dataset, _, _ in groups)
    for place, dataset in enumerate(datasets):
        labels = sweep(groups, dataset, axis.setting)
        if len(labels) < 2:
            continue
        colour, marker = (each[place % len(each)] for each in (SET_COLOURS, MARKERS))
        means = []
        for value, label in labels.items():
            accuracies = [100 * record.score for record in groups[dataset, *label]]
            found = summarise(accuracies)
            means.append(found.mean)
            if found.count > 1:
                panel.plot([value] * 2, [found.ci_low, found.ci_high], color=colour)
                dots = [value] * found.count
                panel.plot(dots, accuracies, ".", color=colour, markersize=3, alpha=0.5)
        analogue = bool(notes.get(dataset, {}).get("analogue"))
        stand_ins |= analogue
        name = dataset + ("*" if analogue else "")
        panel.plot(list(labels), means, f"{marker}-", color=colour, markersize=4, label=name)
        ticks |= set(labels)
    if not ticks:
        words = f"no runs of spikebert\nthat differ in {axis.setting} alone"
        panel.text(0.5, 0.5, words, ha="center", va="center", transform=panel.transAxes)
        panel.set_xticks([])
        panel.set_yticks([])
        return figure
    if axis.log:
        panel.set_xscale("log", base=2)
    panel.set_xticks(sorted(ticks), [f"{value:g}" for value in sorted(ticks)])
    panel.xaxis.set_minor_locator(NullLocator())
    if axis.best is not None:
        panel.axvline(axis.best, color="0.6", linestyle=":", zorder=0)
    panel.legend()
    if stand_ins:
        figure.supxlabel(f"* {ANALOGUE_NOTE}", fontsize=6)
    return figure


def write_sweep_figures(records: Iterable[str | Path], out: str | Path, notes: Notes) -> None:
    """Draw sweep_{timesteps,depth,beta}.{svg,png} into the folder `out`; a sweep without runs says
    so."""
    groups = group(read_accuracies(records), notes)
    with mpl.rc_context(STYLE):
        for axis in AXES:
            save(sweep_figure(groups, axis, notes), Path(out) / f"sweep_{axis.name}")
