"""Spikes and the derivatives that stand in for theirs.

    forward    s = Heaviside(u) = 1 where u >= 0, else 0
    backward   ds/du := g(u, alpha)

Add a surrogate by adding its derivative to `SURROGATES`, or by `register_surrogate` in a file of
your own; `model.surrogate` then names it. spikingjelly's are known as `sj.Sigmoid` and so on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...config.plugins import part


def atan(u: Tensor, alpha: float) -> Tensor:
    """(alpha / 2) / (1 + (pi alpha u / 2)^2); Fang et al. (2021), the paper's, with alpha 2."""
    return (alpha / 2) / (1 + (math.pi / 2 * alpha * u).square())


def sigmoid(u: Tensor, alpha: float) -> Tensor:
    """alpha sigma(alpha u) (1 - sigma(alpha u)), the derivative of the logistic function."""
    s = torch.sigmoid(alpha * u)
    return alpha * s * (1 - s)


def triangle(u: Tensor, alpha: float) -> Tensor:
    """alpha max(0, 1 - alpha |u|); Bellec et al. (2018)."""
    return alpha * (1 - alpha * u.abs()).clamp_min(0)


def rectangle(u: Tensor, alpha: float) -> Tensor:
    """alpha where |u| < 1 / (2 alpha), else 0; Wu et al. (2018)."""
    return alpha * (u.abs() < 0.5 / alpha).to(u.dtype)


Surrogate = Callable[[Tensor, float], Tensor]
SURROGATES: dict[str, Surrogate] = {
    "atan": atan,
    "sigmoid": sigmoid,
    "triangle": triangle,
    "rectangle": rectangle,
}


def derivative(name: str) -> Surrogate:
    """g of the surrogate that `model.surrogate` names.

    Raises:
        UserError: there is none of that name.
    """
    if name.startswith("sj."):
        from .spikingjelly import surrogate_derivative

        return surrogate_derivative(name)
    surrogate: Surrogate = part("surrogate", name, SURROGATES)
    return surrogate


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, surrogate: Surrogate, alpha: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.surrogate, ctx.alpha = surrogate, alpha
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (u,) = ctx.saved_tensors
        return grad * ctx.surrogate(u.float(), ctx.alpha).to(grad.dtype), None, None


def spike(u: Tensor, surrogate: str = "atan", alpha: float = 2.0) -> Tensor:
    """Heaviside(u) of any shape, 0 or 1 in u's dtype, with the surrogate's gradient."""
    return _Spike.apply(u, derivative(surrogate), alpha)
