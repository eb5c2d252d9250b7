"""The LIF neuron of `lif.py`, with the layer norm before it, as one operation for training.

On a CPU it is `kernel.cpp`. On a GPU torch.compile turns the two passes below into one loop each;
there only u = h - U_thr is kept for the backward pass, in the input's dtype:

    dL/dh[t]   = dL/ds[t] g(u[t]) + dL/dv[t] dv/dh[t]
    dv/dh      = 1 (soft) or 1 - s (hard), less the reset's own path, U_thr g or h g, if attached
    dL/dv[t-1] = beta dL/dh[t],    dL/dx[t] = gain dL/dh[t]
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...kernels.ops import DTYPES, compiler, library, norm_lif
from .surrogate import SURROGATES, Surrogate


def available() -> bool:
    """Whether this machine can run it: a GPU's Triton, or a kernel that a C++ compiler built."""
    return torch.cuda.is_available() or (compiler() is not None and library() is not None)


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


def has_kernel(x: Tensor) -> bool:
    """Whether the C++ kernel can take x."""
    return x.device.type == "cpu" and x.dtype in DTYPES and library() is not None


def fused_lif(
    x: Tensor, norm: nn.LayerNorm | None = None, steps: int = 0, **settings: Any
) -> Tensor:
    """Spikes [T, ..., D] of currents x, or of norm(x), in x's dtype; the membrane is float32.

    x is [T, ..., D], or [1, ..., D] for `steps` equal steps. `settings` are `lif_step`'s, all of
    them.
    """
    if has_kernel(x):
        weight, bias, eps = (
            (None, None, 0.0) if norm is None else (norm.weight, norm.bias, norm.eps)
        )
        return norm_lif(x, weight, bias, steps, eps, **settings)
    if norm is not None:
        x = norm(x)
    x = x.expand(max(steps, x.shape[0]), *x.shape[1:])
    beta = settings["beta"]
    out = _FusedLIF.apply(
        x.reshape(x.shape[0], -1),
        beta,
        1 - beta if settings["decay_input"] else 1.0,
        settings["threshold"],
        settings["reset"] == "hard",
        settings["detach_reset"],
        SURROGATES[settings["surrogate"]],
        settings["alpha"],
    )
    return out.view(x.shape)
