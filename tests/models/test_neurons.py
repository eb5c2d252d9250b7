"""The LIF neuron against hand-computed traces, spikingjelly's, and the surrogates' formulas."""

import math

import pytest
import torch

from spikebert.errors import UserError
from spikebert.models.neurons import LIF, SURROGATES, lif, lif_step, spike


def test_hand_trace_soft_reset():
    x = torch.tensor([0.6, 0.6, 0.6, 0.0])
    # h: 0.6; 0.9*0.6+0.6=1.14 fires, v=0.14; 0.126+0.6=0.726; 0.6534
    spikes, v = lif(x[:, None], beta=0.9, threshold=1.0, reset="soft")
    assert spikes.flatten().tolist() == [0, 1, 0, 0]
    torch.testing.assert_close(v, torch.tensor([0.6534]))


def test_hand_trace_hard_reset_and_decayed_input():
    # beta 0.5: h = 0.5 v + 0.5 x: 1.5 fires and resets to 0; 0.5; 0.25 + 1.0 = 1.25 fires
    x = torch.tensor([[3.0], [1.0], [2.0]])
    spikes, v = lif(x, beta=0.5, threshold=1.0, reset="hard", decay_input=True)
    assert spikes.flatten().tolist() == [1, 0, 1]
    assert v.item() == 0


def test_threshold_itself_fires():
    s, v = lif_step(torch.tensor([0.25]), torch.tensor([0.0]), beta=0.9, threshold=0.25)
    assert s.item() == 1
    assert v.item() == 0


def test_state_goes_on_where_it_was_left():
    x = torch.randn(7, 13, 5, generator=torch.Generator().manual_seed(0))
    whole, end = lif(x, beta=0.8)
    first, v = lif(x[:3], beta=0.8)
    second, v = lif(x[3:], v, beta=0.8)
    assert torch.equal(whole, torch.cat([first, second]))
    assert torch.equal(end, v)


DERIVATIVES = {
    "atan": lambda u, a: (a / 2) / (1 + (math.pi / 2 * a * u) ** 2),
    "sigmoid": lambda u, a: a * math.exp(-a * u) / (1 + math.exp(-a * u)) ** 2,
    "triangle": lambda u, a: a * max(0.0, 1 - a * abs(u)),
    "rectangle": lambda u, a: a * (abs(u) < 1 / (2 * a)),
}


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_gradient_is_the_surrogate(name, alpha):
    u = torch.tensor([-1.3, -0.2, 0.0, 0.2, 1.3], dtype=torch.float64, requires_grad=True)
    s = spike(u, name, alpha)
    assert s.tolist() == [0, 0, 1, 1, 1]
    s.sum().backward()
    expected = torch.tensor([DERIVATIVES[name](v, alpha) for v in u.tolist()], dtype=torch.float64)
    torch.testing.assert_close(u.grad, expected)


@pytest.mark.parametrize("name", ["atan", "sigmoid", "triangle", "rectangle"])
def test_surrogate_is_a_density(name):
    """Each derivative integrates to 1: its spike is a step of height 1."""
    u = torch.linspace(-2000, 2000, 8_000_001, dtype=torch.float64)
    total = torch.trapezoid(SURROGATES[name](u, 2.0), u)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-3, rtol=0)


def settings_grid():
    for reset in ("soft", "hard"):
        for decay_input in (False, True):
            for detach_reset in (True, False):
                yield {"reset": reset, "decay_input": decay_input, "detach_reset": detach_reset}


@pytest.mark.parametrize("settings", settings_grid())
@pytest.mark.parametrize(("beta", "threshold"), [(0.9, 1.0), (0.5, 0.25)])
def test_equals_spikingjelly(settings, beta, threshold):
    from spikingjelly.activation_based import functional, surrogate

    x = torch.randn(5, 13, 7, generator=torch.Generator().manual_seed(1))
    weight = torch.randn(5, 13, 7, generator=torch.Generator().manual_seed(2))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    s, v = lif(ours, beta=beta, threshold=threshold, **settings)
    (s * weight).sum().backward()
    expected, v_expected, _ = functional.lif_multi_step(
        theirs,
        torch.zeros_like(x[0]),
        tau=1 / (1 - beta),
        decay_input=settings["decay_input"],
        v_threshold=threshold,
        v_reset=None if settings["reset"] == "soft" else 0.0,
        surrogate_function=surrogate.ATan(alpha=2.0),
        detach_reset=settings["detach_reset"],
    )
    (expected * weight).sum().backward()
    assert torch.equal(s, expected)
    torch.testing.assert_close(v, v_expected)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)


def test_layer_starts_at_rest_each_time():
    layer = LIF(beta=0.9)
    x = torch.full((4, 3), 0.4)
    assert torch.equal(layer(x)[0], layer(x)[0])


def test_unknown_surrogate_names_the_known_ones():
    with pytest.raises((ValueError, UserError), match="atan, sigmoid, triangle, rectangle"):
        LIF(surrogate="step")
