"""Spiking self-attention (Zhou et al., 2023, in the N x N form of Lv et al., 2023).

    Q, K, V = SN(LN(X W_q)), SN(LN(X W_k)), SN(LN(X W_v))        binary, [T, B, H, N, D/H]
    Y       = SN'(scale (Q K^T) V)                               no softmax
    out     = LN(Y W_o)                                          a current; the block adds SN

Without a softmax (Q K^T) V = Q (K^T V) exactly: counts of spikes are integers. `product`
therefore multiplies in the order that costs less, unless it is told which.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from .neurons import fire


def product_macs(tokens: int, head_dim: int) -> dict[str, int]:
    """Multiply-accumulates of one head at one step, by order of multiplication."""
    return {
        "qk_first": 2 * tokens * tokens * head_dim,
        "kv_first": 2 * tokens * head_dim * head_dim,
    }


def product(q: Tensor, k: Tensor, v: Tensor, order: str = "auto") -> Tensor:
    """Q K^T V over tokens: three [..., N, d] -> [..., N, d].

    The orders agree exactly as long as the counts, at most N d, are exact in the dtype: up to
    2^24 in float32, 2^8 in bfloat16, beyond which bfloat16 rounds.
    """
    if order == "auto":
        macs = product_macs(*q.shape[-2:])
        order = min(macs, key=macs.__getitem__)
    if order == "qk_first":
        return (q @ k.mT) @ v
    return q @ (k.mT @ v)


class Projection(nn.Module):
    """LN(X W): a linear layer and its normalisation, in place of Spikformer's conv and BN."""

    def __init__(self, inputs: int, outputs: int, eps: float = 1e-5):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.norm = nn.LayerNorm(outputs, eps=eps)

    def forward(self, x: Tensor, neuron: nn.Module | None = None, steps: int = 0) -> Tensor:
        """[T, ..., inputs] -> currents [T, ..., outputs] or, with a neuron, their spikes; an x of
        one step then stands for `steps` equal ones."""
        y = self.linear(x)
        return self.norm(y) if neuron is None else fire(neuron, y, self.norm, steps)


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
    ) -> Tensor:
        """x [T or 1, B, N, D], mask [B, N] (1 for tokens, 0 for padding) -> [T, B, N, D], a current
        or, with a neuron, its spikes.

        An x of one step stands for `timesteps` equal ones; its linears then run only once.
        Padding is left out exactly, since its rows of K and V are zero.
        """
        q = self.query(x, self.query_neuron, timesteps)
        k = self.key(x, self.key_neuron, timesteps)
        v = self.value(x, self.value_neuron, timesteps)
        if mask is not None:
            keep = mask[None, :, :, None].to(k.dtype)
            k, v = k * keep, v * keep
        context = product(self.split(q), self.split(k), self.split(v), self.order)
        context = context.transpose(2, 3).flatten(-2)
        return self.output(self.attention_neuron(context * self.scale), neuron)
