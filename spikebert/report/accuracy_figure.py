"""Test accuracy of every set and model beside the paper's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..records.metrics import summarise
from ..records.paper import paper_value
from ..records.records import Record
from .published import Label, Notes, Published, group, proxies
from .render import PROXY_NOTE, RECALLED_NOTE
from .style import (
    PANEL_WIDTH,
    STYLE,
    colour_of,
    grid,
    is_dense_twin,
    labels_of,
    mark_of,
    name_of,
    read_accuracies,
    save,
    starred,
    told_apart,
)

PAPER_COLOUR = "0.25"
COLUMNS = 3


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
    _, panels = grid(figure, len(datasets), columns, sharey=True)
    for panel, dataset in zip(panels, datasets, strict=True):
        shown = {label: groups.get((dataset, *label), []) for label in labels}
        _draw(panel, dataset, shown)
        sizes = [members[0].n_test for members in shown.values() if members]
        reason = notes.get(dataset, {}).get("source", "no record")
        below = f"{sizes[0]:,} test rows" if sizes else reason
        panel.set_title(f"{starred(dataset, notes)}\n{below}")
        panel.set_xlabel("accuracy (%)")
    panels[0].set_yticks(range(len(labels)), list(map(name_of, labels)))
    panels[0].set_ylim(len(labels) - 0.5, -0.5)
    _add_legend(figure, bool(proxies(notes)), any(is_dense_twin(model) for model, _ in labels))
    return figure


def _draw(panel: Axes, dataset: str, shown: Mapping[Label, Sequence[Record]]) -> None:
    for place, ((model, variant), members) in enumerate(shown.items()):
        style: dict[str, Any] = {"color": colour_of(model)}
        if members:
            values = [100 * record.score for record in members]
            summary = summarise(values)
            mark = mark_of(model)
            if summary.count > 1:
                panel.plot([summary.ci_low, summary.ci_high], [place, place], **style)
                seeds = {**style, "markersize": 2.5, "alpha": 0.5}
                panel.plot(values, [place] * len(values), mark["marker"], **seeds)
            panel.plot(summary.mean, place, markersize=5, **style, **mark)
        if paper := paper_value(model, variant, dataset):
            face = PAPER_COLOUR if paper.status == "sourced" else "white"
            edge: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": PAPER_COLOUR}
            panel.plot(paper.mean, place, "D", markersize=4, **edge)


def _add_legend(figure: Figure, proxy: bool, twins: bool) -> None:
    def mark(marker: str, size: float, face: str = "0.25", **style: Any) -> Line2D:
        look: dict[str, Any] = {"marker": marker, "markersize": size, "markerfacecolor": face}
        return Line2D([], [], color="0.25", **{"linestyle": "", **look, **style})

    dense = {"dense (spiking: a disc of the colour)": mark("s", 5, "white")} if twins else {}
    entries = {
        "one seed": mark("o", 2.5, alpha=0.5),
        "mean and 95 % interval over seeds": mark("o", 5, linestyle="-"),
        **dense,
        "paper (10 seeds)": mark("D", 4),
        f"paper, {RECALLED_NOTE}": mark("D", 4, "white"),
    }
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=2,
        title=f"* {PROXY_NOTE}" if proxy else None,
    )


def write_accuracy(run: Published, out: Path) -> None:
    """Draw accuracy.svg and accuracy.png into the folder `out`; sets that are judged by another
    metric are left out."""
    with mpl.rc_context(STYLE):
        save(accuracy_figure(*read_accuracies(run)), out / "accuracy")
