"""A trained folder made ready for the hub: what its card says, and that the model is the same."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from hub_server import TOKEN, serving
from hub_worker import run, worker
from huggingface_hub import ModelCard
from sample_records import make_record
from transformers import BertTokenizer

from spikebert.analysis.predict import load
from spikebert.errors import UserError
from spikebert.models.configuration import SpikeBertConfig
from spikebert.models.modeling import SpikeBertForSequenceClassification, SpikeBertModel
from spikebert.records.energy import Charge, ConventionEnergy, EnergyRecord, RealEnergy
from spikebert.records.records import write_record
from spikebert.report.publish import publish, token_of
from spikebert.utils.files import write_json

NAME = "mr.spikebert.base.s1"
LABELS = ["negative", "positive"]
SUM = "a" * 64
SHAPE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "timesteps": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / NAME
    words = tmp_path_factory.mktemp("words") / "vocab.txt"
    words.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "warm", "film"]))
    tokenizer = BertTokenizer(vocab=str(words))
    torch.manual_seed(0)
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {n: i for i, n in enumerate(LABELS)}}
    config = SpikeBertConfig(vocab_size=len(tokenizer), **SHAPE, **labels)
    SpikeBertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / ".snakemake_timestamp").touch()
    (folder / "optimizer.pt").write_bytes(b"left by somebody")
    return folder


def parameters(model: Path) -> int:
    return sum(p.numel() for p in load(model)[0].parameters())


def record_file(folder: Path, model: Path, seed: int, accuracy: float, **changes) -> Path:
    values = {"parameters": parameters(model), "settings": {"model": dict(SHAPE)}} | changes
    record = make_record("mr", "spikebert", seed, accuracy, **values)
    write_record(folder / f"{record.id}.json", record)
    return folder / f"{record.id}.json"


def corpus(folder: Path, **changes) -> Path:
    file = {"source": "hub", "repository": "owner/rows", "revision": "b" * 40, "hub_split": "train"}
    write_json(
        folder / "mr" / "stats.json",
        {
            "name": "mr",
            "language": "en",
            "description": "film snippets with ratings",
            "licence": "MIT",
            "labels": LABELS,
            "analogue": True,
            "files": [file | {"data_files": {"a.parquet": SUM}, "sha256": None}],
            "splits": {"train": {"rows": 800}, "dev": {"rows": 90}, "test": {"rows": 1060}},
        }
        | changes,
    )
    return folder / "mr"


def text(folder: Path) -> Path:
    file = {"source": "url", "repository": "o/r", "commit": "c" * 40, "path": "x", "sha256": SUM}
    about = {"language": "en", "description": "news", "licence": None, "rows": 12}
    write_json(folder / "en" / "stats.json", about | {"files": [file]})
    return folder / "en"


def energy_file(folder: Path, name: str = NAME) -> Path:
    real = RealEnergy(1000.0, 2e6, 0.25, 1804600.0, 1.0, 2.0, 3.0)
    account = ConventionEnergy(real, Charge(1000.0, 4e6, 0.25, 3604600.0))
    tokens = dict.fromkeys(("tokens_mean", "tokens_p5", "tokens_p50", "tokens_p95"), 20.0)
    record = EnergyRecord(
        id=name, dataset="mr", source="", model="spikebert", variant="base", seed=1, split="test",
        samples=5, timesteps=2, fixed_length=128, **tokens, parameters=1, layers=[],
        accounts={"paper": account, "strict": account},
    )  # fmt: skip
    write_json(folder / f"{name}.energy.json", dataclasses.asdict(record))
    return folder / f"{name}.energy.json"


def logits(folder: Path) -> torch.Tensor:
    model, tokenizer = load(folder)
    inputs = tokenizer(["warm film", "film"], padding=True, return_tensors="pt")
    del inputs["token_type_ids"]
    with torch.inference_mode():
        return model(**inputs).logits


def test_the_model_is_the_same_bit_for_bit(model, tmp_path):
    files = publish(model, tmp_path / "out")
    kept = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert files == ["README.md", *kept]
    for name in kept:
        assert (tmp_path / "out" / name).read_bytes() == (model / name).read_bytes()
    assert torch.equal(logits(model), logits(tmp_path / "out"))
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_what_the_card_says(model, tmp_path):
    records = [record_file(tmp_path, model, seed, a) for seed, a in ((1, 0.8), (2, 0.82))]
    data = [corpus(tmp_path), text(tmp_path)]
    out = tmp_path / "out"
    publish(model, out, records, [energy_file(tmp_path)], data, "owner/bert", "mit")
    card = ModelCard.load(out / "README.md")
    meta = card.data
    assert (meta.language, meta.license, meta.license_name) == (["en"], "mit", None)
    assert (meta.library_name, meta.pipeline_tag) == ("spikebert", "text-classification")
    assert (meta.base_model, meta.datasets, meta.metrics) == (
        "owner/bert", ["owner/rows"], ["accuracy"],
    )  # fmt: skip
    found = {result.metric_name: result.metric_value for result in meta.eval_results}
    assert found == {"test accuracy, seed 1": 0.8, "test accuracy, mean of 2 seeds": 0.81}
    assert {r.dataset_name for r in meta.eval_results} == {
        "rows of mr (a stand-in, not the published set)"
    }
    for words in (
        "import spikebert",
        "(seed 1): 80.00 % of 1060 test rows",
        "|  81.00 |",  # the mean over seeds
        "1.805 microjoules (paper); 1.805 microjoules (strict), mean of 5",
        "nothing was measured on hardware",
        "**This is a stand-in, not the published set.** Rows: train 800, dev 90, test 1060",
        f"`a.parquet` SHA-256 `{SUM}`",
        f"url o/r, at `{'c' * 40}`, `x`, SHA-256 `{SUM}`",
        "Licence: not stated",
        '"timesteps": 2',
        "1 blocks x 16, the paper's 12 blocks x 768",
        "Weights: mit.",
        "10.1016/j.neunet.2025.108482",
    ):
        assert words in card.text, words
    assert json.loads((out / "record.json").read_text())["id"] == NAME
    for word in ("/tmp", str(tmp_path)):
        assert word not in card.content


def test_a_card_without_records_says_what_is_missing(model, tmp_path):
    publish(model, tmp_path / "out")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert not card.data.eval_results
    assert card.data.license == "other"
    assert card.text.count("Not stated") == 3  # accuracy, energy, data
    assert "No licence was given for the weights" in card.text
    record = record_file(tmp_path, model, 1, 0.8)
    publish(model, tmp_path / "second", [record])
    assert "or a stand-in is not stated here" in (tmp_path / "second" / "README.md").read_text()


def test_what_does_not_belong_is_refused(model, tmp_path):
    def refused(message, *arguments, folder=model):
        with pytest.raises(UserError, match=message):
            publish(folder, tmp_path / "out", *arguments)
        assert not (tmp_path / "out").exists()

    small = record_file(tmp_path, model, 1, 0.8, parameters=7)
    refused("parameters", [small])
    other = record_file(tmp_path, model, 1, 0.8, settings={"model": {**SHAPE, "timesteps": 4}})
    refused(r"model\.timesteps 2, as in the folder\n  got:      4", [other])
    others = [record_file(tmp_path, model, seed, 0.8) for seed in (2, 3)]
    refused(f"one of the id {NAME}", others)
    refused(f"an account of {NAME}", [], [energy_file(tmp_path, "mr.teacher.base.s1")])
    good = record_file(tmp_path, model, 1, 0.8)
    refused("the classes negative, positive", [good], [], [corpus(tmp_path, labels=["a", "b"])])
    refused("made by `corpus` or `unlabelled`", [good], [], [tmp_path / "nothing"])
    refused("no config.json", folder=tmp_path / "nothing")


@pytest.mark.parametrize("kind", ["headless", "broken weights", "broken config"])
def test_what_is_no_classifier_is_refused(model, tmp_path, kind):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    if kind == "headless":
        SpikeBertModel(SpikeBertConfig(vocab_size=7, **SHAPE)).save_pretrained(folder)
    elif kind == "broken weights":
        (folder / "model.safetensors").write_bytes(b"pickle")
    else:
        (folder / "config.json").write_text("[1")
    with pytest.raises(UserError, match=r"a classifier of type|expected: safetensors"):
        publish(folder, tmp_path / "out")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model"]


def test_a_folder_that_holds_something_stays(model, tmp_path):
    (tmp_path / "mine").write_text("words")
    with pytest.raises(UserError, match="a new or empty one"):
        publish(model, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


def test_nothing_half_written_stays(model, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("spikebert.report.publish.write_text", fail)
    with pytest.raises(OSError, match="no space"):
        publish(model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_token_is_asked_for(monkeypatch):
    monkeypatch.delenv("MY_TOKEN", raising=False)
    with pytest.raises(UserError, match="in the variable MY_TOKEN"):
        token_of("MY_TOKEN")


def test_an_upload(model, tmp_path):
    """To the hub of the tests, which takes large files as LFS does; the real one also knows xet."""
    with serving() as hub:
        common = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
        common |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        with worker(**common, GOOD=TOKEN, BAD="hf_other") as call:
            command = ["publish", str(model), "--push", "owner/name", "--private"]
            result = call(run, [*command, "--out", f"{tmp_path}/a", "--token-from-env", "BAD"])
            assert result.status == 2
            assert "hf auth login" in result.output
            assert not hub.repositories
            result = call(run, [*command, "--out", f"{tmp_path}/b", "--token-from-env", "GOOD"])
    assert result.status == 0, result.output
    assert hub.url in result.output
    assert TOKEN not in result.output
    repository = hub.repositories["owner/name"]
    files = repository.commits[repository.refs["main"]]
    expected = {file.name: file.read_bytes() for file in (tmp_path / "b").iterdir()}
    assert {name: data for name, data in files.items() if name in expected} == expected
    assert set(files) - set(expected) == {".gitattributes"}
