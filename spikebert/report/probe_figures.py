"""Figures of what the probes saved: attention, spikes, similarity to the teacher, calibration."""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from ..errors import UserError
from ..records.calibration import read_calibration
from .published import Notes, Published
from .style import IMAGE_STYLE, PANEL_WIDTH, TEXT_STYLE, colour_of, grid, run_title, save

KINDS = {
    "attention.query_neuron": "Q",
    "attention.key_neuron": "K",
    "attention.value_neuron": "V",
    "attention.attention_neuron": "scaled QKᵀV",
    "attention_residual": "attention, output",
    "mlp.neuron": "MLP, inner",
    "mlp_residual": "MLP, output",
}
STUDENTS = {"random": "random weights", "before": "before stage 1", "after": "after stage 1"}
FRAME = "#D55E00"  # seen on every colour of cividis
MARKS = {"student": (colour_of("spikebert"), "o"), "teacher": (colour_of("teacher"), "s")}

Arrays = Mapping[str, Any]


def read_arrays(path: str | Path, *names: str) -> Arrays:
    """The arrays of a .npz file, those of `names` among them.

    Raises:
        UserError: the file is missing, no .npz of plain arrays, or lacks one of `names`.
    """
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("one array")
        with file:
            arrays = dict(file)
        if missing := [name for name in names if name not in arrays]:
            raise ValueError(f"no {', '.join(missing)} in it")
    except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(
            f"file {path}",
            expected="what `spikebert probe` wrote of two sentences and a corpus, or `spikebert "
            "cka`",
            got=error,
            fix="make it again",
        ) from None
    return arrays


def layer_of(name: str) -> tuple[int | None, str]:
    """Block, counted from 1, and kind of a layer of neurons; no block for the encoder's."""
    parts = re.search(r"blocks\.(\d+)\.(.+)$", name)
    return (int(parts[1]) + 1, KINDS.get(parts[2], parts[2])) if parts else (None, "embedding")


def attention_figure(
    arrays: Arrays, number: int = 0, block: int | None = None, notes: Notes | None = None
) -> Figure:
    """Q K^T of one block, the last by default: the mean over heads and steps with the tokens at its
    sides, from its least value to its largest, and the mean over steps of every head, from 0.

    A row is a query, a column a key. Unit: neurons that spike in both, of the D/H of a head.

    Raises:
        UserError: the file does not hold this block.
    """
    maps = np.asarray(arrays[f"attention_{number}"], dtype=float)
    tokens = arrays[f"tokens_{number}"]
    total = int(arrays[f"blocks_{number}"])
    block = total if block is None else block
    if not total - len(maps) < block <= total:
        raise UserError(
            "block to draw",
            expected=f"{total - len(maps) + 1} to {total}",
            got=block,
            fix="choose one of them",
        )
    heads = maps[block - 1 - total].mean(0)  # [H, N, N]
    columns = math.ceil(len(heads) / math.ceil(math.sqrt(len(heads))))
    side = max(3.2, 0.15 * len(tokens))
    figure = Figure(figsize=(2 * side + 1.6, side + 1.4))
    left, right = figure.subfigures(1, 2, width_ratios=[1.15, 1], squeeze=False)[0]
    panel = left.subplots()
    image = _draw_map(panel, heads.mean(0), tokens, tokens)
    panel.tick_params("x", rotation=90)
    panel.tick_params(labelsize=7)
    panel.set(xlabel="key", ylabel="query", title="mean over heads and steps")
    left.colorbar(image, ax=panel, shrink=0.7, label="spikes in common")
    shown = grid(right, len(heads), columns)
    for head, (small, values) in enumerate(zip(shown, heads, strict=True), 1):
        image = _draw_map(small, values, [], [], vmin=0, vmax=heads.max() or 1)
        small.set_title(f"head {head}")
    words = "spikes in common, mean over steps"
    right.colorbar(image, ax=right.axes, shrink=0.7, label=words)
    text, label = arrays[f"text_{number}"], arrays[f"label_{number}"]
    title = f"{run_title(arrays['model'], notes)}: QKᵀ of block {block} of {total}"
    figure.suptitle(f"{title}\n“{text}”, classified as {label}")
    return figure


