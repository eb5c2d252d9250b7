"""The table of energy from records of energy. Numbers are per sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ..config.registry import BASE
from ..errors import UserError
from ..records.energy import DENSE, FULL, EnergyRecord, matching_length
from ..records.paper import PAPER_ENERGY, paper_value
from .published import Key, Notes, Published, in_order, proxies
from .render import TEXT, Table, frame

COLUMNS = {
    **dict.fromkeys(("dataset", "model", "convention", "length"), TEXT),
    **dict.fromkeys(("macs", "sops", "spike_rate", "energy_pj", "share_of_bert", "paper"), ".4g"),
}
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
FULL_NOTE = (
    "full: as paper or dense, and everything beside products once per use and step: biases, norms, "
    "neurons, scale and softmax of attention, activations, residuals, positions and means, at 3.7 "
    "pJ a multiplication and 0.9 pJ an addition (Horowitz); division, roots, exp, tanh and erf by "
    "the multiplications and additions that software computes them with (our count, "
    "records/energy.py). A network with a module that no rule explains has no such row."
)
PROXY_NOTE = "a stand-in, not the set of the paper: its lengths and spikes are others"


def energy_table(records: Iterable[EnergyRecord], datasets: Iterable[str] = ()) -> pd.DataFrame:
    """Rows for each set, model, convention and length, with the columns `COLUMNS` and
    `paper_status`; `attrs["samples"]` has the sentences that were run by set.

    Sets come in the order given, others after them. `model` bears the variant, unless it is base.

    Raises:
        UserError: two records of one model, or BERT and student that were measured on other rows.
    """
    by_key: dict[Key, EnergyRecord] = {}
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
    rows = (
        row
        for key in in_order(by_key, datasets)
        for row in _rows(by_key[key], by_key.get((key[0], "teacher", BASE)))
    )
    table = frame(rows, {**COLUMNS, "paper_status": TEXT})
    table.attrs["samples"] = {key[0]: record.samples for key, record in by_key.items()}
    return table


def _rows(record: EnergyRecord, bert: EnergyRecord | None) -> Iterator[dict[str, Any]]:
    if bert and (record.split, record.samples) != (bert.split, bert.samples):
        raise UserError(
            f"energy of {record.id}",
            expected=f"the rows of {bert.id}: {bert.samples} of {bert.split}",
            got=f"{record.samples} of {record.split}",
            fix="measure both on the same rows",
        )
    paper = paper_value(record.model, record.variant, record.dataset, PAPER_ENERGY)
    same_length = bert is not None and bert.fixed_length == record.fixed_length
    bases = bert.costs() if bert else {}
    for convention, (real, fixed) in record.costs().items():
        base_real, base_fixed = bases.get(FULL if convention == FULL else DENSE, (None, None))
        for length, cost, base in (
            ("real", real, base_real),
            (str(record.fixed_length), fixed, base_fixed if same_length else None),
        ):
            if cost is None:
                continue
            beside = paper if length != "real" and convention in ("paper", DENSE) else None
            yield {
                "dataset": record.dataset,
                "model": record.model + f" {record.variant}" * (record.variant != BASE),
                "convention": convention,
                "length": length,
                "macs": cost.macs,
                "sops": cost.sops,
                "spike_rate": cost.spike_rate,
                "energy_pj": cost.energy_pj,
                "share_of_bert": cost.energy_pj / base.energy_pj if base else None,
                "paper": beside.mean * 1e9 if beside else None,
                "paper_status": beside.status if beside else "",
            }


def rendered(values: pd.DataFrame, notes: Notes) -> Table:
    """The table of `energy_table`, ready to be written."""
    flop, mac = matching_length(PAPER_BERT_FLOPS / 2), matching_length(PAPER_BERT_FLOPS)
    lines = [line.format(flop=flop, mac=mac) for line in NOTES]
    if (values["convention"] == FULL).any():
        lines.insert(2, FULL_NOTE)
    if samples := values.attrs.get("samples"):
        counts = ", ".join(f"{name} {samples[name]}" for name in values["dataset"].unique())
        lines.append(f"Test sentences that were run: {counts}.")
    return Table(values, COLUMNS, lines, proxies(notes), PROXY_NOTE, significant=6)


def write_energy(run: Published, out: Path) -> None:
    """Write energy.csv, energy.md and energy.tex into the folder `out`."""
    rendered(energy_table(run.read_energies(), run.notes), run.notes).write(out / "energy")
