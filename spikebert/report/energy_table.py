"""The energy table from records of energy, as CSV, Markdown and LaTeX. Nothing here imports torch.

Numbers are per sample, four digits in all formats but CSV. A cell without a value stays empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..config.schema import BASE, MODELS
from ..errors import UserError
from ..records.energy import CONVENTIONS, DENSE, EnergyRecord, matching_length, read_energy
from ..records.paper import paper_energy
from ..utils.files import write_text
from .tables import RECALLED_NOTE, latex, markdown

COLUMNS = (
    "dataset",
    "model",
    "convention",
    "length",
    "macs",
    "sops",
    "spike_rate",
    "energy_pj",
    "share_of_bert",
    "paper",
)
NUMBERS = ("macs", "sops", "spike_rate", "energy_pj", "share_of_bert", "paper")
PAPER_BERT_FLOPS = 22.46e9  # of BERT on ChnSenti, as the paper prints it

NOTES = (
    "Per sample. A MAC is one multiplication and one addition of dense values, 4.6 pJ; a SOP is "
    "one accumulate, 0.9 pJ (45 nm, Horowitz, ISSCC 2014): energy_pj = 4.6 macs + 0.9 sops. SOPs "
    "of a layer = T x firing rate of its input x MACs of one step. spike_rate: share of inputs "
    "that are not zero in the layers charged as SOPs, weighted by MACs. Only linear layers, "
    "convolutions and the products of attention are counted.",
    "paper: every layer fed by spikes or counts of spikes is charged as SOPs, layers fed by real "
    "numbers as MACs. strict: a layer whose input is not binary is charged as MACs, at every step. "
    "unary: as paper, but an input of k is k accumulates. dense: a network without spikes, MACs "
    "alone. An input that is the same at all T steps is counted T times.",
    "length real: mean over the test sentences that were run, at their own lengths (cut as the "
    "model's rows are), without padding. A number: one sentence of so many tokens, all counted, at "
    "the rates of the real ones.",
    "share_of_bert: energy over that of the fine-tuned BERT of the same set at the same length, "
    "which may be larger than the student. paper (column): the paper's energy in pJ, of its 12 x "
    "768 models, beside the fixed length, since its own is not stated: BERT's 22.46 GFLOPs there "
    "are {flop:.1f} tokens if a MAC is two FLOPs, {mac:.1f} if it is one.",
)
ANALOGUE_NOTE = "a stand-in, not the set of the paper: its lengths and spikes are others"


def energy_table(records: Iterable[EnergyRecord], datasets: Iterable[str] = ()) -> pd.DataFrame:
    """Rows for each set, model, convention and length, with the columns `COLUMNS` and
    `paper_status`.

    Sets come in the order given, others after them. `model` bears the variant, unless it is base.

    Raises:
        UserError: two records of one model, or BERT and student that were measured on other rows.
    """
    by_key: dict[tuple[str, str, str], EnergyRecord] = {}
    for record in records:
        key = (record.dataset, record.model, record.variant)
        other = by_key.setdefault(key, record)
        if other is not record:
            raise UserError(
                f"energy of {'.'.join(key)}",
                expected="one record",
                got=f"{other.id} and {record.id}",
                fix="give one seed of each model",
            )
    order = {name: place for place, name in enumerate(datasets)}
    models = list(MODELS)

    def place(key: tuple[str, str, str]) -> tuple[Any, ...]:
        dataset, model, variant = key
        rank = models.index(model) if model in models else len(models)
        return (order.get(dataset, len(order)), dataset, rank, model, variant != BASE, variant)

    rows: list[dict[str, Any]] = []
    for key in sorted(by_key, key=place):
        rows += _rows(by_key[key], by_key.get((key[0], "teacher", BASE)))
    table = pd.DataFrame(rows, columns=[*COLUMNS, "paper_status"])
    table.attrs["samples"] = {key[0]: record.samples for key, record in by_key.items()}
    return table


def _rows(record: EnergyRecord, bert: EnergyRecord | None) -> list[dict[str, Any]]:
    dense = bert.accounts.get(DENSE) if bert else None
    if bert and (record.split, record.samples) != (bert.split, bert.samples):
        raise UserError(
            f"energy of {record.id}",
            expected=f"the rows of {bert.id}: {bert.samples} of {bert.split}",
            got=f"{record.samples} of {record.split}",
            fix="measure both on the same rows",
        )
    paper = paper_energy(record.model, record.variant, record.dataset)
    model = record.model if record.variant == BASE else f"{record.model} {record.variant}"
    same_length = bert is not None and bert.fixed_length == record.fixed_length
    fixed_dense = dense.fixed if dense and same_length else None
    rows = []
    for convention in (*CONVENTIONS, DENSE):
        if convention not in record.accounts:
            continue
        account = record.accounts[convention]
        for length, cost, base in (
            ("real", account.real, dense.real if dense else None),
            (str(record.fixed_length), account.fixed, fixed_dense),
        ):
            if cost is None:
                continue
            beside = paper if length != "real" and convention in ("paper", DENSE) else None
            rows.append(
                {
                    "dataset": record.dataset,
                    "model": model,
                    "convention": convention,
                    "length": length,
                    "macs": cost.macs,
                    "sops": cost.sops,
                    "spike_rate": cost.spike_rate,
                    "energy_pj": cost.energy_pj,
                    "share_of_bert": cost.energy_pj / base.energy_pj if base else None,
                    "paper": beside.millijoules * 1e9 if beside else None,
                    "paper_status": beside.status if beside else "",
                }
            )
    return rows


def _printed(table: pd.DataFrame, analogues: set[str], marks: tuple[str, str]) -> pd.DataFrame:
    """Cells as text, stand-ins and recalled values marked."""
    text = table.astype(object).copy()
    for name in NUMBERS:
        text[name] = ["" if pd.isna(v) else f"{v:.4g}" for v in table[name].astype(float)]
    text["dataset"] = [f"{d}{marks[0] if d in analogues else ''}" for d in table["dataset"]]
    text["paper"] += [marks[1] if s == "recalled" else "" for s in table["paper_status"]]
    return text[list(COLUMNS)]


def notes_of(table: pd.DataFrame, analogues: set[str], marks: tuple[str, str]) -> list[str]:
    """What has to be read with the table."""
    flop, mac = matching_length(PAPER_BERT_FLOPS / 2), matching_length(PAPER_BERT_FLOPS)
    lines = [line.format(flop=flop, mac=mac) for line in NOTES]
    if samples := table.attrs.get("samples"):
        counts = ", ".join(f"{dataset} {samples[dataset]}" for dataset in table["dataset"].unique())
        lines.append(f"Test sentences that were run: {counts}.")
    if analogues & set(table["dataset"]):
        lines.append(f"{marks[0]} {ANALOGUE_NOTE}.")
    if "recalled" in set(table["paper_status"]):
        lines.append(f"{marks[1]} {RECALLED_NOTE}.")
    return lines


def to_markdown(table: pd.DataFrame, analogues: set[str]) -> str:
    marks = (r"\*", "†")
    return markdown(_printed(table, analogues, marks), NUMBERS, notes_of(table, analogues, marks))


def to_latex(table: pd.DataFrame, analogues: set[str]) -> str:
    marks = ("*", "†")
    kinds = dict.fromkeys(NUMBERS, "r")
    return latex(_printed(table, analogues, marks), kinds, notes_of(table, analogues, marks))


def write_energy_tables(
    records: Iterable[str | Path], out: str | Path, notes: Mapping[str, Mapping[str, Any]]
) -> None:
    """Read records and write energy.csv, energy.md and energy.tex into the folder `out`.

    `notes` gives, for each set in the order of the table, whether it is an `analogue`.
    """
    table = energy_table([read_energy(path) for path in sorted(map(str, records))], notes)
    analogues = {name for name, note in notes.items() if note.get("analogue")}
    out = Path(out)
    csv = table.to_csv(index=False, lineterminator="\n", float_format="%.6g")
    write_text(out / "energy.csv", csv)
    write_text(out / "energy.md", to_markdown(table, analogues))
    write_text(out / "energy.tex", to_latex(table, analogues))
