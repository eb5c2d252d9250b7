"""Compressed BERTs: fetched from a folder, fine-tuned, measured, and their table."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from sample_records import make_record
from test_scores import corpus as pair_corpus
from toy import QUICK, outputs, run, sentences, write_rows
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from spikebert.analysis.energy import count_macs
from spikebert.analysis.inspection import measure_folder
from spikebert.analysis.predict import load
from spikebert.config.settings import FineTuneSettings
from spikebert.data.teachers import fetch_model
from spikebert.errors import UserError
from spikebert.records.energy import read_energy
from spikebert.records.records import write_record
from spikebert.report.compressed_table import COLUMNS, compressed_table, write_compressed
from spikebert.report.published import Published
from spikebert.training.steps.direct import finetune
from spikebert.training.steps.pretrain import train_tokenizer
from spikebert.training.tokenization import load_tokenizer
from spikebert.utils.files import write_json

WIDTH, LAYERS, HIDDEN = 16, 2, 64
SETTINGS = FineTuneSettings(epochs=1, evaluations=1, **QUICK)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny DistilBERT and a tiny BERT in folders as they are published, and a corpus."""
    root = tmp_path_factory.mktemp("compressed")
    tokenizer = train_tokenizer((row["text"] for row in sentences(48, 9)), 120)
    size = len(tokenizer)
    torch.manual_seed(0)
    distil = DistilBertConfig(
        vocab_size=size, dim=WIDTH, n_layers=LAYERS, n_heads=2, hidden_dim=HIDDEN
    )
    bert = BertConfig(
        vocab_size=size, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=2,
        intermediate_size=HIDDEN,
    )  # fmt: skip
    for name, model in (("distilbert", DistilBertModel(distil)), ("tinybert", BertModel(bert))):
        model.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    for seed, (split, count) in enumerate({"train": 32, "dev": 16, "test": 16}.items(), 1):
        write_rows(root / "corpus" / f"{split}.jsonl", sentences(count, seed))
    write_json(root / "corpus" / "stats.json", {"labels": ["negative", "positive"]})
    pair_corpus(root, "paired", score=False)
    return root


def spec(work: Path, name: str) -> dict[str, str]:
    return {"source": "folder", "path": str(work / name)}


def test_distilbert_is_a_compressed_model_and_no_teacher(work: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model_type bert in[\s\S]*got:      distilbert"):
        fetch_model(spec(work, "distilbert"), tmp_path, tmp_path / "out")
    fetch_model(spec(work, "distilbert"), tmp_path, tmp_path / "out", ("bert", "distilbert"))
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["distilbert", "tinybert"])
@pytest.mark.parametrize("corpus", ["corpus", "paired"])
def test_a_compressed_model_is_fine_tuned_and_measured(
    work: Path, tmp_path: Path, name: str, corpus: str
) -> None:
    out = outputs(tmp_path, f"toy.{name}.base.s1")
    record = finetune(SETTINGS, work / corpus, work / name, run(name), out)
    assert record.model == name
    found = measure_folder(out.out, work / corpus, length=32, limit=4)
    fixed = found.accounts["dense"].fixed
    assert fixed is not None
    # By hand, 32 tokens: four products and two of the MLP a layer, attention, and the head.
    per_token = LAYERS * (4 * WIDTH**2 + 2 * WIDTH * HIDDEN)
    attention = LAYERS * 2 * 32**2 * WIDTH
    assert fixed.macs == 32 * per_token + attention + WIDTH**2 + 2 * WIDTH
    assert fixed.energy_pj == pytest.approx(4.6 * fixed.macs)


def test_torch_counts_the_same_products(work: Path, tmp_path: Path) -> None:
    out = outputs(tmp_path, "model")
    finetune(SETTINGS, work / "corpus", work / "distilbert", run("distilbert"), out)
    model, _ = load(out.out)
    ids = load_tokenizer(out.out)("a warm and funny film", return_tensors="pt")["input_ids"]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    layers = count_macs(model, inputs)  # it refuses products that no rule explains
    assert sum(".product." in name for name in layers) == 2 * LAYERS


# The table

NOTES = {
    "datasets": {"mr": {"analogue": True}, "sst2": {"analogue": False}},
    "models": {
        "teacher": {"description": "MiniLM, itself a compressed BERT"},
        "distilbert": {"description": "DistilBERT", "reason": "no runs on this set"},
        "tinybert": {"description": "tinybert", "reason": "no offline source"},
        "spikebert": {"description": "spiking student"},
    },
}
RECORDS = [
    make_record("mr", "teacher", 1, 0.84, parameters=22),
    make_record("mr", "distilbert", 1, 0.82),
    make_record("mr", "distilbert", 2, 0.80),
    make_record("mr", "spikebert", 1, 0.77, parameters=4),
    make_record("mr", "spikebert", 1, 0.99, "beta-0.8"),
]
PUBLISHED = Path(__file__).parents[2] / "results/small/energy"


def row(table: pd.DataFrame, dataset: str, model: str) -> pd.Series:
    return table.set_index(["dataset", "model"]).loc[(dataset, model)]


def test_every_model_has_a_row_for_every_set() -> None:
    table = compressed_table(RECORDS, [], NOTES)
    assert tuple(table.columns) == tuple(COLUMNS)
    models = ["teacher", "distilbert", "tinybert", "spikebert"]
    assert table[["dataset", "model"]].values.tolist() == [
        [dataset, model] for dataset in ("mr", "sst2") for model in models
    ]
    cells = row(table, "mr", "distilbert")
    assert (cells["mean"], cells["seeds"]) == (pytest.approx(81), 2)
    assert cells["note"] == "a stand-in; energy not measured"
    assert row(table, "mr", "spikebert")["mean"] == 77  # base runs alone
    assert row(table, "mr", "teacher")["what"] == "MiniLM, itself a compressed BERT"
    assert row(table, "mr", "tinybert")["note"] == "no offline source"
    assert row(table, "sst2", "distilbert")["note"] == "no runs on this set"


def test_energy_is_that_of_the_records() -> None:
    energies = [read_energy(path) for path in PUBLISHED.glob("mr.*.json")]
    table = compressed_table(RECORDS, energies, NOTES)
    teacher, student = (row(table, "mr", model) for model in ("teacher", "spikebert"))
    assert teacher["length"] == student["length"] == 128
    assert teacher["energy_pj"] == pytest.approx(4.6 * teacher["macs"], rel=1e-5)
    assert teacher["sops"] == 0
    by_hand = 4.6 * student["macs"] + 0.9 * student["sops"]
    assert student["energy_pj"] == pytest.approx(by_hand, rel=1e-5)
    assert student["energy_strict_pj"] > student["energy_pj"]


def test_a_run_without_sets_has_a_row_for_each_model() -> None:
    table = compressed_table([], [], {**NOTES, "datasets": {}})
    assert list(table["model"]) == ["teacher", "distilbert", "tinybert", "spikebert"]
    assert table["mean"].isna().all()


def test_three_formats_are_written(tmp_path: Path) -> None:
    paths = [tmp_path / f"{record.id}.json" for record in RECORDS]
    for path, record in zip(paths, RECORDS, strict=True):
        write_record(path, record)
    energies = sorted(PUBLISHED.glob("mr.*.json"))
    write_compressed(Published(paths, energies=energies, compression=NOTES), tmp_path)
    assert len(pd.read_csv(tmp_path / "compressed.csv")) == 8
    assert "stand-in" in (tmp_path / "compressed.md").read_text("utf-8")
    assert r"\begin{tabular}" in (tmp_path / "compressed.tex").read_text("utf-8")
