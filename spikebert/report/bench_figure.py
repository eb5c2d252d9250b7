"""The time of an update against the sizes that it depends on, from the benchmark."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from .published import Published
from .style import PANEL_WIDTH, STYLE, colour_of, plain_ticks, save

AXIS_NAMES = {
    "timesteps": "time steps T",
    "tokens": "tokens N",
    "hidden_size": "width D",
    "batch_size": "sentences B",
}


def bench_figure(found: Mapping[str, Any]) -> Figure:
    """The time of an update against T, N, D and B, one varied at a time, with the fitted powers.

    `found` is the JSON of `spikebert bench`.
    """
    figure = Figure(figsize=(PANEL_WIDTH * 4 * 0.8, PANEL_WIDTH * 0.9))
    panels = figure.subplots(1, len(found["scaling"]), sharey=True, squeeze=False).ravel()
    for panel, (axis, measured) in zip(panels, found["scaling"].items(), strict=True):
        x, y = measured["values"], [1e3 * second for second in measured["s"]]
        power = measured["exponent"]
        logs = [math.log(b) - power * math.log(a) for a, b in zip(x, y, strict=True)]
        level = math.exp(sum(logs) / len(logs))
        panel.plot(x, [level * a**power for a in x], color="0.6", linestyle="--")
        panel.plot(x, y, "o", color=colour_of("spikebert"), markersize=4)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xticks(x, [str(a) for a in x])
        panel.minorticks_off()
        name = AXIS_NAMES.get(axis, axis)
        panel.set_xlabel(name)
        panel.set_title(f"time ~ {name[-1]}^{power:.2f}")
    panels[0].set_ylabel("one update (ms)")
    plain_ticks(panels[0])
    return figure


def write_bench(run: Published, out: Path) -> None:
    """Draw bench.svg and bench.png into the folder `out` from the JSON of the benchmark."""
    found = json.loads(run.file("bench").read_text(encoding="utf-8"))
    with mpl.rc_context(STYLE):
        save(bench_figure(found), out / "bench")
