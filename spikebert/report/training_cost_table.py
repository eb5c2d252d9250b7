"""What training cost, from records of runs and of energy. `NOTES` say how MACs are counted (Kaplan
et al., 2020, arXiv 2001.08361, section 2.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from ..config.registry import BASE
from ..config.settings import digest
from ..models.flops import UPDATE
from ..records.energy import EnergyRecord
from ..records.records import Record
from .published import Key, Published, group, proxies
from .render import COUNT, TEXT, WIDE, Table, frame

COLUMNS = {
    **dict.fromkeys(("dataset", "model", "variant"), TEXT),
    "seeds": COUNT,
    **dict.fromkeys(("updates", "tokens"), ",d"),
    **dict.fromkeys(("wall_s", "samples_per_s"), ",.0f"),
    "peak_gib": ".1f",
    **dict.fromkeys(("training_macs", "teacher_macs"), ".3g"),
    "hardware": WIDE,
}
STAGE1 = "stage 1"
NOTES = (
    "One training run; medians over seeds, peak_gib (memory of the process, GiB) the largest. "
    "updates, tokens (padding left out, every pass counted), wall_s (seconds, with the evaluations "
    "on dev) and samples_per_s are of the step that ends in this model: fine-tuning for the "
    "teacher, stage 2 for the distilled students.",
    "stage 1: once for all runs that share its student, and in no other row. Its record names "
    "neither memory nor processor.",
    "training_macs: 3 x MACs a token of the model's forward pass x tokens, one part forward and "
    "two backward (Kaplan et al., 2020), over all time steps and as if spikes were dense; "
    "evaluations are left out. teacher_macs: MACs of the teacher's forward pass on the same "
    "tokens; a kept answer saves them. MACs a token are means over the test sentences, where the "
    "energy of a model of this shape was counted; stage 1 takes those of the first set it serves.",
)
PROXY_NOTE = "a stand-in, not the set of the paper"


class Forward:
    """MACs a token of a forward pass, by set and model, from records of energy."""

    def __init__(self, energies: Iterable[EnergyRecord], records: Iterable[Record]) -> None:
        known = {record.id: record for record in records}
        self.models: dict[tuple[str, str, str], float] = {}
        self.shapes: dict[tuple[str, str], float] = {}
        for energy in energies:
            per_token = sum(layer.macs_real for layer in energy.layers) / energy.tokens_mean
            self.models[energy.dataset, energy.model, energy.variant] = per_token
            if energy.id in known and "model" in known[energy.id].settings:
                shape = digest(known[energy.id].settings["model"])
                self.shapes.setdefault((energy.dataset, shape), per_token)

    def of(self, record: Record) -> float | None:
        """Of a run: measured for its model, or for one of the same settings on the same set."""
        own = self.models.get((record.dataset, record.model, record.variant))
        if own is None and "model" in record.settings:
            return self.shapes.get((record.dataset, digest(record.settings["model"])))
        return own

    def of_teacher(self, record: Record) -> float | None:
        """Of the fine-tuned teacher of a distilled run; None for other runs."""
        if not record.upstream.get("teacher"):
            return None
        return self.models.get((record.dataset, "teacher", BASE))


def cost_table(
    records: Iterable[Record], energies: Iterable[EnergyRecord], datasets: Iterable[str] = ()
) -> pd.DataFrame:
    """One row for each set, model and variant, and before them one for each student of stage 1,
    with the columns `COLUMNS`; sets come in the order given."""
    records = list(records)
    groups = group(records, datasets)
    forward = Forward(energies, records)
    rows = [*_stage1_rows(groups, forward), *(_row(*item, forward) for item in groups.items())]
    return frame(rows, COLUMNS)


def _row(key: Key, members: Sequence[Record], forward: Forward) -> dict[str, Any]:
    def middle(name: str) -> float:
        return median(getattr(record, name) for record in members)

    first, tokens = members[0], middle("tokens")
    return {
        **dict(zip(("dataset", "model", "variant"), key, strict=True)),
        "seeds": len(members),
        "updates": round(middle("steps")) or None,  # TF-IDF makes none
        "tokens": round(tokens) or None,
        "wall_s": middle("wall_s"),
        "samples_per_s": middle("samples_per_s"),
        "peak_gib": max(record.peak_rss_bytes for record in members) / 2**30,
        "hardware": "; ".join(dict.fromkeys(record.hardware for record in members)),
        **_macs(tokens, forward.of(first), forward.of_teacher(first)),
    }


def _macs(tokens: float, own: float | None, teacher: float | None) -> dict[str, float | None]:
    return {
        "training_macs": UPDATE * own * tokens if own and tokens else None,
        "teacher_macs": teacher * tokens if teacher and tokens else None,
    }


def _stage1_rows(
    groups: Mapping[Key, Sequence[Record]], forward: Forward
) -> Iterable[dict[str, Any]]:
    """One row for each student of stage 1: runs share one where settings and cost are the same."""
    shared: dict[str, list[Record]] = {}
    for members in groups.values():
        for record in members:
            cost = record.upstream.get("stage1")
            if cost:
                settings = [record.settings.get(name) for name in ("model", "stage1")]
                shared.setdefault(digest([cost, *settings]), []).append(record)
    for users in shared.values():
        cost = users[0].upstream["stage1"]
        variants = dict.fromkeys(record.variant for record in users)
        yield {
            "dataset": ", ".join(dict.fromkeys(record.dataset for record in users)),
            "model": STAGE1,
            "variant": BASE if BASE in variants else ", ".join(variants),
            "seeds": 1,
            "updates": cost["steps"],
            "tokens": cost["tokens"],
            "wall_s": cost["wall_s"],
            "samples_per_s": cost["samples"] / cost["wall_s"] if cost["wall_s"] else None,
            "hardware": "",
            **_macs(cost["tokens"], forward.of(users[0]), forward.of_teacher(users[0])),
        }


def write_training_cost(run: Published, out: Path) -> None:
    """Write training_cost.csv, .md and .tex into the folder `out`."""
    table = cost_table(run.read(), run.read_energies(), run.notes)
    whole = Table(table, COLUMNS, NOTES, proxies(run.notes), PROXY_NOTE, significant=6)
    whole.write(out / "training_cost")
