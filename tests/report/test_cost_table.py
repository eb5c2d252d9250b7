"""What training cost, by hand, from made-up records."""

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
from sample_records import make_record

from spikebert.records.energy import EnergyRecord, LayerEnergy
from spikebert.records.records import write_record
from spikebert.report.published import Published
from spikebert.report.training_cost_table import cost_table, write_training_cost

MODEL = {"model": {"timesteps": 4}}
STAGE1 = {"steps": 100, "tokens": 5000, "wall_s": 50.0, "samples": 3200}


def energy(dataset: str, model: str, *macs: float, tokens: float = 10.0) -> EnergyRecord:
    layers = [LayerEnergy(f"l{i}", "real", 1, [1], 1, m, None) for i, m in enumerate(macs)]
    return EnergyRecord(
        f"{dataset}.{model}.base.s1", dataset, "", model, "base", 1, "test", 5, 1, 128,
        tokens, tokens, tokens, tokens, 9, layers, {},
    )  # fmt: skip


def records():
    def student(model, seed, variant="base", settings=MODEL, **changes):
        first = {"stage1": STAGE1} if model == "spikebert" else {}
        chosen = settings | ({"stage1": {"epochs": 1}} if first else {})
        upstream = {"teacher": "mr.teacher.base.s1", **first}
        return make_record(
            "mr", model, seed, 0.8, variant, settings=chosen, upstream=upstream, **changes
        )

    return [
        make_record("mr", "tfidf", 1, 0.7, steps=0, tokens=0, hardware="A"),
        make_record("mr", "teacher", 1, 0.9, tokens=1000, hardware="A", wall_s=10.0),
        make_record("mr", "teacher", 2, 0.9, tokens=3000, hardware="B", wall_s=30.0),
        make_record("mr", "direct", 1, 0.7, settings=MODEL, tokens=400),
        student("stage2_only", 1, tokens=600),
        student("spikebert", 1, tokens=700, peak_rss_bytes=2**30),
        student("spikebert", 2, tokens=700, peak_rss_bytes=2**31),
        student("spikebert", 1, "t1", {"model": {"timesteps": 1}}, tokens=700),
    ]


def rows_of(table: pd.DataFrame) -> dict[tuple[str, str], pd.Series]:
    return {(row["model"], row["variant"]): row for _, row in table.iterrows()}


def test_costs_by_hand() -> None:
    energies = [energy("mr", "teacher", 60, 40), energy("mr", "direct", 20)]
    rows = rows_of(cost_table(records(), energies, ["mr"]))
    teacher = rows["teacher", "base"]
    assert (teacher["seeds"], teacher["tokens"], teacher["wall_s"]) == (2, 2000, 20)
    assert teacher["hardware"] == "A; B"
    assert teacher["training_macs"] == 3 * 10 * 2000  # 100 MACs in 10 tokens
    assert pd.isna(teacher["teacher_macs"])
    assert rows["direct", "base"]["training_macs"] == 3 * 2 * 400
    # Never measured itself, but of the shape of `direct`.
    alone = rows["stage2_only", "base"]
    assert (alone["training_macs"], alone["teacher_macs"]) == (3 * 2 * 600, 10 * 600)
    assert rows["spikebert", "base"]["peak_gib"] == 2


def test_stage1_stands_once_for_the_runs_that_share_it() -> None:
    energies = [energy("mr", "teacher", 100), energy("mr", "direct", 20)]
    table = cost_table(records(), energies)
    first = table[table["model"] == "stage 1"]
    assert list(first["variant"]) == ["base", "t1"]  # two students, three runs
    base = first.iloc[0]
    assert (base["dataset"], base["updates"], base["samples_per_s"]) == ("mr", 100, 64)
    assert (base["training_macs"], base["teacher_macs"]) == (3 * 2 * 5000, 10 * 5000)


def test_what_was_not_counted_is_empty() -> None:
    rows = rows_of(cost_table(records(), [energy("mr", "direct", 20)]))
    assert pd.isna(rows["tfidf", "base"]["updates"])
    assert pd.isna(rows["tfidf", "base"]["training_macs"])
    assert pd.isna(rows["spikebert", "t1"]["training_macs"])  # another shape
    assert pd.isna(rows["spikebert", "base"]["teacher_macs"])


@pytest.mark.parametrize("stand_in", [True, False])
def test_files_mark_stand_ins_and_align_numbers(tmp_path: Path, stand_in: bool) -> None:
    paths = []
    for record in records():
        paths.append(tmp_path / f"{record.id}.json")
        write_record(paths[-1], record)
    measured = tmp_path / "energy.json"
    measured.write_text(json.dumps(dataclasses.asdict(energy("mr", "teacher", 100))))
    notes = {"mr": {"analogue": stand_in}}
    write_training_cost(Published(paths, energies=[measured], notes=notes), tmp_path)
    markdown = (tmp_path / "training_cost.md").read_text("utf-8")
    assert (r"mr\*" in markdown) == stand_in
    assert ("a stand-in" in markdown) == stand_in
    assert "Kaplan et al., 2020" in markdown
    latex = (tmp_path / "training_cost.tex").read_text("utf-8")
    assert r"\begin{tabular}{lllrrrrrrrrp{4cm}}" in latex
    assert r"training\_macs" in latex
    table = pd.read_csv(tmp_path / "training_cost.csv")
    assert list(table["model"][:3]) == ["stage 1", "stage 1", "tfidf"]
