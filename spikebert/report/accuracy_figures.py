"""Accuracy: on test, of every set and model beside the paper's, and on dev as training went."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..config.registry import BASE
from ..records.metrics import summarise
from ..records.paper import paper_value
from ..records.records import Record
from .published import Key, Label, Notes, Published, group, in_order, proxies
from .render import PROXY_NOTE, RECALLED_NOTE
from .style import (
    DENSE_TWINS,
    HOLLOW,
    PANEL_WIDTH,
    STYLE,
    colour_of,
    grid,
    mark_of,
    plain_ticks,
    save,
    starred,
)

PAPER_COLOUR = "0.25"
COLUMNS = 3
PATTERNS = ("--", ":", "-.")  # of a model's variants


def accuracy_figure(records: Iterable[Record], notes: Notes) -> Figure:
    """Test accuracy: a panel for each dataset, a line for each model.

    Small dots are seeds, the large one is their mean, the bar its 95 % interval; squares are dense
    networks, whose spiking twins have their colour. A diamond is the paper's value, hollow if it is
    recalled. A dataset of `notes` without records says why. Variants of a model are left out where
    there are more than three: tables and the figures of sweeps have them.
    """
    groups = told_apart(group(records, notes))
    labels = labels_of(groups)
    datasets = list(dict.fromkeys([*notes, *(dataset for dataset, _, _ in groups)]))
    columns = min(COLUMNS, len(datasets))
    rows = math.ceil(len(datasets) / columns)
    figure = Figure(figsize=(PANEL_WIDTH * columns + 0.6, (0.22 * len(labels) + 0.75) * rows + 0.6))
    panels = grid(figure, len(datasets), columns, sharey=True)
    for panel, dataset in zip(panels, datasets, strict=True):
        sizes = [members[0].n_test for key, members in groups.items() if key[0] == dataset]
        reason = notes.get(dataset, {}).get("source", "no record")
        below = f"{sizes[0]:,} test rows" if sizes else reason
        for place, label in enumerate(labels):
            if members := groups.get((dataset, *label)):
                _draw_scores(panel, place, members)
            if paper := paper_value(*label, dataset):
                face = PAPER_COLOUR if paper.status == "sourced" else "white"
                edge: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": PAPER_COLOUR}
                panel.plot(paper.mean, place, "D", markersize=4, **edge)
        panel.set(title=f"{starred(dataset, notes)}\n{below}", xlabel="accuracy (%)")
    panels[0].set_yticks(range(len(labels)), list(map(name_of, labels)))
    panels[0].set_ylim(len(labels) - 0.5, -0.5)
    _add_legend(figure, bool(proxies(notes)), any(model in DENSE_TWINS for model, _ in labels))
    return figure


def _draw_scores(panel: Axes, place: int, members: Sequence[Record]) -> None:
    scores = [100 * record.score for record in members]
    summary = summarise(scores)
    colour = colour_of(members[0].model)
    mark = mark_of(members[0].model)
    if summary.count > 1:
        panel.plot([summary.ci_low, summary.ci_high], [place, place], color=colour)
        seeds: dict[str, Any] = {"color": colour, "markersize": 2.5, "alpha": 0.5}
        panel.plot(scores, [place] * len(scores), mark["marker"], **seeds)
    panel.plot(summary.mean, place, markersize=5, color=colour, **mark)


def _add_legend(figure: Figure, proxy: bool, twins: bool) -> None:
    def mark(label: str, marker: str, size: float, **style: Any) -> Line2D:
        look: dict[str, Any] = {"color": PAPER_COLOUR, "linestyle": "", **style}
        return Line2D([], [], label=label, marker=marker, markersize=size, **look)

    dense = [mark("dense (spiking: a disc of the colour)", "s", 5, **HOLLOW)] if twins else []
    entries = [
        mark("one seed", "o", 2.5, alpha=0.5),
        mark("mean and 95 % interval over seeds", "o", 5, linestyle="-"),
        *dense,
        mark("paper (10 seeds)", "D", 4),
        mark(f"paper, {RECALLED_NOTE}", "D", 4, **HOLLOW),
    ]
    title = f"* {PROXY_NOTE}" if proxy else None
    figure.legend(handles=entries, loc="outside lower center", ncols=2, title=title)


def curves_figure(records: Iterable[Record], notes: Notes) -> Figure:
    """Training loss (above) and accuracy on dev (below) against updates, a column for each dataset.

    One line for each seed; variants other than base are dashed or dotted, and left out where a
    model has more of them than there are patterns. Losses of different models are sums of different
    terms, so only their course can be compared.
    """
    drawn = [record for record in records if any("step" in entry for entry in record.history)]
    shown = {(r.dataset, r.model, r.variant) for r in drawn}
    groups = told_apart({k: v for k, v in group(records, notes).items() if k in shown})
    datasets = list(dict.fromkeys(dataset for dataset, _, _ in groups))
    styles = _line_styles(labels_of(groups))
    width = PANEL_WIDTH * max(len(datasets), 1) + 0.6
    columns = min(max(int(width / 2.2), 1), 5)  # of the legend: a name takes 2.2 inches at most
    figure = Figure(figsize=(width, 3.2 + 0.19 * math.ceil(len(styles) / columns)))
    panels = figure.subplots(2, max(len(datasets), 1), sharex="col", squeeze=False)
    for (dataset, model, variant), members in groups.items():
        above, below = panels[:, datasets.index(dataset)]
        for record in members:
            for panel, key, factor in ((above, "loss", 1), (below, "accuracy_dev", 100)):
                entries = [entry for entry in record.history if {key, "step"} <= entry.keys()]
                steps = [entry["step"] for entry in entries]
                values = [factor * entry[key] for entry in entries]
                if steps:
                    panel.plot(steps, values, **styles[model, variant])
    for dataset, (above, below) in zip(datasets, panels.T, strict=False):
        above.set_title(starred(dataset, notes))
        above.set_yscale("log", subs=())
        plain_ticks(above)
        below.set_xlabel("updates")
    panels[0][0].set_ylabel("training loss")
    panels[1][0].set_ylabel("accuracy on dev (%)")
    if styles:
        handles = [Line2D([], [], **{**style, "alpha": 1}) for style in styles.values()]
        figure.legend(handles, map(name_of, styles), loc="outside lower center", ncols=columns)
    else:
        panels[0][0].set_title("no training history in the records")
    return figure


def _line_styles(labels: Sequence[Label]) -> dict[Label, dict[str, Any]]:
    """The model's colour; solid for base, the other patterns in turn for its variants."""
    patterns = {model: cycle(PATTERNS) for model, _ in labels}
    styles = {}
    for model, variant in labels:
        twin = {**mark_of(model), "linewidth": 0.6} if model in DENSE_TWINS else {"marker": "."}
        pattern = "-" if variant == BASE else next(patterns[model])
        shown = {"color": colour_of(model), "linestyle": pattern, "alpha": 0.8, "markersize": 3}
        styles[model, variant] = {**shown, **twin}
    return styles


