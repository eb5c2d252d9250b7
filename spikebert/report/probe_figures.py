"""Figures of what the probes saved: attention, spikes, and similarity to the teacher."""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..errors import UserError
from .published import Notes, Published
from .style import IMAGE_STYLE, TEXT_STYLE, grid, run_title, save, write_in_cells

KINDS = {
    "attention.query_neuron": "Q",
    "attention.key_neuron": "K",
    "attention.value_neuron": "V",
    "attention.attention_neuron": "scaled QKᵀV",
    "attention_residual": "attention, output",
    "mlp.neuron": "MLP, inner",
    "mlp_residual": "MLP, output",
}
STUDENTS = {
    "random": "random weights",
    "before": "before stage 1",
    "after": "after stage 1",
}
FRAME = "#D55E00"  # seen on every colour of cividis

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
        missing = [name for name in names if name not in arrays]
        if missing:
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
    if not parts:
        return None, "embedding"
    return int(parts[1]) + 1, KINDS.get(parts[2], parts[2])


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
    tokens = [str(token) for token in arrays[f"tokens_{number}"]]
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
    image = panel.imshow(heads.mean(0), cmap="cividis")
    places = range(len(tokens))
    panel.set_xticks(places, tokens, rotation=90)
    panel.set_yticks(places, tokens)
    panel.tick_params(length=0, labelsize=7)
    panel.set_xlabel("key")
    panel.set_ylabel("query")
    panel.set_title("mean over heads and steps")
    left.colorbar(image, ax=panel, shrink=0.7, label="spikes in common")
    panels, shown = grid(right, len(heads), columns)
    for head, (small, values) in enumerate(zip(shown, heads, strict=True), 1):
        image = small.imshow(values, cmap="cividis", vmin=0, vmax=heads.max() or 1)
        small.set_title(f"head {head}")
        small.set_xticks([])
        small.set_yticks([])
    right.colorbar(
        image, ax=list(panels.flat), shrink=0.7, label="spikes in common, mean over steps"
    )
    title = run_title(str(arrays["model"]), notes)
    text, label = arrays[f"text_{number}"], arrays[f"label_{number}"]
    figure.suptitle(
        f"{title}: QKᵀ of block {block} of {total}\n“{text}”, classified as {label}", fontsize=8
    )
    return figure


def rates_figure(arrays: Arrays, notes: Notes | None = None) -> Figure:
    """Spikes per neuron and token against the step: a panel for each kind of layer, a line for each
    block."""
    groups: dict[str, list[tuple[int | None, np.ndarray]]] = {}
    for name, rates in zip(arrays["rate_layers"], arrays["rates"], strict=True):
        block, kind = layer_of(str(name))
        groups.setdefault(kind, []).append((block, rates))
    blocks = max((block or 1 for members in groups.values() for block, _ in members), default=1)
    columns = min(4, len(groups))
    rows = math.ceil(len(groups) / columns)
    figure = Figure(figsize=(1.75 * columns + 0.9, 1.65 * rows + 0.8))
    panels, shown = grid(figure, len(groups), columns, sharex=True, sharey=True)
    shades = mpl.colormaps["viridis"](np.linspace(0, 0.9, blocks))
    lines = {}
    for panel, (kind, members) in zip(shown, groups.items(), strict=True):
        for block, rates in members:
            colour = "0.4" if block is None else shades[block - 1]
            steps = range(1, len(rates) + 1)
            (lines[block],) = panel.plot(steps, rates, ".-", color=colour, markersize=4)
        panel.set_title(kind)
        panel.set_xticks(steps)
        panel.tick_params(labelbottom=True)
    panels[0][0].set_ylim(bottom=0)
    figure.supxlabel("time step", fontsize=8)
    figure.supylabel("spikes per neuron and token", fontsize=8)
    known = sorted(block for block in lines if block is not None)
    figure.legend(
        [lines[block] for block in known],
        [f"block {block}" for block in known],
        loc="outside right center",
    )
    sample = f"{int(arrays['rate_sentences']):,} {arrays['split']} sentences"
    figure.suptitle(
        f"{run_title(str(arrays['model']), notes)}: spike rates of {sample} of {arrays['dataset']}",
        fontsize=8,
    )
    return figure


