"""The student beside compressed BERTs: accuracy, size and energy. Nothing here imports torch.

A model without runs, on a set or at all, has a row that says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..config.schema import BASE, COMPRESSED
from ..records.energy import DENSE, EnergyRecord, read_energy
from ..records.metrics import summarise
from ..records.records import Record, read_accuracies
from .evidence import write_sheet
from .tables import ANALOGUE_NOTE, group

COLUMNS = (
    "dataset",
    "model",
    "what",
    "seeds",
    "mean",
    "sd",
    "ci_low",
    "ci_high",
    "parameters",
    "length",
    "macs",
    "sops",
    "energy_pj",
    "energy_strict_pj",
    "note",
)
MODELS = ("teacher", *COMPRESSED, "spikebert")
PERCENT = ("mean", "sd", "ci_low", "ci_high")
COUNTS = ("seeds", "parameters", "length")
AMOUNTS = ("macs", "sops", "energy_pj", "energy_strict_pj")
FORMATS = dict.fromkeys(PERCENT, ".2f") | dict.fromkeys(COUNTS, "d") | dict.fromkeys(AMOUNTS, ".4g")
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
    """A row for each set and each of `MODELS`, with the columns `COLUMNS`.

    `notes` has, in the order of the table, "datasets", name -> {"analogue"}, and "models", name ->
    {"description", "reason"?}. Without a set each model has one row.
    """
    groups = group(records, notes["datasets"])
    measured = {(e.dataset, e.model): e for e in energies if e.variant == BASE}
    rows = []
    for dataset, about in (notes["datasets"] or {"": {}}).items():
        for model in MODELS:
            known = notes["models"].get(model, {})
            row: dict[str, Any] = {
                "dataset": dataset,
                "model": model,
                "what": known.get("description", STUDENT if model == "spikebert" else model),
                "seeds": 0,
            }
            words = ["a stand-in"] if about.get("analogue") else []
            if members := groups.get((dataset, model, BASE), []):
                found = summarise([100 * record.score for record in members])
                row |= {name: getattr(found, name) for name in PERCENT}
                row |= {"seeds": found.count, "parameters": members[0].parameters}
                energy = measured.get((dataset, model))
                cells = _energy(energy) if energy else {}
                row |= cells
                words += [] if cells else ["energy not measured"]
            else:
                words = [known.get("reason", "no runs on this set" if dataset else "no set")]
            rows.append({**row, "note": "; ".join(words)})
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    kinds = dict.fromkeys((*PERCENT, *AMOUNTS), float) | dict.fromkeys(COUNTS, "Int64")
    return frame.astype(kinds)


def _energy(record: EnergyRecord) -> dict[str, Any]:
    """What one sentence of the fixed length costs; nothing where none was accounted for."""
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


def write_compressed(
    records: Iterable[str | Path],
    energies: Iterable[str | Path],
    out: str | Path,
    notes: Mapping[str, Any],
) -> None:
    """Read records of runs and of energy and write compressed.{csv,md,tex} into `out`."""
    measured = [read_energy(path) for path in sorted(map(str, energies))]
    table = compressed_table(read_accuracies(records), measured, notes)
    analogue = any(about.get("analogue") for about in notes["datasets"].values())
    write_sheet(
        table,
        Path(out) / "compressed",
        formats=FORMATS,
        paper=None,
        wide=("what", "note"),
        notes=[*NOTES, *([f"A{ANALOGUE_NOTE[1:]}."] if analogue else [])],
    )