def rates_figure(arrays: Arrays, notes: Notes | None = None) -> Figure:
    """Spikes per neuron and token against the step: a panel for each kind of layer, a line for each
    block."""
    layers = [layer_of(str(name)) for name in arrays["rate_layers"]]
    kinds = list(dict.fromkeys(kind for _, kind in layers))
    columns = min(4, len(kinds))
    rows = math.ceil(len(kinds) / columns)
    figure = Figure(figsize=(1.75 * columns + 0.9, 1.65 * rows + 0.8))
    shown = grid(figure, len(kinds), columns, sharex=True, sharey=True)
    panels = dict(zip(kinds, shown, strict=True))
    shades = mpl.colormaps["viridis"](np.linspace(0, 0.9, max(block or 1 for block, _ in layers)))
    steps = range(1, arrays["rates"].shape[1] + 1)
    lines = {}
    for (block, kind), rates in zip(layers, arrays["rates"], strict=True):
        colour = "0.4" if block is None else shades[block - 1]
        look: dict[str, Any] = {"color": colour, "label": f"block {block}", "markersize": 4}
        (lines[block],) = panels[kind].plot(steps, rates, ".-", **look)
    for kind, panel in panels.items():
        panel.set(title=kind, xticks=steps)
        panel.tick_params(labelbottom=True)
    shown[0].set_ylim(bottom=0)
    figure.supxlabel("time step")
    figure.supylabel("spikes per neuron and token")
    known = sorted(block for block in lines if block is not None)
    figure.legend(handles=[lines[block] for block in known], loc="outside right center")
    sample = f"{int(arrays['rate_sentences']):,} {arrays['split']} sentences"
    name = run_title(arrays["model"], notes)
    figure.suptitle(f"{name}: spike rates of {sample} of {arrays['dataset']}")
    return figure


def raster_figure(arrays: Arrays, number: int = 0, notes: Notes | None = None) -> Figure:
    """Spikes of one sentence in the last block: a panel for each layer, a row for each neuron, and
    for each token its time steps from left to right."""
    raster = np.asarray(arrays[f"raster_{number}"])  # [layers, T, N, neurons]
    layers, steps, count, neurons = raster.shape
    figure = Figure(figsize=(max(4.5, 0.29 * count + 1.2), 0.85 * layers + 1.3))
    panels = figure.subplots(layers, 1, sharex=True, squeeze=False).ravel()
    blocks, kinds = zip(*(layer_of(str(n)) for n in arrays[f"raster_layers_{number}"]), strict=True)
    for panel, kind, spikes in zip(panels, kinds, raster, strict=True):
        image = spikes.transpose(2, 1, 0).reshape(neurons, count * steps)
        panel.imshow(image, cmap="gray_r", aspect="auto", interpolation="nearest", vmin=0, vmax=1)
        for place in range(1, count):
            panel.axvline(place * steps - 0.5, color="0.8", linewidth=0.4)
        panel.set_title(f"{kind}, {100 * spikes.mean():.1f} % spike", loc="left", pad=2)
        panel.set_yticks([])
        panel.tick_params(length=0)
    centres = [steps * (place + 0.5) - 0.5 for place in range(count)]
    panels[-1].set_xticks(centres, arrays[f"tokens_{number}"], rotation=90, fontsize=7)
    figure.supylabel(f"first {neurons} neurons of each layer")
    which = ", ".join(str(block) for block in dict.fromkeys(blocks) if block is not None)
    title = f"{run_title(arrays['model'], notes)}\nspikes of block {which}"
    figure.suptitle(f"{title}, {steps} steps for each token")
    return figure


def cka_figure(arrays: Arrays) -> Figure:
    """Linear CKA of every block of the student (down) with every layer of the teacher (across), on
    one scale; a frame marks the pairs that stage 1 aligned."""
    shown = {name: np.asarray(arrays[name]) for name in STUDENTS if name in arrays}
    blocks, layers = next(iter(shown.values())).shape
    written = blocks * layers <= 100
    cell = 0.36 if written else 0.2  # inches
    figure = Figure(figsize=((cell * layers + 0.3) * len(shown) + 1.2, cell * blocks + 1.2))
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for panel, (name, values) in zip(panels, shown.items(), strict=True):
        image = _draw_map(panel, values, range(1, blocks + 1), range(1, layers + 1), vmin=0, vmax=1)
        if written:
            _write_in_cells(panel, values, np.vectorize("{:.2f}".format)(values), 6)
        for i, j in arrays["pairs"]:
            corner = (j - 1.46, i - 1.46)
            panel.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, color=FRAME, lw=1.2))
        words = "\n(teacher's embeddings)" if name == "before" and "random" in shown else ""
        panel.set(title=STUDENTS[name] + words, xlabel="layer of the teacher")
    panels[0].set_ylabel("block of the student")
    figure.colorbar(image, ax=list(panels), label="linear CKA")
    figure.suptitle(
        f"student of stage 1 {arrays['student']}, seed {int(arrays['seed'])}, and teacher "
        f"{arrays['teacher']}: {int(arrays['rows']):,} tokens of {int(arrays['sentences'])} "
        "unlabelled sentences"
    )
    return figure


