"""Spiking self-attention (Zhou et al., 2023, in the N x N form of Lv et al., 2023).

    Q, K, V = SN(LN(X W_q)), SN(LN(X W_k)), SN(LN(X W_v))        binary, [T, B, H, N, D/H]
    Y       = SN'(scale (Q K^T) V)                               no softmax
    out     = LN(Y W_o)                                          a current; the block adds SN

Without a softmax (Q K^T) V = Q (K^T V) exactly: counts of spikes are integers. `product`
therefore multiplies in the order that costs less, unless it is told which.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .flops import product_macs
from .neurons import Spiking, State


def product(q: Tensor, k: Tensor, v: Tensor, order: str = "auto") -> Tensor:
    """Q K^T V over tokens: three [..., N, d] -> [..., N, d].

    The orders agree exactly as long as the counts, at most N d, are exact in the dtype: up to
    2^24 in float32, 2^8 in bfloat16, beyond which bfloat16 rounds.
    """
    macs = product_macs(q.shape[-2], q.shape[-1])
    if order == "auto" and torch.compiler.is_exporting():
        order = "kv_first"  # for any length
    if order == "auto":
        order = min(macs, key=macs.__getitem__)
    return (q @ k.mT) @ v if order == "qk_first" else q @ (k.mT @ v)


class Projection(nn.Module):
    """LN(X W): a linear layer and its normalisation, in place of Spikformer's conv and BN."""

    def __init__(self, inputs: int, outputs: int, eps: float = 1e-5):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.norm = nn.LayerNorm(outputs, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """[T, ..., inputs] -> currents [T, ..., outputs]."""
        once = one_step(x)
        y: Tensor = self.norm(self.linear(once))
        return y.expand(len(x), *y.shape[1:])


def one_step(x: Tensor) -> Tensor:
    """x [T, ...], or its first step alone, [1, ...], where all are views of that one (`expand`)."""
    return x[:1] if x.stride(0) == 0 else x


class SpikingSelfAttention(Spiking, nn.Module):
    """Spikes in, a current out.

    `neuron(threshold)` builds a layer of neurons; `threshold` is theirs for Q, K and V,
    `attention_threshold` for the neuron after attention.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        neuron: Callable[[float], nn.Module],
        threshold: float = 1.0,
        attention_threshold: float = 0.25,
        scale: float = 0.125,
        order: str = "auto",
    ):
        super().__init__()
        self.heads, self.scale, self.order = heads, scale, order
        self.query, self.key, self.value = (Projection(width, width) for _ in range(3))
        self.query_neuron, self.key_neuron, self.value_neuron = (
            neuron(threshold) for _ in range(3)
        )
        self.attention_neuron = neuron(attention_threshold)
        self.output = Projection(width, width)

    def split(self, x: Tensor) -> Tensor:
        """[T, B, N, D] -> [T, B, H, N, D/H]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(2, 3)

    def forward(self, x: Tensor, mask: Tensor | None = None, state: State | None = None) -> Tensor:
        """x [T, B, N, D], mask [B, N] (1 for tokens, 0 for padding) -> a current [T, B, N, D]."""
        current: Tensor = self.output(self.context(x, mask, state))
        return current

    def context(self, x: Tensor, mask: Tensor | None = None, state: State | None = None) -> Tensor:
        """SN'(scale Q K^T V), [T, B, N, D]. Padding is left out exactly: its K and V are zero."""
        q = self.fire(self.query_neuron, self.query(x), state)
        k = self.fire(self.key_neuron, self.key(x), state)
        v = self.fire(self.value_neuron, self.value(x), state)
        if mask is not None:
            keep = mask[None, :, :, None].to(k.dtype)
            k, v = k * keep, v * keep
        context = product(self.split(q), self.split(k), self.split(v), self.order)
        context = context.transpose(2, 3).flatten(-2)
        return self.fire(self.attention_neuron, context * self.scale, state)
