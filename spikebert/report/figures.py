"""Figures from records, as SVG and PNG. Nothing here imports torch.

Every figure has one style and one colour for each model (the palette of Okabe and Ito, which
colour-blind readers can tell apart), and the same input gives the same bytes. A spiking network and
the dense one that it is made of, or shares its shape and training with, have the same colour and
differ in their marks: the dense one's are hollow squares.
"""

from __future__ import annotations

import json
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
from matplotlib.ticker import LogLocator

from ..config.schema import BASE, MODELS
from ..records.metrics import summarise
from ..records.paper import paper_value
from ..records.records import Record, read_accuracies, read_records
from .tables import ANALOGUE_NOTE, RECALLED_NOTE, Key, group

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
COLOURS = {
    "tfidf": "#000000",
    "textcnn": "#56B4E9",
    "teacher": "#0072B2",
    "distilbert": "#F0E442",
    "tinybert": "#999999",
    "dense_direct": "#E69F00",
    "dense_distilled": "#D55E00",
    "snn_textcnn": "#56B4E9",
    "direct": "#E69F00",
    "stage2_only": "#009E73",
    "spikebert": "#D55E00",
}
DENSE_TWINS = ("textcnn", "dense_direct", "dense_distilled")
OTHER = "#CC79A7"
PAPER_COLOUR = "0.25"
COLUMNS = 3
PANEL_WIDTH = 2.6  # inches
PATTERNS = ("--", ":", "-.")  # of a model's variants

Notes = Mapping[str, Mapping[str, Any]]
Label = tuple[str, str]  # model, variant


def _name(label: Label) -> str:
    model, variant = label
    return model if variant == BASE else f"{model} ({variant})"


def mark_of(model: str) -> dict[str, Any]:
    """A disc, or a hollow square for a dense network that has a spiking twin."""
    return {"marker": "s", "markerfacecolor": "white"} if model in DENSE_TWINS else {"marker": "o"}


def _title(dataset: str, notes: Notes) -> str:
    return dataset + ("*" if notes.get(dataset, {}).get("analogue") else "")


def _labels(groups: Mapping[Key, Sequence[Record]]) -> list[Label]:
    """Models and variants of any dataset, in the order of the plan."""
    models = [*MODELS, *sorted({model for _, model, _ in groups} - set(MODELS))]
    labels = {(model, variant) for _, model, variant in groups}
    return sorted(labels, key=lambda x: (models.index(x[0]), x[1] != BASE, x[1]))


def _told_apart(groups: Mapping[Key, list[Record]]) -> dict[Key, list[Record]]:
    """Without the variants of a model that has more of them than there are patterns."""
    variants = Counter(model for model, variant in _labels(groups) if variant != BASE)
    return {
        (dataset, model, variant): members
        for (dataset, model, variant), members in groups.items()
        if variant == BASE or variants[model] <= len(PATTERNS)
    }


def accuracy_figure(records: Iterable[Record], notes: Notes) -> Figure:
    """Test accuracy: a panel for each dataset, a line for each model.

    Small dots are seeds, the large one is their mean, the bar its 95 % interval; squares are dense
    networks, whose spiking twins have their colour. A diamond is the paper's value, hollow if it is
    recalled. A dataset of `notes` without records says why. Variants of a model are left out where
    there are more than three: tables and the figures of sweeps have them.
    """
    groups = _told_apart(group(records, notes))
    labels = _labels(groups)
    datasets = list(dict.fromkeys([*notes, *(dataset for dataset, _, _ in groups)]))
    columns = min(COLUMNS, len(datasets))
    rows = math.ceil(len(datasets) / columns)
    figure = Figure(figsize=(PANEL_WIDTH * columns + 0.6, (0.22 * len(labels) + 0.75) * rows + 0.6))
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for panel, dataset in zip(panels, datasets, strict=False):
        shown = {label: groups.get((dataset, *label), []) for label in labels}
        _draw_accuracy(panel, dataset, shown)
        sizes = [members[0].n_test for members in shown.values() if members]
        reason = notes.get(dataset, {}).get("source", "no record")
        below = f"{sizes[0]:,} test rows" if sizes else reason
        panel.set_title(f"{_title(dataset, notes)}\n{below}")
        panel.set_xlabel("accuracy (%)")
    for panel in panels[len(datasets) :]:
        panel.set_visible(False)
    panels[0].set_yticks(range(len(labels)), [_name(label) for label in labels])
    panels[0].set_ylim(len(labels) - 0.5, -0.5)
    _add_accuracy_legend(
        figure,
        any(note.get("analogue") for note in notes.values()),
        any(model in DENSE_TWINS for model, _ in labels),
    )
    return figure


