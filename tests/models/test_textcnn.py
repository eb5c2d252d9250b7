"""TextCNN and its spiking twin: values by hand, padding, the conversion, folders, the steps."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from toy import QUICK, outputs, run, sentences, write_rows
from transformers import AutoModelForSequenceClassification, BertConfig, BertModel

from spikebert.analysis.energy import count_macs, measure
from spikebert.analysis.inspection import sentence_arrays
from spikebert.analysis.predict import predict
from spikebert.config.settings import SnnTextCnnSettings, TextCnnSettings
from spikebert.errors import UserError
from spikebert.models.configuration import SnnTextCnnConfig, TextCnnConfig
from spikebert.models.textcnn import (
    SnnTextCnnForSequenceClassification,
    TextCnnForSequenceClassification,
    convert,
)
from spikebert.records.records import read_record
from spikebert.training.steps.baselines import snn_textcnn, textcnn
from spikebert.training.steps.pretrain import train_tokenizer
from spikebert.training.tokenization import load_tokenizer
from spikebert.utils.files import write_json

SHAPE: dict[str, Any] = {
    "vocab_size": 50,
    "embedding_size": 6,
    "filters": 4,
    "widths": [2, 4],
    "num_labels": 3,
}
IDS = torch.randint(1, 50, (2, 5), generator=torch.Generator().manual_seed(0))


def cnn(**changes: Any) -> TextCnnForSequenceClassification:
    torch.manual_seed(0)
    return TextCnnForSequenceClassification(TextCnnConfig(**{**SHAPE, **changes})).eval()


def snn(**changes: Any) -> SnnTextCnnForSequenceClassification:
    config = SnnTextCnnConfig(**{**SHAPE, "timesteps": 3, **changes})
    return convert(cnn(), config).eval()


# Values


def test_logits_by_hand() -> None:
    model = cnn(vocab_size=4, embedding_size=1, filters=1, widths=[2], num_labels=2)
    with torch.no_grad():
        model.word_embeddings.weight.copy_(torch.tensor([[0.0], [1.0], [2.0], [-3.0]]))
        model.convolutions[0].weight.copy_(torch.tensor([[[1.0, 10.0]]]))
        model.convolutions[0].bias.fill_(0.5)
        model.classifier.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        # windows of 1 -3: (0 1) (1 -3) (-3 0): 10.5, -28.5, -2.5
        assert model(torch.tensor([[1, 3]])).logits.tolist() == [[10.5, -10.5]]
        # of 3 alone: -29.5 and -2.5, and ReLU lets none through
        assert model(torch.tensor([[3]])).logits.tolist() == [[0.0, 0.0]]


def test_logits_are_those_of_plain_layers() -> None:
    model = cnn()
    words = F.pad(model.word_embeddings(IDS[:1]).mT, (3, 3))
    pooled = []
    for width, layer in zip((2, 4), model.convolutions, strict=True):
        spare = 4 - width
        pooled.append(layer(words[..., spare : words.shape[-1] - spare]).relu().amax(-1))
    torch.testing.assert_close(model(IDS[:1]).logits, model.classifier(torch.cat(pooled, -1)))


@pytest.mark.parametrize(
    "model", [cnn(), snn(), snn(pooling="average")], ids=["cnn", "max", "average"]
)
def test_padding_and_neighbours_change_nothing(model: Any) -> None:
    alone = model(IDS[:1, :3]).logits
    ids = IDS.clone()
    mask = torch.ones_like(ids)
    mask[0, 3:] = 0  # what stands there is not read
    both = model(ids, mask).logits
    torch.testing.assert_close(both[:1], alone)
    longer = model(F.pad(ids, (0, 40)), F.pad(mask, (0, 40))).logits
    torch.testing.assert_close(longer, both)
    assert torch.equal(model(ids, mask).logits, both)


def test_the_mean_current_is_textcnns_activation() -> None:
    dense, steps = cnn(), 4000
    spiking = snn(timesteps=steps)
    mask = torch.ones_like(IDS)
    spikes = spiking.spikes(IDS, mask)
    assert spikes.unique().tolist() == [0, 1]
    activations = dense.currents(dense.words(IDS, mask), mask)
    for (y, _), (x, _) in zip(
        spiking.currents(spikes.flatten(0, 1), mask), activations, strict=True
    ):
        mean = y.unflatten(0, (steps, 2)).mean(0)
        # 24 inputs of deviation 0.5 at most, whose weights are some 0.3 x 0.8
        torch.testing.assert_close(mean, x, atol=0.08, rtol=0)


def test_rates_are_the_embeddings_moved_and_cut() -> None:
    dense = cnn()
    with torch.no_grad():
        dense.word_embeddings.weight[1, 0] = 100.0
    spiking = convert(dense, SnnTextCnnConfig(**SHAPE))
    known = dense.word_embeddings.weight[1:]
    expected = ((known - known.mean()) / (6 * known.std()) + 0.5).clamp(0, 1)
    torch.testing.assert_close(spiking.word_embeddings.weight[1:], expected)
    assert spiking.word_embeddings.weight[1, 0] == 1
    null = (0.5 - known.mean() / (6 * known.std())).expand(6)  # what stands for 0
    torch.testing.assert_close(spiking.word_embeddings.weight[0], null)


def test_spikes_are_drawn_anew_in_training_alone() -> None:
    model = snn()
    mask = torch.ones_like(IDS)
    assert torch.equal(model.spikes(IDS, mask), snn().spikes(IDS, mask))
    other = snn(encoding_seed=1).spikes(IDS, mask)
    assert not torch.equal(model.spikes(IDS, mask), other)
    model.train()
    assert not torch.equal(model.spikes(IDS, mask), model.spikes(IDS, mask))


def test_fine_tuning_reaches_all_but_the_embeddings() -> None:
    model = snn(dropout=0.0)
    model.train()
    F.cross_entropy(model(IDS).logits, torch.tensor([0, 2])).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert without == {"word_embeddings.weight"}
    assert all(layer.weight.grad.abs().sum() > 0 for layer in model.convolutions)


@pytest.mark.parametrize("model", [cnn(), snn()], ids=["cnn", "snn"])
def test_a_folder_gives_the_same_bits(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert type(again) is type(model)
    assert torch.equal(again(IDS).logits, model(IDS).logits)


def test_an_unknown_surrogate_is_named() -> None:
    with pytest.raises(UserError, match="surrogate"):
        snn(surrogate="atam")


# Energy


def test_macs_and_kinds_by_hand() -> None:
    def macs(tokens: int) -> int:  # windows of each width, and the head
        return 6 * 4 * (2 * (tokens + 1) + 4 * (tokens + 3)) + 8 * 3

    assert sum(count_macs(cnn(), IDS[:1]).values()) == macs(5)
    spiking = count_macs(snn(), IDS[:1], time_first=True, timesteps=3)
    assert sum(spiking.values()) == 3 * macs(5)
    dense = measure(cnn(), [IDS[:1]], IDS[:1].repeat(1, 4))
    assert list(dense.accounts) == ["dense"]
    assert dense.accounts["dense"].fixed
    assert dense.accounts["dense"].fixed.macs == macs(20)
    found = measure(snn(), [IDS[:1]], IDS[:1], time_first=True, timesteps=3)
    assert {layer.kind for layer in found.layers} == {"binary"}
    model = snn()
    with torch.no_grad():
        spikes = model.spikes(IDS[:1], torch.ones(1, 5))
    rates = {layer.name: layer.rate for layer in found.layers}
    assert rates["convolutions.1"] == pytest.approx(spikes.mean().item())
    account = found.accounts["strict"].real
    assert account.macs == 0
    assert account.sops == pytest.approx(
        sum(layer.macs_real * layer.rate for layer in found.layers)
    )


# The steps


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, a BERT that nobody trained, and a TextCNN."""
    root = tmp_path_factory.mktemp("cnn")
    for seed, (split, count) in enumerate({"train": 48, "dev": 16, "test": 20}.items(), 1):
        write_rows(root / "corpus" / f"{split}.jsonl", sentences(count, seed))
    write_json(root / "corpus" / "stats.json", {"labels": ["negative", "positive"]})
    tokenizer = train_tokenizer((row["text"] for row in sentences(48, 1)), 120)
    torch.manual_seed(0)
    bert = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
    )
    BertModel(bert).save_pretrained(root / "base")
    tokenizer.save_pretrained(root / "base")
    for init in ("teacher", "random"):
        settings = TextCnnSettings(
            epochs=12, learning_rate=1e-2, evaluations=3, embedding_size=20, filters=8,
            embedding_init=init, **QUICK,
        )  # fmt: skip
        textcnn(settings, root / "corpus", root / "base", run("textcnn"), outputs(root, init))
    return root


