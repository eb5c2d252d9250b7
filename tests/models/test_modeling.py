"""The student as a Hugging Face model: shapes, masks, round trips, settings."""

import itertools

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    BertModel,
)

import spikebert
from spikebert import SpikeBertConfig, SpikeBertForSequenceClassification, SpikeBertModel
from spikebert.config import plugins
from spikebert.errors import UserError
from spikebert.kernels.build import library
from spikebert.models.fuse import fuse
from spikebert.models.modeling import masked_mean, sinusoids
from spikebert.models.neurons import LIF, NEURONS
from spikebert.training.distillation import copy_embeddings

SMALL = {
    "vocab_size": 37,
    "hidden_size": 26,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_labels": 5,
}
VARIANTS = [
    {"encoder": encoder, "residual": residual, "position": position}
    for encoder, residual, position in itertools.product(
        ("heaviside", "lif", "current"), ("add", "membrane"), ("none", "sinusoidal", "learned")
    )
]


def student(**settings):
    torch.manual_seed(0)
    return SpikeBertForSequenceClassification(SpikeBertConfig(**SMALL | settings)).eval()


def batch(sizes=(7, 3, 5), seed=0):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.tensor([[i < n for i in range(max(sizes))] for n in sizes]).long()
    return torch.randint(1, 37, mask.shape, generator=generator) * mask, mask


@pytest.mark.parametrize("settings", VARIANTS)
def test_shapes_with_time_first(settings):
    ids, mask = batch()
    model = student(**settings, timesteps=2)
    out = model(ids, mask, labels=torch.tensor([0, 4, 2]), output_hidden_states=True)
    assert out.logits.shape == (3, 5)
    assert out.step_logits.shape == (2, 3, 5)
    assert [tuple(x.shape) for x in out.hidden_states] == [(2, 3, 7, 26)] * 3
    assert out.embeddings.shape == (3, 7, 26)
    expected = torch.nn.functional.cross_entropy(out.logits, torch.tensor([0, 4, 2]))
    assert torch.equal(out.loss, expected)
    torch.testing.assert_close(out.logits, out.step_logits.mean(0))


@pytest.mark.parametrize("settings", VARIANTS)
def test_padding_changes_no_logit(settings):
    model = student(**settings)
    ids, mask = batch()
    with torch.no_grad():
        together = model(ids, mask).logits
        for i, n in enumerate(mask.sum(1).tolist()):
            alone = model(ids[i : i + 1, :n], mask[i : i + 1, :n]).logits
            torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)
            torch.testing.assert_close(model(ids[i : i + 1, :n]).logits, alone)


@pytest.mark.skipif(library() is None, reason="no compiler")
@pytest.mark.parametrize("settings", VARIANTS)
def test_fused_student_equals_the_plain_one(settings):
    """Logits and every gradient, with padding; not bitwise: norms are summed in another order."""
    ids, mask = batch()
    found = []
    for fused in (False, True):
        model = student(**settings)
        fuse(model, fused)
        out = model(ids, mask, labels=torch.tensor([0, 4, 2]))
        out.loss.backward()
        found.append((out.logits.detach(), {n: p.grad for n, p in model.named_parameters()}))
    (plain, gradients), (fused_logits, fused_gradients) = found
    torch.testing.assert_close(fused_logits, plain, rtol=1e-5, atol=1e-6)
    for name, expected in gradients.items():
        # A row that nearly all spikes left has next to no variance, and its norm multiplies what
        # rounding did by up to eps^-1/2 = 316.
        atol = 1e-3 * expected.abs().max().item()
        torch.testing.assert_close(fused_gradients[name], expected, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("settings", VARIANTS[::5])
def test_round_trip_is_bitwise(settings, tmp_path):
    model = student(**settings, beta=0.8, surrogate="sigmoid")
    ids, mask = batch()
    model.save_pretrained(tmp_path)
    assert [p.suffix for p in tmp_path.glob("model*")] == [".safetensors"]
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert isinstance(loaded, spikebert.SpikeBertForSequenceClassification)
    assert loaded.config.settings() == model.config.settings()
    with torch.no_grad():
        assert torch.equal(loaded(ids, mask).logits, model(ids, mask).logits)
    base = AutoModel.from_pretrained(tmp_path)
    assert isinstance(base, SpikeBertModel)


def test_stream_is_spikes_then_counts():
    model = student(residual="add")
    ids, mask = batch()
    with torch.no_grad():
        out = model(ids, mask, output_hidden_states=True)
    for depth, x in enumerate(out.hidden_states, 1):
        assert torch.equal(x, x.round())
        assert 0 <= x.min() <= x.max() <= 1 + 2 * depth


def test_membrane_residual_feeds_binary_spikes_to_the_linears():
    model = student(residual="membrane")
    seen = []
    for block in model.spikebert.blocks:
        block.attention.query.register_forward_hook(lambda _, x, __: seen.append(x[0]))
        block.mlp.up.register_forward_hook(lambda _, x, __: seen.append(x[0]))
    with torch.no_grad():
        model(*batch())
    assert len(seen) == 6
    assert all(set(x.unique().tolist()) <= {0.0, 1.0} for x in seen)


def test_neurons_get_the_settings():
    model = student(beta=0.7, attention_threshold=0.3, threshold=1.1, reset="hard")
    neurons = {name: m.settings for name, m in model.named_modules() if isinstance(m, LIF)}
    assert len(neurons) == 3 * 7
    for name, settings in neurons.items():
        assert settings["beta"] == 0.7
        assert settings["reset"] == "hard"
        assert settings["threshold"] == (0.3 if name.endswith("attention_neuron") else 1.1)


def test_tau_stands_for_beta():
    assert SpikeBertConfig(**SMALL, tau=10.0).decay == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"beta": 1.5}, "setting beta"),
        ({"timesteps": 0}, "setting timesteps"),
        ({"hidden_size": 27}, "divisor of hidden_size = 27"),
        ({"residual": "sum"}, "setting residual"),
        ({"reset": True}, "setting reset"),
    ],
)
def test_bad_settings_are_named(settings, text):
    with pytest.raises(UserError, match=text):
        SpikeBertConfig(**SMALL | settings)