def name_of(label: Label) -> str:
    model, variant = label
    return model if variant == BASE else f"{model} ({variant})"


def labels_of(groups: Mapping[Key, Sequence[Record]]) -> list[Label]:
    """Models and variants of any dataset, in the order of the registry."""
    labels = {("", model, variant) for _, model, variant in groups}
    return [(model, variant) for _, model, variant in in_order(labels)]


def told_apart(groups: Mapping[Key, list[Record]]) -> dict[Key, list[Record]]:
    """Without the variants of a model that has more of them than there are patterns."""
    variants = Counter(model for model, variant in labels_of(groups) if variant != BASE)
    return {
        key: members
        for key, members in groups.items()
        if key[2] == BASE or variants[key[1]] <= len(PATTERNS)
    }


def read_accuracies(run: Published) -> tuple[list[Record], Notes]:
    """Records and notes without the sets that are judged by another metric."""
    records = run.read_accuracies()
    others = {r.dataset for r in run.read()} - {r.dataset for r in records}
    return records, {name: note for name, note in run.notes.items() if name not in others}


@mpl.rc_context(STYLE)
def write_accuracy(run: Published, out: Path) -> None:
    save(accuracy_figure(*read_accuracies(run)), out / "accuracy")


@mpl.rc_context(STYLE)
def write_curves(run: Published, out: Path) -> None:
    save(curves_figure(*read_accuracies(run)), out / "curves")