def test_textcnn_learns_and_predicts(work: Path) -> None:
    for init in ("teacher", "random"):
        record = read_record(work / f"{init}.json")
        assert record.accuracy_dev > 0.8
        assert record.settings["textcnn"]["embedding_init"] == init
        (result,) = predict(work / init, ["a warm and funny film"])
        assert result["spike_rate"] is None
    with pytest.raises(UserError, match="early exit"):
        predict(work / "teacher", ["a film"], margin=0.5)


def test_first_embeddings_are_the_teachers_rotated(work: Path, tmp_path: Path) -> None:
    settings = TextCnnSettings(
        epochs=0.1, learning_rate=1e-9, embedding_size=20, embedding_init="teacher", **QUICK
    )
    out = outputs(tmp_path, "first")
    textcnn(settings, work / "corpus", work / "base", run("textcnn"), out)
    mine = AutoModelForSequenceClassification.from_pretrained(out.out).word_embeddings.weight[5:]
    theirs = BertModel.from_pretrained(work / "base").embeddings.word_embeddings.weight
    theirs = (theirs - theirs.mean(0))[5:]
    a, b = (x @ x.T for x in (mine, theirs))  # angles survive a rotation, lengths are scaled
    torch.testing.assert_close(a / a.norm(), b / b.norm(), atol=1e-4, rtol=0)


