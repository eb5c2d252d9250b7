"""The leaky integrate-and-fire neuron.

    h[t] = beta v[t-1] + g x[t]        g = 1, or 1 - beta with decay_input
    s[t] = Heaviside(h[t] - U_thr)
    v[t] = h[t] - U_thr s[t]           soft reset (the paper's equation)
    v[t] = h[t] (1 - s[t])             hard reset (the paper's code)

beta = 1 - 1/tau; v[0] = 0. Time is the first axis. Equal to spikingjelly's `LIFNode` with
`tau = 1 / (1 - beta)`, which the tests compare it with.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from .surrogate import derivative, spike


def lif_step(
    x: Tensor,
    v: Tensor,
    beta: float,
    threshold: float = 1.0,
    reset: str = "soft",
    decay_input: bool = False,
    detach_reset: bool = True,
    surrogate: str = "atan",
    alpha: float = 2.0,
) -> tuple[Tensor, Tensor]:
    """One time step: current x and membrane v, of one shape, to (spikes, membrane after reset)."""
    h = beta * v + ((1 - beta) * x if decay_input else x)
    s = spike(h - threshold, surrogate, alpha)
    r = s.detach() if detach_reset else s
    return s, h - threshold * r if reset == "soft" else h * (1 - r)


def lif(x: Tensor, v: Tensor | None = None, **settings: Any) -> tuple[Tensor, Tensor]:
    """T steps of `lif_step`: x [T, ...] -> spikes [T, ...] in x's dtype, final membrane [...].

    The membrane is float32 (or float64 for a float64 input) whatever the input is.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    v = torch.zeros_like(x[0], dtype=dtype) if v is None else v
    spikes = []
    for current in x.to(dtype):
        s, v = lif_step(current, v, **settings)
        spikes.append(s)
    return torch.stack(spikes).to(x.dtype), v


class LIF(nn.Module):
    """A layer of LIF neurons; its state is the membrane."""

    def __init__(
        self,
        beta: float = 0.9,
        threshold: float = 1.0,
        reset: str = "soft",
        decay_input: bool = False,
        detach_reset: bool = True,
        surrogate: str = "atan",
        alpha: float = 2.0,
    ):
        given: dict[str, Any] = dict(locals())
        super().__init__()
        derivative(surrogate)  # names the known ones if this is none
        self.settings = {name: given[name] for name in inspect.signature(LIF).parameters}

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Currents [T, ...] -> spikes [T, ...] of x's dtype, and the membrane [...] after them."""
        return lif(x, state, **self.settings)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.settings.items())