def _draw_accuracy(panel: Axes, dataset: str, shown: Mapping[Label, Sequence[Record]]) -> None:
    for place, ((model, variant), members) in enumerate(shown.items()):
        colour = COLOURS.get(model, OTHER)
        if members:
            values = [100 * record.score for record in members]
            summary = summarise(values)
            mark = mark_of(model)
            if summary.count > 1:
                panel.plot([summary.ci_low, summary.ci_high], [place, place], color=colour)
                panel.plot(
                    values,
                    [place] * len(values),
                    mark["marker"],
                    color=colour,
                    markersize=2.5,
                    alpha=0.5,
                )
            panel.plot(summary.mean, place, color=colour, markersize=5, **mark)
        paper = paper_value(model, variant, dataset)
        if paper:
            face = PAPER_COLOUR if paper.status == "sourced" else "white"
            panel.plot(
                paper.accuracy,
                place,
                "D",
                markerfacecolor=face,
                markeredgecolor=PAPER_COLOUR,
                markersize=4,
            )


def _add_accuracy_legend(figure: Figure, analogues: bool, twins: bool) -> None:
    def mark(marker: str, size: float, face: str = "0.25", **style: Any) -> Line2D:
        return Line2D(
            [], [], color="0.25", marker=marker, markersize=size, markerfacecolor=face, **style
        )

    entries = {
        "one seed": mark("o", 2.5, linestyle="", alpha=0.5),
        "mean and 95 % interval over seeds": mark("o", 5),
        **(
            {"dense (spiking: a disc of the colour)": mark("s", 5, "white", linestyle="")}
            if twins
            else {}
        ),
        "paper (10 seeds)": mark("D", 4, linestyle=""),
        f"paper, {RECALLED_NOTE}": mark("D", 4, "white", linestyle=""),
    }
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=2,
        title=f"* {ANALOGUE_NOTE}" if analogues else None,
    )


def curves_figure(records: Iterable[Record], notes: Notes) -> Figure:
    """Training loss (above) and accuracy on dev (below) against updates, a column for each dataset.

    One line for each seed; variants other than base are dashed or dotted, and left out where a
    model has more of them than there are patterns. Losses of different models are sums of different
    terms, so only their course can be compared.
    """
    groups = {
        key: members
        for key, members in group(records, notes).items()
        if any("step" in entry for record in members for entry in record.history)
    }
    groups = _told_apart(groups)
    datasets = list(dict.fromkeys(dataset for dataset, _, _ in groups))
    labels = _labels(groups)
    styles = dict(_line_styles(labels))
    width = PANEL_WIDTH * max(len(datasets), 1) + 0.6
    columns = min(max(int(width / 2.2), 1), 5)  # of the legend: a name takes 2.2 inches at most
    figure = Figure(figsize=(width, 3.2 + 0.19 * math.ceil(len(labels) / columns)))
    panels = figure.subplots(2, max(len(datasets), 1), sharex="col", squeeze=False)
    for (dataset, model, variant), members in groups.items():
        column = datasets.index(dataset)
        for record in members:
            for panel, key, factor in (
                (panels[0][column], "loss", 1),
                (panels[1][column], "accuracy_dev", 100),
            ):
                points = [
                    (entry["step"], factor * entry[key])
                    for entry in record.history
                    if key in entry and "step" in entry
                ]
                if points:
                    panel.plot(*zip(*points, strict=True), **styles[model, variant])
    for column, dataset in enumerate(datasets):
        panels[0][column].set_title(_title(dataset, notes))
        panels[0][column].set_yscale("log", subs=())
        panels[0][column].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panels[0][column].yaxis.set_major_formatter("{x:g}")
        panels[1][column].set_xlabel("updates")
    panels[0][0].set_ylabel("training loss")
    panels[1][0].set_ylabel("accuracy on dev (%)")
    if labels:
        handles = [Line2D([], [], **{**styles[label], "alpha": 1}) for label in labels]
        figure.legend(handles, map(_name, labels), loc="outside lower center", ncols=columns)
    else:
        panels[0][0].set_title("no training history in the records")
    return figure