@pytest.mark.parametrize("name", ["neuron", "surrogate"])
def test_unknown_neuron_or_surrogate_lists_the_known(name):
    with pytest.raises(UserError, match=f"setting {name} in SpikeBertConfig"):
        student(**{name: "perceptron"})


@pytest.mark.parametrize("neuron", NEURONS)
def test_every_neuron_survives_its_folder(neuron, tmp_path):
    model = student(neuron=neuron)
    model.save_pretrained(tmp_path)
    loaded = SpikeBertForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(*batch()).logits, model(*batch()).logits)


def test_an_heir_of_lif_is_itself_in_the_fused_form_too(monkeypatch):
    class Stubborn(LIF):
        def forward(self, *_):
            raise ArithmeticError("mine")

    monkeypatch.setitem(NEURONS, "stubborn", Stubborn)
    monkeypatch.setitem(plugins._FILES, ("neuron", "stubborn"), None)
    model = student(neuron="stubborn")
    for fused in (False, True):
        fuse(model, fused)
        with pytest.raises(ArithmeticError, match="mine"):
            model(*batch())


def test_learned_positions_start_about_zero_whatever_the_words_do():
    embeddings = student(position="learned", embedding_mean=5.0).spikebert.embeddings
    assert embeddings.word_embeddings.weight.mean().item() == pytest.approx(5, abs=0.5)
    assert embeddings.position_embeddings.weight.mean().item() == pytest.approx(0, abs=0.5)


def test_too_long_for_the_position_signal():
    model = student(position="learned", max_position_embeddings=4)
    with pytest.raises(UserError, match="at most 4 tokens"):
        model(*batch())


def test_masked_mean_by_hand():
    x = torch.tensor([[[[1.0], [3.0], [100.0]]]])
    assert masked_mean(x, torch.tensor([[1, 1, 0]])).item() == 2


def test_sinusoids_by_hand():
    table = sinusoids(3, 4)
    assert table[0].tolist() == [0, 1, 0, 1]
    torch.testing.assert_close(table[2, 0], torch.sin(torch.tensor(2.0)))
    torch.testing.assert_close(table[2, 3], torch.cos(torch.tensor(0.02)))


def test_gradients_reach_every_parameter():
    model = student(encoder="lif").train()
    ids, mask = batch()
    model(ids, mask, labels=torch.tensor([0, 1, 2])).loss.backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@pytest.mark.parametrize("mean", [0.0, 0.5])
def test_embeddings_start_where_they_are_told(mean):
    """At random or as the teacher's."""
    torch.manual_seed(0)
    config = SpikeBertConfig(
        **SMALL | {"vocab_size": 2000, "encoder": "lif", "embedding_mean": mean}
    )
    student = SpikeBertModel(config)
    words = student.embeddings.word_embeddings.weight
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    teacher = BertModel(BertConfig(vocab_size=2000, intermediate_size=64, **shape))
    for start in ("random", "teacher"):
        if start == "teacher":
            copy_embeddings(student, teacher, config.embedding_std, config.embedding_mean)
        seen = words[1:].detach()
        assert seen.mean().item() == pytest.approx(mean, abs=0.02)
        assert seen.std().item() == pytest.approx(config.embedding_std, abs=0.02)
        rate = student.embeddings(torch.arange(1, 2000)[None])[1].mean().item()
        assert (rate > 0.25) == (mean > 0)  # half of a centred table is never heard
