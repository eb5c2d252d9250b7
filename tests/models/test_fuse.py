"""Fast forms: exchanged and put back, and nothing that the kernel does not know is passed over."""

import pytest
import torch
from torch import nn

from spikebert.config import plugins
from spikebert.kernels.build import library
from spikebert.models import fuse as module
from spikebert.models.configuration import SpikeBertConfig
from spikebert.models.fuse import FORMS, PLAIN, fuse
from spikebert.models.modeling import SpikeBertForSequenceClassification
from spikebert.models.neurons import LIF, NEURONS, SURROGATES

SMALL = {"hidden_size": 26, "num_hidden_layers": 2, "num_attention_heads": 2, "timesteps": 3}
needs_compiler = pytest.mark.skipif(library() is None, reason="no compiler")


def student(**settings):
    torch.manual_seed(0)
    return SpikeBertForSequenceClassification(
        SpikeBertConfig(vocab_size=37, num_labels=3, **SMALL | settings)
    )


def batch():
    generator = torch.Generator().manual_seed(1)
    mask = (torch.arange(7) < torch.tensor([7, 3, 5])[:, None]).long()
    return torch.randint(1, 37, mask.shape, generator=generator) * mask, mask


@pytest.fixture
def calls(monkeypatch):
    """The names of the kernel's functions that are called."""
    found = []
    for name in ("project", "norm_lif", "merge"):
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *a, n=name, f=real, **k: found.append(n) or f(*a, **k)
        )
    return found


def trained(model):
    """Logits and gradients of one pass."""
    ids, mask = batch()
    out = model(ids, mask, labels=torch.tensor([0, 1, 2]))
    out.loss.backward()
    return out.logits.detach(), {n: p.grad for n, p in model.named_parameters()}


def test_names_and_values_stay_and_come_back():
    model = student()
    before, kinds = model.state_dict(), [type(m) for m in model.modules()]
    fuse(model)
    assert {type(m) for m in model.modules()} >= set(PLAIN)
    assert not {type(m) for m in model.modules()} & set(FORMS)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(after[name].data_ptr() == value.data_ptr() for name, value in before.items())
    assert [type(m) for m in fuse(model, fast=False).modules()] == kinds


@needs_compiler
def test_the_kernel_runs_all_of_a_student_that_it_knows(calls):
    model = fuse(student(encoder="lif"))
    trained(model)
    per_block = ["project", "merge", "project", "project", "project"]
    assert calls == ["norm_lif", *per_block * 2]


@needs_compiler
def test_one_head_is_fused_as_several_are(calls):
    plain, expected = trained(student(num_attention_heads=1))
    found, gradients = trained(fuse(student(num_attention_heads=1)))
    assert "merge" in calls
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-6)
    for name, value in expected.items():
        torch.testing.assert_close(gradients[name], value, rtol=1e-4, atol=1e-5, msg=name)


@needs_compiler
@pytest.mark.parametrize("what", ["linear", "norm", "hook", "neuron", "threshold", "bias"])
def test_what_the_kernel_does_not_know_runs_as_written(what):
    """Each change is felt: fused and plain agree, and differ from the student without it."""

    class Adapted(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 0.5

    class Doubled(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x) * 2

    class Late(LIF):
        def forward(self, x, state=None):
            return super().forward(x - 0.5, state)

    def change(model):
        for block in model.spikebert.blocks:
            up = block.mlp.up
            if what == "linear":
                up.linear.__class__ = Adapted
                block.attention.value.linear.__class__ = Adapted
                up.norm.elementwise_affine = True
            elif what == "norm":
                up.norm.__class__ = Doubled
                block.attention.output.norm.__class__ = Doubled
            elif what == "hook":
                up.register_forward_hook(lambda _, __, y: y + 0.5)
                block.attention.register_forward_hook(lambda _, __, y: y + 0.5)
            elif what == "neuron":
                block.mlp.neuron.__class__ = Late
                block.attention.key_neuron.__class__ = Late
            elif what == "threshold":
                block.attention.value_neuron.settings["threshold"] = 0.2
            else:
                up.linear.bias = None
                up.norm.bias.data.fill_(0.5)
        return model

    unchanged = trained(student())[0]
    plain, expected = trained(change(student()))
    assert not torch.equal(plain, unchanged)
    found, gradients = trained(change(fuse(student())))
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-6)
    for name, value in expected.items():
        atol = 1e-3 * value.abs().max().item()  # see test_fused_student_equals_the_plain_one
        torch.testing.assert_close(gradients[name], value, rtol=1e-4, atol=atol, msg=name)


def test_a_surrogate_that_is_added_trains_where_a_compiler_is(monkeypatch):
    monkeypatch.setitem(SURROGATES, "half", lambda u, alpha: torch.full_like(u, alpha / 4))
    monkeypatch.setitem(plugins._FILES, ("surrogate", "half"), None)
    plain, expected = trained(student(surrogate="half"))
    found, gradients = trained(fuse(student(surrogate="half")))
    assert torch.equal(found, plain)
    assert all(torch.equal(gradients[name], value) for name, value in expected.items())


def test_a_neuron_that_is_added_trains_where_a_compiler_is(monkeypatch):
    class Eager(LIF):
        def forward(self, x, state=None):
            return super().forward(x + 0.3, state)

    monkeypatch.setitem(NEURONS, "eager", Eager)
    monkeypatch.setitem(plugins._FILES, ("neuron", "eager"), None)
    plain = trained(student(neuron="eager"))[0]
    assert torch.equal(trained(fuse(student(neuron="eager")))[0], plain)
    assert not torch.equal(trained(student())[0], plain)


def test_steps_one_by_one_are_the_steps_together():
    """A fused student, too, hands its states on, in the plain form."""
    model, (ids, mask) = fuse(student(encoder="lif")).eval(), batch()
    with torch.no_grad():
        together = model(ids, mask, state={})
        state, logits = {}, []
        for _ in range(3):
            out = model(ids, mask, state=state, timesteps=1)
            state = out.state
            logits.append(out.step_logits)
        torch.testing.assert_close(torch.cat(logits), together.step_logits, rtol=1e-5, atol=1e-6)
        assert model(ids, mask).state is None
    assert state.keys() == together.state.keys()
    assert len(state) == 1 + 2 * 7


@needs_compiler
def test_frozen_weights_keep_no_input():
    model = fuse(student()).requires_grad_(False)
    saved = []
    x = (torch.rand(3, 5, 7, 26) < 0.5).float().requires_grad_()
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t)
    with hooks:
        y = model.spikebert.blocks[0].mlp.hidden(x)
    y.sum().backward()
    assert x.grad.isfinite().all()
    assert not any(t.shape == x.shape for t in saved)
    assert all(p.grad is None for p in model.parameters())
