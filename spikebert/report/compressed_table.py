"""The student beside compressed BERTs: accuracy, size and energy.

A model without runs, on a set or at all, has a row that says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..config.registry import BASE, COMPRESSED
from ..records.energy import DENSE, EnergyRecord
from ..records.records import Record
from .published import Published, group, is_proxy, proxies, summary_cells
from .render import COUNT, PERCENT, PROXY_NOTE, TEXT, WIDE, Table, frame

COLUMNS = {
    **dict.fromkeys(("dataset", "model"), TEXT),
    "what": WIDE,
    "seeds": COUNT,
    **dict.fromkeys(("mean", "sd", "ci_low", "ci_high"), PERCENT),
    **dict.fromkeys(("parameters", "length"), COUNT),
    **dict.fromkeys(("macs", "sops", "energy_pj", "energy_strict_pj"), ".4g"),
    "note": WIDE,
}
COMPARED = ("teacher", *COMPRESSED, "spikebert")
STUDENT = "the student of both stages"
NOTES = (
    "mean, sd, ci: test accuracy over seeds, in percent (ci: 95 % interval of the mean, Student's "
    "t, empty with one seed). parameters: all of the model, embeddings included.",
    "macs, sops, energy_pj: of one sentence of so many tokens (length) in the run of the lowest "
    "seed, the student under the paper's convention, which charges every layer fed by spikes or "
    "their counts as SOPs; energy_strict_pj charges its layers fed by counts as MACs. The others "
    "are dense: MACs alone. The table of energy says more.",
    "The paper compares with TinyBERT and DistilBERT in an appendix; its numbers are not known "
    "here.",
)


def compressed_table(
    records: Iterable[Record], energies: Iterable[EnergyRecord], notes: Mapping[str, Any]
) -> pd.DataFrame:
    """A row for each set and each of `COMPARED`, with the columns `COLUMNS`.

    `notes` has, in the order of the table, "datasets", name -> {"analogue"}, and "models", name ->
    {"description", "reason"?}. Without a set each model has one row.
    """
    groups = group(records, notes["datasets"])
    measured = {(e.dataset, e.model): e for e in energies if e.variant == BASE}
    rows = []
    for dataset in notes["datasets"] or {"": {}}:
        for model in COMPARED:
            known = notes["models"].get(model, {})
            row: dict[str, Any] = {
                "dataset": dataset,
                "model": model,
                "what": known.get("description", STUDENT if model == "spikebert" else model),
                "seeds": 0,
            }
            words = ["a stand-in"] if is_proxy(notes["datasets"], dataset) else []
            if members := groups.get((dataset, model, BASE), []):
                energy = _energy(measured.get((dataset, model)))
                row |= {**summary_cells(members), "parameters": members[0].parameters, **energy}
                words += [] if energy else ["energy not measured"]
            else:
                words = [known.get("reason", "no runs on this set" if dataset else "no set")]
            rows.append({**row, "note": "; ".join(words)})
    return frame(rows, COLUMNS)


def _energy(record: EnergyRecord | None) -> dict[str, Any]:
    """What one sentence of the fixed length costs; nothing where none was accounted for."""
    if record is None:
        return {}
    accounts = record.accounts
    usual = accounts.get("paper") or accounts[DENSE]
    strict = accounts.get("strict") or accounts[DENSE]
    if usual.fixed is None or strict.fixed is None:
        return {}
    amounts = {
        "macs": usual.fixed.macs,
        "sops": usual.fixed.sops,
        "energy_pj": usual.fixed.energy_pj,
        "energy_strict_pj": strict.fixed.energy_pj,
    }
    cells = {name: float(f"{value:.6g}") for name, value in amounts.items()}
    return {"length": record.fixed_length, **cells}


def write_compressed(run: Published, out: Path) -> None:
    """Write compressed.csv, .md and .tex into the folder `out`."""
    table = compressed_table(run.read_accuracies(), run.read_energies(), run.compression)
    proxy = proxies(run.compression["datasets"])
    notes = [*NOTES, *([f"A{PROXY_NOTE[1:]}."] if proxy else [])]
    Table(table, COLUMNS, notes).write(out / "compressed")
