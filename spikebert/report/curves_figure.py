"""How training went: loss and accuracy on dev against updates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..config.registry import BASE
from ..records.records import Record
from .published import Label, Notes, Published, group
from .style import (
    PANEL_WIDTH,
    PATTERNS,
    STYLE,
    colour_of,
    is_dense_twin,
    labels_of,
    mark_of,
    name_of,
    plain_ticks,
    read_accuracies,
    save,
    starred,
    told_apart,
)


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
    labels = labels_of(groups)
    styles = dict(_line_styles(labels))
    width = PANEL_WIDTH * max(len(datasets), 1) + 0.6
    columns = min(max(int(width / 2.2), 1), 5)  # of the legend: a name takes 2.2 inches at most
    figure = Figure(figsize=(width, 3.2 + 0.19 * math.ceil(len(labels) / columns)))
    panels = figure.subplots(2, max(len(datasets), 1), sharex="col", squeeze=False)
    for (dataset, model, variant), members in groups.items():
        above, below = panels[:, datasets.index(dataset)]
        for record in members:
            for panel, key, factor in ((above, "loss", 1), (below, "accuracy_dev", 100)):
                points = [
                    (entry["step"], factor * entry[key])
                    for entry in record.history
                    if key in entry and "step" in entry
                ]
                if points:
                    panel.plot(*zip(*points, strict=True), **styles[model, variant])
    for dataset, (above, below) in zip(datasets, panels.T, strict=False):
        above.set_title(starred(dataset, notes))
        above.set_yscale("log", subs=())
        plain_ticks(above)
        below.set_xlabel("updates")
    panels[0][0].set_ylabel("training loss")
    panels[1][0].set_ylabel("accuracy on dev (%)")
    if labels:
        handles = [Line2D([], [], **{**styles[label], "alpha": 1}) for label in labels]
        figure.legend(handles, map(name_of, labels), loc="outside lower center", ncols=columns)
    else:
        panels[0][0].set_title("no training history in the records")
    return figure


def _line_styles(labels: Sequence[Label]) -> Iterator[tuple[Label, dict[str, Any]]]:
    """The model's colour; solid for base, the other patterns in turn for its variants."""
    patterns = {model: cycle(PATTERNS) for model, _ in labels}
    for model, variant in labels:
        twin = {**mark_of(model), "linewidth": 0.6} if is_dense_twin(model) else {"marker": "."}
        pattern = "-" if variant == BASE else next(patterns[model])
        shown = {"color": colour_of(model), "linestyle": pattern, "alpha": 0.8, "markersize": 3}
        yield (model, variant), {**shown, **twin}


def write_curves(run: Published, out: Path) -> None:
    """Draw curves.svg and curves.png into the folder `out`; sets that are judged by another metric
    are left out."""
    with mpl.rc_context(STYLE):
        save(curves_figure(*read_accuracies(run)), out / "curves")
