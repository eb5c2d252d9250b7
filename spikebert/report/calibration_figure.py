"""How sure student and teacher are, and where they err, from what `spikebert calibration` wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..records.calibration import read_calibration
from .published import Notes, Published
from .style import IMAGE_STYLE, PANEL_WIDTH, colour_of, run_title, save, write_in_cells

MARKS = {"student": (colour_of("spikebert"), "o"), "teacher": (colour_of("teacher"), "s")}


def calibration_figure(found: Mapping[str, Any], notes: Notes | None = None) -> Figure:
    """A reliability diagram with the rows of each bin below, and confusion matrices in counts: the
    labels with student and with teacher, and the two with each other."""
    labels = list(found["labels"])
    side = max(PANEL_WIDTH, 0.45 * len(labels) + 1.2)
    figure = Figure(figsize=(1.3 * PANEL_WIDTH + 3 * side, side + 0.9))
    left, right = figure.subfigures(
        1, 2, width_ratios=[1.3 * PANEL_WIDTH, 3 * side], squeeze=False
    )[0]
    above, below = left.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    _draw_reliability(above, below, found["models"])
    counts = {
        f"{name}: accuracy {100 * model['accuracy']:.1f} %": (model["confusion"], "label", name)
        for name, model in found["models"].items()
    }
    together = found["together"]
    consistency = together["error_consistency"]
    errors = "undefined" if consistency is None else f"{consistency:.2f}"
    same = f"same answer: {100 * together['agree']:.1f} %\nconsistency of errors: {errors}"
    counts[same] = (together["between"], "teacher", "student")
    panels = right.subplots(1, 3)
    for panel, (title, (table, rows, columns)) in zip(panels, counts.items(), strict=True):
        _draw_counts(panel, np.asarray(table), labels)
        panel.set_title(title)
        panel.set_ylabel(rows)
        panel.set_xlabel(columns)
    figure.suptitle(
        f"{run_title(str(found['student']), notes)}, and its teacher: "
        f"{found['rows']:,} {found['split']} rows of {found['dataset']}",
        fontsize=8,
    )
    return figure


def _draw_reliability(panel: Axes, below: Axes, models: Mapping[str, Mapping[str, Any]]) -> None:
    panel.plot([0, 1], [0, 1], color="0.6", linestyle="--", zorder=0)
    least = 1.0
    for number, (name, (colour, marker)) in enumerate(MARKS.items()):
        bins = [each for each in models[name]["bins"] if each["count"]]
        ece = 100 * models[name]["ece"]
        panel.plot(
            [each["confidence"] for each in bins],
            [each["accuracy"] for each in bins],
            f"{marker}-",
            color=colour,
            markersize=4,
            label=f"{name}, ECE {ece:.1f} %",
        )
        least = min([least, *(each["low"] for each in bins)])
        width = bins[0]["high"] - bins[0]["low"]
        below.bar(
            [(each["low"] + each["high"]) / 2 + (number - 0.5) * 0.4 * width for each in bins],
            [each["count"] for each in bins],
            0.4 * width,
            color=colour,
        )
    panel.set_ylabel("accuracy")
    panel.set_xlim(least, 1)
    panel.set_ylim(0, 1.02)
    panel.grid(True)
    below.grid(True, axis="y")
    panel.legend(loc="lower right")
    panel.set_title("reliability")
    below.set_xlabel("confidence")
    below.set_ylabel("rows")


def _draw_counts(panel: Axes, counts: np.ndarray, labels: Sequence[str]) -> None:
    """Counts on the colour of their share of the row."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    panel.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    write_in_cells(panel, counts, ",", shades=shares, size=7)
    places = range(len(labels))
    panel.set_xticks(places, labels, rotation=90 if len(labels) > 3 else 0)
    panel.set_yticks(places, labels, rotation=0 if len(labels) > 3 else 90, va="center")
    panel.tick_params(length=0)


def write_calibration(run: Published, out: Path) -> None:
    """Draw calibration.svg and calibration.png into the folder `out`."""
    with mpl.rc_context(IMAGE_STYLE):
        found = read_calibration(run.file("calibration"))
        save(calibration_figure(found, run.notes), out / "calibration")
