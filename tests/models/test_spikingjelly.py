"""spikingjelly's neurons and surrogates by name: ours equal theirs, theirs train, save and load."""

import itertools
import sys

import pytest
import torch

from spikebert.analysis.early_exit import exit_early
from spikebert.analysis.energy import measure
from spikebert.config import plugins
from spikebert.config.settings import ModelSettings
from spikebert.errors import UserError
from spikebert.models.configuration import SpikeBertConfig
from spikebert.models.fuse import fuse
from spikebert.models.modeling import SpikeBertForSequenceClassification
from spikebert.models.neurons import LIF, SURROGATES, build_neuron
from spikebert.models.neurons.spikingjelly import OURS, surrogate_derivative
from spikebert.models.students import check_student

SMALL = {
    "vocab_size": 37,
    "hidden_size": 26,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "timesteps": 3,
    "num_labels": 3,
}


def config(**settings):
    return SpikeBertConfig(**SMALL | settings)


def student(**settings):
    torch.manual_seed(0)
    return SpikeBertForSequenceClassification(config(**settings))


def batch():
    generator = torch.Generator().manual_seed(1)
    mask = (torch.arange(7) < torch.tensor([7, 3, 5])[:, None]).long()
    return torch.randint(1, 37, mask.shape, generator=generator) * mask, mask


def random(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize(("decay_input", "detach"), itertools.product((True, False), repeat=2))
@pytest.mark.parametrize(("beta", "threshold"), [(0.9, 1.0), (0.5, 0.25)])
def test_our_neuron_is_theirs_in_every_option(
    surrogate, reset, decay_input, detach, beta, threshold
):
    """Values, states and gradients, through the settings of a model, in float64: a gradient near
    the kink of a triangle is a small difference of large numbers."""
    found = []
    for name in ("lif", "sj.LIFNode"):
        neuron = build_neuron(
            config(
                neuron=name,
                surrogate=surrogate,
                surrogate_alpha=1.5,
                reset=reset,
                decay_input=decay_input,
                detach_reset=detach,
                beta=beta,
            ),
            threshold,
        )
        x = (2 * random(5, 3, 7, 13).double()).requires_grad_()
        first, state = neuron(x[:2])
        second, _ = neuron(x[2:], state)
        spikes = torch.cat([first, second])
        (spikes * random(5, 3, 7, 13, seed=2)).sum().backward()
        found.append((spikes.detach(), x.grad))
    (ours, gradient), (theirs, expected) = found
    assert torch.equal(ours, theirs)
    assert 0 < ours.mean() < 1
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-6)


TRAINED = {
    "sj.ParametricLIFNode": {},
    "sj.ILIFNode": {"neuron_options": {"max_spike_count": 3}},
    "sj.QIFNode": {"neuron_options": {"v_c": 0.7}},
    "sj.GatedLIFNode": {},
    "sj.KLIFNode": {"neuron_options": {"scale_reset": True}},
    "sj.PSN": {},
    "sj.SlidingPSN": {"neuron_options": {"k": 2}},
    "sj.MaskedPSN": {"neuron_options": {"k": 2}},
    "sj.TernaryLIFNode": {"surrogate": "sj.S2NN", "neuron_options": {"beta": 2.0}},
}


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("encoder", ["heaviside", "lif"])
def test_a_student_of_theirs_trains_and_survives_its_folder(name, encoder, tmp_path):
    model = fuse(student(neuron=name, encoder=encoder, threshold=0.5, **TRAINED[name])).train()
    ids, mask = batch()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    before = {n: p.detach().clone() for n, p in model.named_parameters() if ".node." in n}
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(ids, mask, labels=torch.tensor([0, 1, 2])).loss
        loss.backward()
        assert loss.isfinite()
        reached = [n for n in before if model.get_parameter(n).grad is not None]
        assert reached == list(before)
        optimiser.step()
        optimiser.zero_grad()
    moved = [n for n, value in before.items() if not torch.equal(model.get_parameter(n), value)]
    assert bool(moved) == (name not in ("sj.ILIFNode", "sj.QIFNode", "sj.TernaryLIFNode"))
    model.eval().save_pretrained(tmp_path)
    loaded = SpikeBertForSequenceClassification.from_pretrained(tmp_path).eval()
    assert loaded.state_dict().keys() == model.state_dict().keys()
    with torch.no_grad():
        assert torch.equal(loaded(ids, mask).logits, model(ids, mask).logits)


def test_nothing_is_kept_between_calls():
    model, (ids, mask) = student(neuron="sj.LIFNode").eval(), batch()
    assert torch.equal(model(ids, mask).logits, model(ids, mask).logits)


