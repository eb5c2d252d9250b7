"""The LIF neuron of `lif.py` as one compiled, differentiable operation for training.

Only u = h - U_thr is kept for the backward pass, in the input's dtype; the backward pass is
written out:

    dL/dh[t]   = dL/ds[t] g(u[t]) + dL/dv[t] dv/dh[t]
    dv/dh      = 1 (soft) or 1 - s (hard), less the reset's own path, U_thr g or h g, if attached
    dL/dv[t-1] = beta dL/dh[t],    dL/dx[t] = gain dL/dh[t]

torch.compile turns each pass into one loop; it needs a C++ compiler on a CPU (see `available`).
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .surrogate import SURROGATES, Surrogate


def available() -> bool:
    """Whether this machine can compile: a GPU's Triton, or a C++ compiler."""
    return torch.cuda.is_available() or any(map(shutil.which, ("g++", "clang++")))


@functools.cache
def _compiled(function: Callable) -> Callable:
    return torch.compile(function, dynamic=True)


def forward_pass(
    x: Tensor, beta: float, gain: float, threshold: float, hard: bool
) -> tuple[Tensor, Tensor]:
    """Currents x [T, ...] -> spikes and u = h - U_thr, both [T, ...] in x's dtype."""
    wide = torch.promote_types(x.dtype, torch.float32)
    spikes, distances = [], []
    v = torch.zeros_like(x[0], dtype=wide)
    for current in x:
        h = beta * v + gain * current
        u = h - threshold
        s = u >= 0
        spikes.append(s.to(x.dtype))
        distances.append(u.to(x.dtype))
        v = torch.where(s, 0.0 if hard else u, h)
    return torch.stack(spikes), torch.stack(distances)


def backward_pass(
    grad: Tensor,
    distance: Tensor,
    beta: float,
    gain: float,
    threshold: float,
    hard: bool,
    detached: bool,
    surrogate: Surrogate,
    alpha: float,
) -> Tensor:
    """dL/ds and u, both [T, ...] -> dL/dx [T, ...] in grad's dtype."""
    wide = torch.promote_types(grad.dtype, torch.float32)
    grads: list[Tensor] = []
    grad_v = torch.zeros_like(grad[0], dtype=wide)
    for t in range(grad.shape[0] - 1, -1, -1):
        u = distance[t].to(wide)
        slope = surrogate(u, alpha)
        grad_h = slope * grad[t] + (torch.where(u >= 0, 0.0, grad_v) if hard else grad_v)
        if not detached:
            grad_h = grad_h - grad_v * slope * (u + threshold if hard else threshold)
        grads.append((gain * grad_h).to(grad.dtype))
        grad_v = beta * grad_h
    return torch.stack(grads[::-1])


class _FusedLIF(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *constants: Any) -> Tensor:
        beta, gain, threshold, hard, *_ = constants
        spikes, distance = _compiled(forward_pass)(x, beta, gain, threshold, hard)
        ctx.save_for_backward(distance)
        ctx.constants = constants
        return spikes

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (distance,) = ctx.saved_tensors
        return _compiled(backward_pass)(grad.contiguous(), distance, *ctx.constants), *[None] * 7


def fused_lif(
    x: Tensor,
    beta: float,
    threshold: float = 1.0,
    reset: str = "soft",
    decay_input: bool = False,
    detach_reset: bool = True,
    surrogate: str = "atan",
    alpha: float = 2.0,
) -> Tensor:
    """Spikes [T, ...] of currents x [T, ...], in x's dtype; the membrane is at least float32."""
    gain = 1 - beta if decay_input else 1.0
    kind = SURROGATES[surrogate]
    flat = x.reshape(x.shape[0], -1)
    out = _FusedLIF.apply(flat, beta, gain, threshold, reset == "hard", detach_reset, kind, alpha)
    return out.view(x.shape)
