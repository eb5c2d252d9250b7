"""Spiking self-attention (Zhou et al., 2023, in the N x N form of Lv et al., 2023).

    Q, K, V = SN(LN(X W_q)), SN(LN(X W_k)), SN(LN(X W_v))        binary, [T, B, H, N, D/H]
    Y       = SN'(scale (Q K^T) V)                               no softmax
    out     = LN(Y W_o)                                          a current; the block adds SN

Without a softmax (Q K^T) V = Q (K^T V) exactly: counts of spikes are integers. `product`
therefore multiplies in the order that costs less, unless it is told which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

from torch import Tensor, nn

from ..kernels.ops import attend, counts_spikes, merge, norm_lif, project
from .flops import product_macs
from .neurons import LIF, fire, is_lif
from .neurons.fused import has_kernel


def product(q: Tensor, k: Tensor, v: Tensor, order: str = "auto") -> Tensor:
    """Q K^T V over tokens: three [..., N, d] -> [..., N, d].

    The orders agree exactly as long as the counts, at most N d, are exact in the dtype: up to
    2^24 in float32, 2^8 in bfloat16, beyond which bfloat16 rounds.
    """
    if cheaper(q.shape[-2], q.shape[-1], order) == "qk_first":
        return (q @ k.mT) @ v
    return q @ (k.mT @ v)


def cheaper(tokens: int, width: int, order: str = "auto") -> str:
    """The order that costs less for heads of `width`, unless one is asked for."""
    macs = product_macs(tokens, width)
    return min(macs, key=macs.__getitem__) if order == "auto" else order


def fusible(neuron: nn.Module, x: Tensor) -> TypeGuard[LIF]:
    """Whether the kernel may take the place of what stands around this neuron."""
    return is_lif(neuron) and neuron.fused and has_kernel(x)


class Projection(nn.Module):
    """LN(X W): a linear layer and its normalisation, in place of Spikformer's conv and BN."""

    def __init__(self, inputs: int, outputs: int, eps: float = 1e-5):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.norm = nn.LayerNorm(outputs, eps=eps)

    def forward(
        self,
        x: Tensor,
        neuron: nn.Module | None = None,
        steps: int = 0,
        residual: Tensor | None = None,
    ) -> Tensor:
        """[T, ..., inputs] -> currents [T, ..., outputs] or, with a neuron, their spikes and the
        residual, if any; an x of one step then stands for `steps` equal ones."""
        if neuron is not None and fusible(neuron, x):
            return project(
                x, [(self.linear, self.norm)], steps=steps, residual=residual, **neuron.settings
            )[0]
        y = self.linear(x)
        if neuron is None:
            return self.norm(y)
        spikes = fire(neuron, y, self.norm, steps)
        return spikes if residual is None else residual + spikes


class SpikingSelfAttention(nn.Module):
    """Spikes in, a current out, or its spikes.

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

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        timesteps: int = 0,
        neuron: nn.Module | None = None,
        residual: Tensor | None = None,
    ) -> Tensor:
        """x [T or 1, B, N, D], mask [B, N] (1 for tokens, 0 for padding) -> [T, B, N, D], a current
        or, with a neuron, its spikes and the residual, if any.

        An x of one step stands for `timesteps` equal ones; its linears then run only once.
        Padding is left out exactly, since its rows of K and V are zero.
        """
        fused = fusible(self.query_neuron, x)
        spikes = (
            self.fused_context(x, mask, timesteps) if fused else self.context(x, mask, timesteps)
        )
        return self.output(spikes, neuron, residual=residual)

    def context(self, x: Tensor, mask: Tensor | None, timesteps: int) -> Tensor:
        """SN'(scale Q K^T V), [T, B, N, D]."""
        q = self.query(x, self.query_neuron, timesteps)
        k = self.key(x, self.key_neuron, timesteps)
        v = self.value(x, self.value_neuron, timesteps)
        if mask is not None:
            keep = mask[None, :, :, None].to(k.dtype)
            k, v = k * keep, v * keep
        context = product(self.split(q), self.split(k), self.split(v), self.order)
        context = context.transpose(2, 3).flatten(-2)
        spikes: Tensor = self.attention_neuron(context * self.scale)
        return spikes

    def fused_context(self, x: Tensor, mask: Tensor | None, timesteps: int) -> Tensor:
        """The same of fused LIF neurons: one product for Q, K and V, and no copy to split heads,
        leave padding out or scale; spikes in bfloat16 are counted by `attend`, where it runs."""
        assert isinstance(self.query_neuron, LIF)
        assert isinstance(self.attention_neuron, LIF)
        layers = [(p.linear, p.norm) for p in (self.query, self.key, self.value)]
        width = self.query.linear.out_features // self.heads
        first = cheaper(x.shape[2], width, self.order)
        counted = first == "qk_first" and counts_spikes(x, self.heads)
        heads, settings = 0 if counted else self.heads, self.query_neuron.settings
        q, k, v = project(x, layers, heads, mask, timesteps, **settings)
        if counted:
            context = attend(q, k, v, self.heads)
            return norm_lif(context, scale=self.scale, **self.attention_neuron.settings)
        context = product(q, k, v, self.order)
        return merge(context, self.scale, **self.attention_neuron.settings)