def test_counts_and_signs_reach_the_account():
    ids = torch.tensor([[3, 5, 7, 9]])
    kinds = {}
    for name in ("sj.ILIFNode", "sj.TernaryLIFNode", "sj.IFNode"):
        model = student(neuron=name, residual="membrane", threshold=0.3)
        found = measure(model, [ids], time_first=True, timesteps=3)
        kinds[name] = {x.kind for x in found.layers if x.name.endswith("mlp.down.linear")}
    assert kinds["sj.IFNode"] == {"binary"}
    assert kinds["sj.ILIFNode"] == kinds["sj.TernaryLIFNode"] == {"integer"}


@pytest.mark.parametrize("name", ["sj.LIFNode", "sj.ParametricLIFNode", "sj.CUBALIFNode"])
def test_early_exit_hands_their_state_on(name):
    model, (ids, mask) = student(neuron=name, threshold=0.5).eval(), batch()
    logits, used = exit_early(model, ids, mask, margin=2.0)
    assert used.tolist() == [3] * 3
    torch.testing.assert_close(logits, model(ids, mask).logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["sj.PSN", "sj.GatedLIFNode"])
def test_early_exit_refuses_what_needs_all_steps(name):
    with pytest.raises(UserError, match=r"(?s)state after one step.*neuron"):
        exit_early(student(neuron=name).eval(), *batch(), margin=1.0)


@pytest.mark.parametrize("name", ["sj.Sigmoid", "sj.SoftSign", "sj.S2NN"])
def test_their_surrogates_serve_our_neuron(name):
    model, (ids, mask) = fuse(student(surrogate=name)), batch()
    model(ids, mask, labels=torch.tensor([0, 1, 2])).loss.backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@pytest.mark.parametrize("name", SURROGATES)
def test_derivatives_of_ours_are_those_of_their_namesakes(name):
    u = torch.linspace(-3, 3, 60)
    found = surrogate_derivative(f"sj.{OURS[name]}")(u, 1.5)
    torch.testing.assert_close(found, SURROGATES[name](u, 1.5), rtol=1e-5, atol=1e-6)


def test_a_surrogate_of_ones_own_serves_their_neuron(monkeypatch):
    monkeypatch.setitem(SURROGATES, "flat", lambda u, alpha: torch.full_like(u, alpha))
    monkeypatch.setitem(plugins._FILES, ("surrogate", "flat"), None)
    neuron = build_neuron(config(neuron="sj.IFNode", surrogate="flat", surrogate_alpha=0.5), 1.0)
    x = torch.zeros(1, 2, 3, requires_grad=True)
    neuron(x)[0].sum().backward()
    assert (x.grad == 0.5).all()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"neuron": "sj.LIFNod"}, r"(?s)setting model\.neuron\n.*did you mean sj\.LIFNode\?"),
        ({"neuron": "sj.BaseNode"}, r"setting model\.neuron\n"),
        ({"neuron": "sj.ILCLIFNode"}, r"(?s)act_dim, dec_pop_dim.*add model\.neuron_options"),
        ({"neuron": "sj.OTTTLIFNode"}, "arguments of sj.OTTTLIFNode"),
        (
            {"neuron": "sj.IFNode", "neuron_options": {"tau": 3.0}},
            r"(?s)model\.neuron_options\.tau.*an argument of sj\.IFNode: alpha, store_v_seq",
        ),
        ({"neuron": "lif", "neuron_options": {"k": 2}}, r"model\.neuron_options of lif"),
        ({"surrogate": "sj.Sigmod"}, r"(?s)setting model\.surrogate\n.*sj\.Sigmoid\?"),
        ({"surrogate": "sj.PoissonPass"}, "a surrogate of a step"),
    ],
)
def test_mistakes_are_named_before_anything_is_read(settings, text):
    with pytest.raises(UserError, match=text):
        student(**settings)
    with pytest.raises(UserError, match=text):
        check_student(ModelSettings(**settings))


def test_a_student_is_checked_without_a_trace():
    before = torch.get_rng_state()
    check_student(ModelSettings(neuron="sj.GatedLIFNode", encoder="lif"))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_the_library_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "spikingjelly.activation_based", None)
    with pytest.raises(UserError, match=r"pip install --no-deps spikingjelly==2\.0\.0"):
        student(neuron="sj.LIFNode")
    assert isinstance(build_neuron(config(), 1.0), LIF)


FIELD = (
    *("IFNode", "LIFNode", "ParametricLIFNode", "GatedLIFNode", "KLIFNode", "ComplementaryLIFNode"),
    *("PSN", "QIFNode", "EIFNode", "ILIFNode", "TernaryLIFNode", "IzhikevichNode", "CUBALIFNode"),
)


@pytest.mark.parametrize("name", FIELD)
def test_neurons_fire_and_reach_back(name):
    neuron = build_neuron(config(neuron=f"sj.{name}", beta=0.5), 0.25)
    x = (3 * random(3, 2, 7, 5)).requires_grad_()
    spikes, _ = neuron(x)
    spikes.sum().backward()
    assert spikes.any()
    assert x.grad.any()
    assert all(p.grad is not None for p in neuron.parameters())