def _line_styles(labels: Sequence[Label]) -> Iterable[tuple[Label, dict[str, Any]]]:
    """The model's colour; solid for base, the other patterns in turn for its variants."""
    patterns = {model: cycle(PATTERNS) for model, _ in labels}
    for model, variant in labels:
        pattern = "-" if variant == BASE else next(patterns[model])
        twin = model in DENSE_TWINS
        yield (
            (model, variant),
            {
                "color": COLOURS.get(model, OTHER),
                "linestyle": pattern,
                "alpha": 0.8,
                **({**mark_of(model), "linewidth": 0.6} if twin else {"marker": "."}),
                "markersize": 3,
            },
        )


def save(figure: Figure, path: Path) -> None:
    """Write `path`.svg and `path`.png, without a date, so that equal figures are equal files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
    figure.savefig(path.with_suffix(".png"), metadata={"Software": None})


def write_figures(records: Iterable[str | Path], out: str | Path, notes: Notes) -> None:
    """Read records and draw accuracy.{svg,png} and curves.{svg,png} into the folder `out`; sets
    that are judged by another metric are left out."""
    paths = list(records)
    read = read_accuracies(paths)
    others = {r.dataset for r in read_records(paths)} - {r.dataset for r in read}
    notes = {name: note for name, note in notes.items() if name not in others}
    with mpl.rc_context(STYLE):
        save(accuracy_figure(read, notes), Path(out) / "accuracy")
        save(curves_figure(read, notes), Path(out) / "curves")


AXIS_NAMES = {
    "timesteps": "time steps T",
    "tokens": "tokens N",
    "hidden_size": "width D",
    "batch_size": "sentences B",
}


def bench_figure(found: Mapping[str, Any]) -> Figure:
    """The time of an update against T, N, D and B, one varied at a time, with the fitted powers.

    `found` is the JSON of `bench.py`.
    """
    figure = Figure(figsize=(PANEL_WIDTH * 4 * 0.8, PANEL_WIDTH * 0.9))
    panels = figure.subplots(1, len(found["scaling"]), sharey=True, squeeze=False).ravel()
    for panel, (axis, measured) in zip(panels, found["scaling"].items(), strict=True):
        x, y = measured["values"], [1e3 * second for second in measured["s"]]
        power = measured["exponent"]
        logs = [math.log(b) - power * math.log(a) for a, b in zip(x, y, strict=True)]
        level = math.exp(sum(logs) / len(logs))
        panel.plot(x, [level * a**power for a in x], color="0.6", linestyle="--")
        panel.plot(x, y, "o", color=COLOURS["spikebert"], markersize=4)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks(x, [str(a) for a in x])
        panel.minorticks_off()
        name = AXIS_NAMES.get(axis, axis)
        panel.set_xlabel(name)
        panel.set_title(f"time ~ {name[-1]}^{power:.2f}")
    panels[0].set_ylabel("one update (ms)")
    panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panels[0].yaxis.set_major_formatter("{x:g}")
    return figure


def write_bench_figure(source: str | Path, out: str | Path) -> None:
    """Draw bench.svg and bench.png into the folder `out` from the JSON of the benchmark."""
    found = json.loads(Path(source).read_text(encoding="utf-8"))
    with mpl.rc_context(STYLE):
        save(bench_figure(found), Path(out) / "bench")
