"""A file outside the package adds a neuron, a surrogate, an encoder and an attention."""

import importlib.util

import pytest
import torch

from spikebert.analysis.early_exit import exit_early
from spikebert.analysis.probes import spike_counts
from spikebert.config import plugins, registry
from spikebert.errors import UserError
from spikebert.kernels.ops import SURROGATE_NUMBERS
from spikebert.models import modeling, neurons
from spikebert.models.configuration import SpikeBertConfig
from spikebert.models.fuse import fuse
from spikebert.models.loading import load_model
from spikebert.models.modeling import SpikeBertForSequenceClassification

SOURCE = '''
import torch
from torch import nn
from spikebert.models.attention import SpikingSelfAttention
from spikebert.models.modeling import register_attention, register_encoder
from spikebert.models.neurons import build_neuron, register_neuron, register_surrogate, spike


class Adaptive(nn.Module):
    """A threshold that rises by `rise` with every spike."""

    def __init__(self, threshold, surrogate, alpha, rise=0.5, **_):
        super().__init__()
        self.threshold, self.surrogate, self.alpha = threshold, surrogate, alpha
        self.rise = nn.Parameter(torch.tensor(rise))

    def forward(self, x, state=None):
        risen = torch.zeros_like(x[0]) if state is None else state
        spikes = []
        for current in x:
            spikes.append(spike(current - self.threshold - risen, self.surrogate, self.alpha))
            risen = risen + self.rise * spikes[-1]
        return torch.stack(spikes), risen


class Silent(SpikingSelfAttention):
    def context(self, x, mask=None, state=None):
        return super().context(x, mask, state) * 0


register_neuron("adaptive", Adaptive)
register_surrogate("flat", lambda u, alpha: torch.full_like(u, 0.5))
register_encoder("twice", lambda config: build_neuron(config, 2 * config.threshold))
register_attention("silent", Silent)
'''
SETTINGS = {"neuron": "adaptive", "surrogate": "flat", "encoder": "twice", "attention": "silent"}
SMALL = {"hidden_size": 26, "num_hidden_layers": 2, "num_attention_heads": 2, "timesteps": 3}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The file, run; what it registers is forgotten afterwards."""
    for entries in (neurons.NEURONS, neurons.SURROGATES, modeling.ENCODERS, modeling.ATTENTIONS):
        for name in SETTINGS.values():
            monkeypatch.delitem(entries, name, raising=False)
    monkeypatch.setattr(plugins, "_FILES", {})
    file = tmp_path / "mine.py"
    file.write_text(SOURCE, encoding="utf-8")
    run(file)
    yield file
    for entries in (neurons.NEURONS, neurons.SURROGATES, modeling.ENCODERS, modeling.ATTENTIONS):
        for name in SETTINGS.values():
            entries.pop(name, None)


def run(file):
    spec = importlib.util.spec_from_file_location(file.stem, file)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def student(**settings):
    torch.manual_seed(0)
    return SpikeBertForSequenceClassification(
        SpikeBertConfig(vocab_size=37, num_labels=3, **SMALL | settings)
    )


def batch():
    ids = torch.randint(1, 37, (5, 7), generator=torch.Generator().manual_seed(1))
    return ids, torch.ones_like(ids)


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize("setting", SETTINGS)
def test_each_part_trains_where_a_compiler_is(setting):
    model, (ids, mask) = fuse(student(**{setting: SETTINGS[setting]})).train(), batch()
    with torch.autocast("cpu", torch.bfloat16):
        model(ids, mask, labels=torch.tensor([0, 1, 2, 0, 1])).loss.backward()
    named = dict(model.named_parameters())
    if setting == "attention":  # nothing comes out, so nothing goes back
        named = {n: p for n, p in named.items() if ".attention." not in n}
    assert [n for n, p in named.items() if p.grad is None] == []


@pytest.mark.usefixtures("mine")
def test_a_neuron_of_ones_own_is_probed_and_leaves_early():
    model, (ids, mask) = student(neuron="adaptive", neuron_options={"rise": 0.1}).eval(), batch()
    with spike_counts(model) as counts, torch.no_grad():
        expected = model(ids, mask).logits
    assert len(counts) == 2 * 7
    logits, used = exit_early(model, ids, mask, margin=2.0)
    assert used.tolist() == [3] * 5
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)


def test_a_folder_names_its_plugin_and_is_refused_without_it(mine, tmp_path, monkeypatch):
    model, (ids, mask) = student(neuron="adaptive", surrogate="flat").eval(), batch()
    model.save_pretrained(tmp_path / "model")
    kind = SpikeBertForSequenceClassification
    loaded = load_model(kind, tmp_path / "model")
    assert list(loaded.config.plugins) == ["mine.py"]
    with torch.no_grad():
        assert torch.equal(loaded(ids, mask).logits, model(ids, mask).logits)
    mine.write_text(SOURCE + "# another\n", encoding="utf-8")
    run(mine)
    with pytest.raises(UserError, match=r"(?s)plugin mine\.py.*got: +one with SHA-256"):
        load_model(kind, tmp_path / "model")
    monkeypatch.setattr(plugins, "_FILES", {})
    with pytest.raises(UserError, match=r"(?s)plugin mine\.py.*none loaded.*--plugin mine\.py"):
        load_model(kind, tmp_path / "model")


@pytest.mark.usefixtures("mine")
def test_a_model_that_needs_no_plugin_names_none():
    assert student().config.plugins is None


def test_a_name_of_the_package_is_taken():
    with pytest.raises(UserError, match="neuron lif of"):
        neurons.register_neuron("lif", torch.nn.Identity)


def test_the_configuration_knows_the_parts_of_the_package():
    known = {
        registry.NEURONS: neurons.NEURONS,
        registry.SURROGATES: neurons.SURROGATES,
        registry.ENCODERS: modeling.ENCODERS,
        registry.ATTENTIONS: modeling.ATTENTIONS,
    }
    assert all(names == tuple(parts) for names, parts in known.items())
    assert set(SURROGATE_NUMBERS) <= set(registry.SURROGATES)
