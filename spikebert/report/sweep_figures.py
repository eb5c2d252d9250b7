"""SpikeBERT's accuracy against one setting, all else equal: figure 3 of the paper, and more.

A sweep is made of variants of `spikebert` that differ in one setting alone. Nothing here imports
torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ..config.schema import BASE, SECTIONS
from ..records.metrics import summarise
from ..records.paper import BEST_BETA, BEST_TIMESTEPS
from ..records.records import Record, read_accuracies
from .figures import PANEL_WIDTH, STYLE, Notes, save
from .tables import ANALOGUE_NOTE, Key, group

Groups = Mapping[Key, Sequence[Record]]
Settings = dict[str, Any]  # by dotted name
AUGMENT = "augment."
Points = dict[Any, tuple[str, str]]  # model and variant by the place on the axis
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


TIMESTEPS = Axis(
    "model.timesteps", "time steps T",
    f"paper: best at T = {BEST_TIMESTEPS}", BEST_TIMESTEPS, log=True,
)  # fmt: skip
DEPTH = Axis("model.num_hidden_layers", "blocks", "paper: deeper is not better")
BETA = Axis("model.beta", "decay β", f"paper: best near β = {BEST_BETA}", BEST_BETA)
SURROGATE = Axis("model.surrogate", "surrogate derivative", "not swept in the paper")
SHARPNESS = Axis("model.surrogate_alpha", "sharpness α of the surrogate", "not swept in the paper")
THRESHOLD = Axis("model.threshold", "firing threshold", "not swept in the paper")
TEXT = Axis("stage1.max_sentences", "sentences seen in stage 1", "not swept in the paper")

# The panels of each figure, by the name of its file.
FIGURES: dict[str, tuple[Axis, ...]] = {
    "sweep_timesteps": (TIMESTEPS,),
    "sweep_depth": (DEPTH,),
    "sweep_beta": (BETA,),
    "sweep_surrogate": (SURROGATE, SHARPNESS),
    "sweep_threshold": (THRESHOLD,),
    "stage1_text": (TEXT,),
}


def flat(record: Record) -> Settings:
    """The settings of a record by dotted name; one that is younger than the record has its
    default."""
    return {
        f"{section}.{name}": value
        for section, values in record.settings.items()
        if isinstance(values, Mapping)
        for name, value in {**_defaults(section), **values}.items()
    }


def _defaults(section: str) -> dict[str, Any]:
    return dataclasses.asdict(SECTIONS[section]()) if section in SECTIONS else {}


def both_known(one: Settings, other: Settings) -> tuple[Settings, Settings]:
    """Two runs' settings, without those of augmentation where either does not know its own, as
    older records do not."""

    def rest(side: Settings) -> Settings:
        return {name: value for name, value in side.items() if not name.startswith(AUGMENT)}

    both = all(len(rest(side)) < len(side) for side in (one, other))
    return (one, other) if both else (rest(one), rest(other))


def as_many_rows(one: Record, other: Record) -> bool:
    """Whether two runs had as many training rows, which tells of their augmentation where their
    settings do not. Seeds draw a little more or less of it."""
    return abs(one.n_train - other.n_train) <= 0.02 * max(one.n_train, other.n_train)


def sweep(groups: Groups, dataset: str, setting: str) -> Points:
    """The values of a dotted setting for which SpikeBERT ran, all else the same: model and variant
    of each, by rising value, None last.

    Of several such lines the one with the most values is taken, and where two have as many, that of
    the base runs: a sweep may stand on a cheaper variant than the base.
    """
    lines: list[tuple[Settings, Record, Points]] = []
    for (name, model, variant), members in groups.items():  # base first
        own = flat(members[0])
        if (name, model) != (dataset, "spikebert") or setting not in own:
            continue
        value = own.pop(setting)
        for other, first, points in lines:
            if _alike(other, own) and as_many_rows(first, members[0]):
                points.setdefault(value, (model, variant))
                break
        else:
            lines.append((own, members[0], {value: (model, variant)}))
    longest = max((points for *_, points in lines), key=len, default={})  # the first of these
    return dict(sorted(longest.items(), key=lambda point: (point[0] is None, point[0])))


def _alike(one: Settings, other: Settings) -> bool:
    mine, theirs = both_known(one, other)
    return mine == theirs


def stands_on(points: Points) -> str | None:
    """The variant that names a line without the base runs: the shortest name in it."""
    variants = [variant for _, variant in points.values()]
    return None if BASE in variants or not variants else min(variants, key=len)


def text_points(groups: Groups, dataset: str) -> Points:
    """By how many sentences stage 1 saw: the sweep of its cap, and stage 2 alone, which saw none,
    where its settings are those of the line."""
    found: Points = {}
    records = [
        (label, groups[dataset, *label][0])
        for label in sweep(groups, dataset, TEXT.setting).values()
    ]
    for label, record in reversed(records):  # of caps beyond the text, the first stays
        seen = record.upstream.get("stage1", {}).get("samples")
        if seen is not None:
            found[seen] = label
    if found:
        own = {k: v for k, v in flat(records[0][1]).items() if not k.startswith("stage1.")}
        for (name, model, variant), members in groups.items():
            alone = (name, model) == (dataset, "stage2_only") and _alike(flat(members[0]), own)
            if alone and as_many_rows(members[0], records[0][1]):
                found.setdefault(0, (model, variant))
    return dict(sorted(found.items()))


def sweep_figure(groups: Groups, axes: Sequence[Axis], notes: Notes) -> Figure:
    """Accuracy against settings, a panel for each, a line for each set that was swept; bars are
    95 % intervals over seeds, small dots the seeds."""
    figure = Figure(figsize=(PANEL_WIDTH * 1.5 * len(axes), PANEL_WIDTH * 1.15))
    panels = figure.subplots(1, len(axes), squeeze=False)[0]
    drawn = [_draw(panel, groups, axis, notes) for panel, axis in zip(panels, axes, strict=True)]
    if any(notes.get(name, {}).get("analogue") for names in drawn for name in names):
        figure.supxlabel(f"* {ANALOGUE_NOTE}", fontsize=6)
    if max(map(len, drawn)) > MANY:
        figure.set_figwidth(1.35 * figure.get_figwidth())  # the legend stands beside
    return figure


def _draw(panel: Axes, groups: Groups, axis: Axis, notes: Notes) -> list[str]:
    """Draw one panel. Returns the sets that are in it."""
    panel.set_title(axis.statement)
    panel.set_xlabel(axis.words)
    panel.set_ylabel("accuracy (%)")
    datasets = list(dict.fromkeys(dataset for dataset, _, _ in groups))
    lines = {
        name: text_points(groups, name) if axis is TEXT else sweep(groups, name, axis.setting)
        for name in datasets
    }
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
        means = []
        for value, label in points.items():
            accuracies = [100 * record.score for record in groups[name, *label]]
            found = summarise(accuracies)
            means.append(found.mean)
            if found.count > 1:
                x = places[value]
                panel.plot([x] * 2, [found.ci_low, found.ci_high], color=colour)
                panel.plot(
                    [x] * found.count, accuracies, ".", color=colour, markersize=3, alpha=0.5
                )
        on = stands_on(points)
        shown = name + "*" * bool(notes.get(name, {}).get("analogue")) + (f" ({on})" if on else "")
        line = f"{marker}-" if not words_at_ticks else marker  # kinds have no order
        panel.plot(
            [places[value] for value in points], means, line,
            color=colour, markersize=4, label=shown,
        )  # fmt: skip
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
    if len(lines) > MANY:
        panel.legend(loc="upper left", bbox_to_anchor=(1, 1))
    else:
        panel.legend()
    return list(lines)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) and value > 999 else f"{value:g}"


def write_sweep_figures(records: Iterable[str | Path], out: str | Path, notes: Notes) -> None:
    """Draw each of `FIGURES` as .svg and .png into the folder `out`; a sweep without runs says
    so."""
    groups = group(read_accuracies(records), notes)
    with mpl.rc_context(STYLE):
        for name, axes in FIGURES.items():
            save(sweep_figure(groups, axes, notes), Path(out) / name)