def test_spiking_network_is_made_of_the_trained_one(work: Path, tmp_path: Path) -> None:
    settings = SnnTextCnnSettings(epochs=4, learning_rate=3e-3, evaluations=2, timesteps=4, **QUICK)
    out = outputs(tmp_path, "snn")
    named = type(run("snn_textcnn"))(
        **{**vars(run("snn_textcnn")), "teacher": "toy.textcnn.base.s1"}
    )
    record = snn_textcnn(settings, work / "corpus", work / "teacher", named, out)
    assert record.accuracy_dev > 0.7
    assert record.upstream == {"teacher": None, "textcnn": "toy.textcnn.base.s1"}
    assert not list((tmp_path / "checkpoints" / "snn").glob("*/"))
    texts = ["a warm and funny film", "dull"]
    first, second = predict(out.out, texts)
    assert 0 < first["spike_rate"] < 1
    assert predict(out.out, texts) == [first, second]
    model = AutoModelForSequenceClassification.from_pretrained(out.out)
    with pytest.raises(UserError, match="attention"):
        sentence_arrays(model.eval(), load_tokenizer(out.out), "a film")
    with pytest.raises(UserError, match="early exit"):
        predict(out.out, texts, margin=0.5)


def test_another_model_in_its_place_is_refused(work: Path, tmp_path: Path) -> None:
    settings = SnnTextCnnSettings(epochs=1, timesteps=2, **QUICK)
    with pytest.raises(UserError, match=r"expected: a textcnn of 2 classes[\s\S]*a bert of 2"):
        snn_textcnn(settings, work / "corpus", work / "base", run("x"), outputs(tmp_path, "x"))
    for split in ("train", "dev", "test"):
        write_rows(tmp_path / "corpus" / f"{split}.jsonl", sentences(8, 3))
    write_json(tmp_path / "corpus" / "stats.json", {"labels": ["a", "b", "c"]})
    with pytest.raises(UserError, match="a textcnn of 3 classes"):
        snn_textcnn(
            settings, tmp_path / "corpus", work / "teacher", run("x"), outputs(tmp_path, "x")
        )
    assert not (tmp_path / "x.json").exists()


def test_settings_become_json_and_back(work: Path) -> None:
    described = json.loads((work / "teacher.json").read_text("utf-8"))["settings"]["textcnn"]
    assert described["widths"] == [3, 4, 5]
