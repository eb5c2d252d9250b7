"""What the probes see, beside the same computed another way, and that they leave nothing behind."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BertTokenizer,
    set_seed,
)

from spikebert.analysis.inspection import attention, cka, probe
from spikebert.analysis.probes import (
    attention_maps,
    hooked,
    linear_cka,
    spike_counts,
    spike_rate,
    spikes_of,
    step_rates,
    student_features,
    teacher_features,
)
from spikebert.data.corpus import read_rows
from spikebert.errors import UserError
from spikebert.models.configuration import SpikeBertConfig
from spikebert.models.fuse import fuse
from spikebert.models.modeling import SpikeBertForSequenceClassification, SpikeBertModel

L, T, H, N, D = 3, 5, 2, 7, 26
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += ["a", "warm", "and", "funny", "film", "or", "dull"]
TEXTS = ["a warm film", "funny and warm and dull"]


def shape(**settings):
    sizes = {"hidden_size": D, "num_hidden_layers": L, "num_attention_heads": H, "timesteps": T}
    return SpikeBertConfig(**{"vocab_size": 37, "num_labels": 3, **sizes, **settings})


def bert(vocab_size=37, width=12):
    torch.manual_seed(1)
    sizes = {"hidden_size": width, "num_hidden_layers": 4, "num_attention_heads": 2}
    return BertModel(BertConfig(vocab_size=vocab_size, intermediate_size=16, **sizes)).eval()


def student(**settings):
    torch.manual_seed(0)
    return SpikeBertForSequenceClassification(shape(**settings)).eval()


def sentence(tokens=N):
    return torch.randint(1, 37, (1, tokens), generator=torch.Generator().manual_seed(tokens))


def hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize("settings", [{}, {"encoder": "lif"}, {"residual": "membrane"}])
def test_attention_map_is_the_product_of_query_and_key_spikes(settings):
    model = student(**settings)
    seen = {}
    with hooked(model, lambda name, out: seen.update({name: out.clone()})), torch.no_grad():
        model(sentence())
    _, spikes = spikes_of(model, sentence())
    maps = attention_maps(model, spikes)
    assert maps.shape == (L, T, H, N, N)
    for block in range(L):
        q, k = (
            seen[f"spikebert.blocks.{block}.attention.{kind}_neuron"].reshape(T, N, H, D // H)
            for kind in ("query", "key")
        )
        expected = torch.einsum("tnhd,tmhd->thnm", q, k)
        assert torch.equal(maps[block].float(), expected)
    assert maps.any()


def test_spikes_come_by_layer_in_the_order_of_computation():
    model = student()
    out, spikes = spikes_of(model, sentence())
    assert out.logits.shape == (1, 3)
    first = [name.removeprefix("spikebert.blocks.0.") for name in list(spikes)[:7]]
    attention_layers = [
        f"attention.{kind}_neuron" for kind in ["query", "key", "value", "attention"]
    ]
    assert first == [*attention_layers, "attention_residual", "mlp.neuron", "mlp_residual"]
    assert all(layer.dtype == torch.bool for layer in spikes.values())
    assert spikes["spikebert.blocks.2.mlp.neuron"].shape == (T, N, 4 * D)


def test_rates_by_step_weigh_every_token_the_same():
    model = student()
    sentences = [sentence(3), sentence(11)]
    rates = step_rates(model, sentences)
    each = [spikes_of(model, ids)[1] for ids in sentences]
    for name, rate in rates.items():
        joined = torch.cat([spikes[name] for spikes in each], dim=1).double()  # [T, 14, D]
        torch.testing.assert_close(rate, joined.mean((1, 2)))
    with spike_counts(model) as counts, torch.no_grad():
        for ids in sentences:
            model(ids)
    sizes = {name: sum(size for _, size in pairs) for name, pairs in counts.items()}
    mean = sum(rate.mean() * sizes[name] for name, rate in rates.items()) / sum(sizes.values())
    assert spike_rate(counts) == pytest.approx(float(mean))


def test_rate_of_a_model_without_neurons_is_none():
    with spike_counts(torch.nn.Linear(1, 1)) as counts:
        pass
    assert spike_rate(counts) is None


def test_hooks_come_off_even_after_an_error():
    model = student()
    spikes_of(model, sentence())
    step_rates(model, [sentence()])
    assert hooks(model) == 0
    with hooked(model, lambda *_: None):
        assert hooks(model) == 7 * L
    too_large = torch.full((1, 2), 37)
    with pytest.raises(IndexError), hooked(model, lambda *_: None):
        model(too_large)
    assert hooks(model) == 0


def test_fused_layers_are_measured_as_plain_ones():
    model = student()
    plain = spikes_of(model, sentence())[1]
    found = spikes_of(fuse(model), sentence())[1]
    assert found.keys() == plain.keys()
    assert all(torch.equal(found[name], spikes) for name, spikes in plain.items())
    assert hooks(model) == 0


# CKA


def noise(rows, width, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, width, generator=generator, dtype=torch.float64)


def one_shot(x, y):
    x, y = x.double() - x.double().mean(0), y.double() - y.double().mean(0)
    return (y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())


def test_cka_does_not_see_rotation_scale_and_shift():
    x = noise(50, 6, 0) * torch.arange(1, 7)
    rotation, _ = torch.linalg.qr(noise(6, 6, 1))
    similar = linear_cka([([x], [3 * x @ rotation + 5])])
    assert similar.item() == pytest.approx(1)
    squeezed = linear_cka([([x], [x / torch.arange(1, 7) ** 2])])
    assert squeezed.item() < 0.9


def test_cka_of_independent_noise_is_near_its_bias():
    rows, p, q = 4000, 30, 50
    similar = linear_cka([([noise(rows, p, 2)], [noise(rows, q, 3)])]).item()
    # E ||Y'X||^2 = n p q and E ||X'X||^2 = n^2 p + n p^2, in the limit of many rows
    expected = math.sqrt(p * q) / rows / math.sqrt((1 + p / rows) * (1 + q / rows))
    assert similar == pytest.approx(expected, rel=0.1)


def test_streaming_equals_one_shot():
    mixing = noise(9, 5, 6)
    xs = [noise(101, 9, 4) + 1e4, noise(101, 4, 5)]  # a mean that would swamp uncentred sums
    ys = [xs[0] @ mixing, noise(101, 3, 7), noise(101, 8, 8)]
    cuts = [0, 1, 2, 40, 101]
    parts = [([x[a:b] for x in xs], [y[a:b] for y in ys]) for a, b in itertools.pairwise(cuts)]
    expected = torch.stack([torch.stack([one_shot(x, y) for y in ys]) for x in xs])
    torch.testing.assert_close(linear_cka(iter(parts)), expected, rtol=1e-8, atol=1e-10)


def test_cka_of_no_rows_is_refused():
    with pytest.raises(UserError, match="rows to compare"):
        linear_cka([])


def test_features_are_the_tokens_of_unpadded_sentences():
    teacher = bert()
    model = student().spikebert
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    ids = sentence(10).reshape(2, 5) * mask
    blocks, layers = student_features(model, ids, mask), teacher_features(teacher, ids, mask)
    assert [block.shape for block in blocks] == [(8, D)] * L
    assert [layer.shape for layer in layers] == [(8, 12)] * 4
    alone = student_features(model, ids[:1, :3], mask[:1, :3])
    torch.testing.assert_close(blocks[-1][:3], alone[-1], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        expected = teacher(ids, attention_mask=mask).last_hidden_state[1]
    torch.testing.assert_close(layers[-1][3:], expected)


# From folders to files


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny student, a corpus, a teacher, stage 1's student and text."""
    root = tmp_path_factory.mktemp("folders")
    (root / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    tokenizer = BertTokenizer(vocab=str(root / "vocab.txt"))
    names = {"id2label": {0: "bad", 1: "so-so", 2: "good"}}
    model = student(vocab_size=len(WORDS), **names)
    stage1 = SpikeBertModel(shape(vocab_size=len(WORDS)))
    teacher = bert(len(WORDS), 32)
    tuned = BertForSequenceClassification(teacher.config)
    saved = {"films.spikebert.base.s1": model, "stage1": stage1, "bert": teacher, "tuned": tuned}
    for folder, module in saved.items():
        module.save_pretrained(root / folder)
        tokenizer.save_pretrained(root / folder)
    training = {"seed": 4, "embedding_init": "teacher", "max_length": 16, "ignored_layers": 1}
    (root / "stage1/training.json").write_text(json.dumps({"stage1": training}), encoding="utf-8")
    rows = [json.dumps({"id": str(i), "text": text, "label": i}) for i, text in enumerate(TEXTS)]
    (root / "films").mkdir()
    (root / "films/stats.json").write_text('{"name": "films"}', encoding="utf-8")
    for name in ("films/test.jsonl", "text.jsonl"):
        (root / name).write_text("\n".join([*rows, ""]), encoding="utf-8")
    return root


def test_probe_saves_maps_raster_and_rates(folders, tmp_path):
    out = tmp_path / "made/probe.npz"
    probe(folders / "films.spikebert.base.s1", out, TEXTS, folders / "films", blocks=2)
    with np.load(out, allow_pickle=False) as file:
        arrays = dict(file)
    assert arrays["tokens_0"].tolist() == ["[CLS]", "a", "warm", "film", "[SEP]"]
    assert arrays["attention_1"].shape == (2, T, H, N, N)
    assert arrays["blocks_1"] == L
    assert arrays["raster_0"].shape == (7, T, 5, D)
    assert all("blocks.2." in name for name in arrays["raster_layers_0"])
    assert arrays["rates"].shape == (7 * L, T)
    assert (arrays["rate_sentences"], arrays["dataset"], arrays["split"]) == (2, "films", "test")
    assert arrays["model"] == "films.spikebert.base.s1"
    assert arrays["label_0"] in ("bad", "so-so", "good")
    whole = attention(folders / "films.spikebert.base.s1", TEXTS[1])["attention_0"]
    assert np.array_equal(whole[1:], arrays["attention_1"])
    again = tmp_path / "again.npz"
    probe(folders / "films.spikebert.base.s1", again, TEXTS, folders / "films", blocks=2)
    assert again.read_bytes() == out.read_bytes()


def test_probe_refuses_what_it_cannot_look_into(folders, tmp_path):
    model = folders / "films.spikebert.base.s1"
    with pytest.raises(UserError, match="a sentence or a corpus"):
        probe(model, tmp_path / "out.npz")
    with pytest.raises(UserError, match="at least one word"):
        probe(model, tmp_path / "out.npz", [" "])
    with pytest.raises(UserError, match="a student with spiking neurons"):
        probe(folders / "tuned", tmp_path / "out.npz", TEXTS)
    with pytest.raises(UserError, match=r"no weights classifier.bias, classifier.weight"):
        probe(folders / "bert", tmp_path / "out.npz", TEXTS)


def test_cka_compares_the_student_before_and_after_stage_1(folders, tmp_path):
    cka(folders / "stage1", folders / "bert", folders / "text.jsonl", tmp_path / "cka.npz", limit=9)
    with np.load(tmp_path / "cka.npz", allow_pickle=False) as file:
        arrays = dict(file)
    assert {arrays[name].shape for name in ("random", "before", "after")} == {(L, 4)}
    assert arrays["pairs"].tolist() == [[2, 3], [3, 4]]
    assert (arrays["rows"], arrays["sentences"], arrays["seed"]) == (12, 2, 4)
    set_seed(4)
    fresh = SpikeBertModel(SpikeBertConfig.from_pretrained(folders / "stage1")).eval()
    teacher = BertModel.from_pretrained(folders / "bert").eval()
    tokenizer = BertTokenizer.from_pretrained(folders / "bert")
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    x, y = student_features(fresh, ids, mask)[1], teacher_features(teacher, ids, mask)[2]
    assert arrays["random"][1, 2] == pytest.approx(one_shot(x, y).item(), rel=1e-4)


def test_cka_refuses_what_stage_1_did_not_write(folders, tmp_path):
    with pytest.raises(UserError, match=r"a folder that stage 1 wrote, with training\.json"):
        cka(folders / "bert", folders / "bert", folders / "text.jsonl", tmp_path / "cka.npz")


def test_only_the_first_rows_are_read(tmp_path):
    path = tmp_path / "text.jsonl"
    path.write_text('{"id": "1", "text": "a"}\n{"id": "2", "text": "b"}\nno JSON\n', "utf-8")
    assert [row["text"] for row in read_rows(path, 2)] == ["a", "b"]
    with pytest.raises(UserError, match=r"row .*text\.jsonl:3"):
        read_rows(path, 3)
    with pytest.raises(UserError, match="No such file"):
        read_rows(tmp_path / "none.jsonl", 1)