def calibration_figure(found: Mapping[str, Any], notes: Notes | None = None) -> Figure:
    """A reliability diagram with the rows of each bin below, and confusion matrices in counts: the
    labels with student and with teacher, and the two with each other."""
    labels = found["labels"]
    side = max(PANEL_WIDTH, 0.45 * len(labels) + 1.2)
    widths = [1.3 * PANEL_WIDTH, 3 * side]
    figure = Figure(figsize=(sum(widths), side + 0.9))
    left, right = figure.subfigures(1, 2, width_ratios=widths, squeeze=False)[0]
    above, below = left.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    _draw_reliability(above, below, found["models"])
    tables = [
        (f"{name}: accuracy {100 * model['accuracy']:.1f} %", model["confusion"], "label", name)
        for name, model in found["models"].items()
    ]
    together = found["together"]
    consistency = together["error_consistency"]
    errors = "undefined" if consistency is None else f"{consistency:.2f}"
    same = f"same answer: {100 * together['agree']:.1f} %\nconsistency of errors: {errors}"
    tables.append((same, together["between"], "teacher", "student"))
    many = len(labels) > 3
    for panel, (title, table, down, across) in zip(right.subplots(1, 3), tables, strict=True):
        counts = np.asarray(table)
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)  # of the row
        _draw_map(panel, shares, [], [], vmin=0, vmax=1)
        _write_in_cells(panel, shares, np.vectorize("{:,}".format)(counts), 7)
        panel.set_xticks(range(len(labels)), labels, rotation=90 if many else 0)
        panel.set_yticks(range(len(labels)), labels, rotation=0 if many else 90, va="center")
        panel.set(title=title, ylabel=down, xlabel=across)
    rows = f"{found['rows']:,} {found['split']} rows of {found['dataset']}"
    figure.suptitle(f"{run_title(found['student'], notes)}, and its teacher: {rows}")
    return figure


def _draw_reliability(panel: Axes, below: Axes, models: Mapping[str, Mapping[str, Any]]) -> None:
    panel.plot([0, 1], [0, 1], color="0.6", linestyle="--", zorder=0)
    least = 1.0
    for side, (name, (colour, marker)) in zip((-0.5, 0.5), MARKS.items(), strict=True):
        bins = [each for each in models[name]["bins"] if each["count"]]
        confidence, accuracy, low, high, count = (
            np.array([each[key] for each in bins])
            for key in ("confidence", "accuracy", "low", "high", "count")
        )
        words = f"{name}, ECE {100 * models[name]['ece']:.1f} %"
        panel.plot(confidence, accuracy, f"{marker}-", color=colour, markersize=4, label=words)
        least = min(least, *low)
        width = 0.4 * (high[0] - low[0])
        below.bar((low + high) / 2 + side * width, count, width, color=colour)
    panel.set(ylabel="accuracy", xlim=(least, 1), ylim=(0, 1.02), title="reliability")
    panel.grid(True)
    panel.legend(loc="lower right")
    below.grid(True, axis="y")
    below.set(xlabel="confidence", ylabel="rows")


def _draw_map(
    panel: Axes, shades: np.ndarray, down: Sequence[Any], across: Sequence[Any], **scale: Any
) -> AxesImage:
    """Values as colours, with words for its rows and columns."""
    image = panel.imshow(shades, **scale)
    panel.set_xticks(range(len(across)), across)
    panel.set_yticks(range(len(down)), down)
    panel.tick_params(length=0)
    return image


def _write_in_cells(panel: Axes, shades: np.ndarray, words: np.ndarray, size: float) -> None:
    """Words in the cells of an image, black where its shade (0 to 1) is light."""
    centred: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size}
    for (i, j), shade in np.ndenumerate(shades):
        panel.text(j, i, str(words[i, j]), color="black" if shade > 0.55 else "white", **centred)


@mpl.rc_context(IMAGE_STYLE)
def write_attention(arrays: Arrays, out: Path, block: int | None = None) -> None:
    """Draw the map of one sentence into `out`, an SVG, and the PNG beside it."""
    save(attention_figure(arrays, 0, block), out)


@mpl.rc_context(IMAGE_STYLE)
def write_probes(run: Published, out: Path) -> None:
    """Draw attention_a, attention_b (the sentences of the paper's figure 4), spike_rates, raster
    and cka into the folder `out`."""
    arrays = read_arrays(run.file("probe"), "attention_0", "attention_1", "rates")
    similar = read_arrays(run.file("cka"), "before", "after", "pairs")
    for number, letter in enumerate("ab"):
        save(attention_figure(arrays, number, notes=run.notes), out / f"attention_{letter}")
    save(raster_figure(arrays, notes=run.notes), out / "raster")
    save(cka_figure(similar), out / "cka")
    with mpl.rc_context(TEXT_STYLE):
        save(rates_figure(arrays, run.notes), out / "spike_rates")


@mpl.rc_context(IMAGE_STYLE)
def write_calibration(run: Published, out: Path) -> None:
    found = read_calibration(run.file("calibration"))
    save(calibration_figure(found, run.notes), out / "calibration")