def raster_figure(arrays: Arrays, number: int = 0, notes: Notes | None = None) -> Figure:
    """Spikes of one sentence in the last block: a panel for each layer, a row for each neuron, and
    for each token its time steps from left to right."""
    raster = np.asarray(arrays[f"raster_{number}"])  # [layers, T, N, neurons]
    tokens = [str(token) for token in arrays[f"tokens_{number}"]]
    layers, steps, count, neurons = raster.shape
    figure = Figure(figsize=(max(4.5, 0.29 * count + 1.2), 0.85 * layers + 1.3))
    panels = figure.subplots(layers, 1, sharex=True, squeeze=False).ravel()
    blocks = set()
    for panel, name, spikes in zip(panels, arrays[f"raster_layers_{number}"], raster, strict=True):
        block, kind = layer_of(str(name))
        blocks.add(block)
        image = spikes.transpose(2, 1, 0).reshape(neurons, count * steps)
        panel.imshow(image, cmap="gray_r", aspect="auto", interpolation="nearest", vmin=0, vmax=1)
        for place in range(1, count):
            panel.axvline(place * steps - 0.5, color="0.8", linewidth=0.4)
        panel.set_title(f"{kind}, {100 * spikes.mean():.1f} % spike", loc="left", pad=2)
        panel.set_yticks([])
        panel.tick_params(length=0)
    centres = [steps * (place + 0.5) - 0.5 for place in range(count)]
    panels[-1].set_xticks(centres, tokens, rotation=90, fontsize=7)
    figure.supylabel(f"first {neurons} neurons of each layer", fontsize=8)
    which = ", ".join(str(block) for block in blocks if block is not None)
    figure.suptitle(
        f"{run_title(str(arrays['model']), notes)}\nspikes of block {which}, "
        f"{steps} steps for each token",
        fontsize=8,
    )
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
        image = panel.imshow(values, cmap="cividis", vmin=0, vmax=1)
        if written:
            write_in_cells(panel, values, ".2f", shades=values, size=6)
        for i, j in arrays["pairs"]:
            corner = (j - 1.46, i - 1.46)
            panel.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, color=FRAME, lw=1.2))
        words = "\n(teacher's embeddings)" if name == "before" and "random" in shown else ""
        panel.set_title(STUDENTS[name] + words)
        panel.set_xticks(range(layers), range(1, layers + 1))
        panel.set_yticks(range(blocks), range(1, blocks + 1))
        panel.tick_params(length=0)
        panel.set_xlabel("layer of the teacher")
    panels[0].set_ylabel("block of the student")
    figure.colorbar(image, ax=list(panels), label="linear CKA")
    name = str(arrays["student"])
    figure.suptitle(
        f"student of stage 1 {name}, seed {int(arrays['seed'])}, and teacher {arrays['teacher']}: "
        f"{int(arrays['rows']):,} tokens of {int(arrays['sentences'])} unlabelled sentences",
        fontsize=8,
    )
    return figure


def write_attention(arrays: Arrays, out: Path, block: int | None = None) -> None:
    """Draw the map of one sentence into `out`, an SVG, and the PNG beside it."""
    with mpl.rc_context(IMAGE_STYLE):
        save(attention_figure(arrays, 0, block), out)


def write_probes(run: Published, out: Path) -> None:
    """Draw attention_a, attention_b (the sentences of the paper's figure 4), spike_rates, raster
    and cka into the folder `out`."""
    arrays = read_arrays(run.file("probe"), "attention_0", "attention_1", "rates")
    similar = read_arrays(run.file("cka"), "before", "after", "pairs")
    with mpl.rc_context(IMAGE_STYLE):
        for number, letter in enumerate("ab"):
            save(attention_figure(arrays, number, notes=run.notes), out / f"attention_{letter}")
        save(raster_figure(arrays, notes=run.notes), out / "raster")
        save(cka_figure(similar), out / "cka")
    with mpl.rc_context(TEXT_STYLE):
        save(rates_figure(arrays, run.notes), out / "spike_rates")
