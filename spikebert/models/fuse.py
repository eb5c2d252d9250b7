"""Fast forms of the student's layers, for training on a processor: the same values and gradients.

`fuse(model)` exchanges the classes of layers for those below, which call `kernels`, and
`fuse(model, fast=False)` puts the plain ones back; weights and their names stay. A fast form looks
anew at every call whether the kernel knows all that it would stand for: `LIF` itself with a
surrogate of the kernel's, linear layers and norms as torch has them, nobody's hooks on them, and no
state asked for. Whatever else comes runs as it is written in `modeling`: adapters in a linear
layer, a neuron or surrogate of one's own, a measurement by hooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from ..kernels.build import library
from ..kernels.ops import DTYPES, SURROGATE_NUMBERS, merge, norm_lif, project
from .attention import Projection, SpikingSelfAttention, one_step, product
from .modeling import SpikeBertBlock, SpikeBertEmbeddings, SpikingMlp
from .neurons import LIF, Spiking, State

Model = TypeVar("Model", bound=nn.Module)
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _bare(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module is of this very class, and calling it does what its class says."""
    return type(module) is kind and not any(getattr(module, hooks) for hooks in HOOKS)


def _known(
    x: Tensor, state: State | None, neurons: list[Any], projections: Sequence[Projection] = ()
) -> bool:
    """Whether the kernel can compute these neurons, and the projections before them, of x."""
    return (
        state is None
        and x.device.type == "cpu"
        and x.dtype in DTYPES
        and library() is not None
        and all(_bare(n, LIF) and n.settings["surrogate"] in SURROGATE_NUMBERS for n in neurons)
        and all(
            _bare(p, Projection)
            and _bare(p.linear, nn.Linear)
            and p.linear.bias is not None
            and _bare(p.norm, nn.LayerNorm)
            for p in projections
        )
    )


def fire_projection(
    x: Tensor, projection: Projection, neuron: Any, residual: Tensor | None = None
) -> Tensor:
    """SN(LN(x W)) and the residual, if any: x [T, B, N, K] -> [T, B, N, D]."""
    (spikes,) = project(
        one_step(x),
        [(projection.linear, projection.norm)],
        steps=len(x),
        residual=None if residual is None else one_step(residual),
        **neuron.settings,
    )
    return spikes


class _Fused(Spiking):
    def fire(self, neuron: Any, x: Tensor, state: State | None = None) -> Tensor:
        if not _known(x, state, [neuron]):
            return super().fire(neuron, x, state)
        return norm_lif(one_step(x), steps=len(x), **neuron.settings)


class FusedEmbeddings(_Fused, SpikeBertEmbeddings):
    """Neurons in one pass over memory."""


class FusedAttention(_Fused, SpikingSelfAttention):
    """One product for Q, K and V, and no copy to split heads, leave padding out or scale."""

    def context(self, x: Tensor, mask: Tensor | None = None, state: State | None = None) -> Tensor:
        projections = [self.query, self.key, self.value]
        neurons: list[Any] = [self.query_neuron, self.key_neuron, self.value_neuron]
        after: Any = self.attention_neuron
        if not _known(x, state, [*neurons, after], projections) or any(
            n.settings != neurons[0].settings for n in neurons
        ):
            return super().context(x, mask, state)
        layers = [(p.linear, p.norm) for p in projections]
        q, k, v = project(one_step(x), layers, self.heads, mask, len(x), **neurons[0].settings)
        return merge(product(q, k, v, self.order), self.scale, **after.settings)


class FusedMlp(_Fused, SpikingMlp):
    """The hidden layer's product, norm and neurons as one operation."""

    def hidden(self, x: Tensor, state: State | None = None) -> Tensor:
        if not _known(x, state, [self.neuron], [self.up]):
            return super().hidden(x, state)
        return fire_projection(x, self.up, self.neuron)


class FusedBlock(_Fused, SpikeBertBlock):
    """Likewise each sub-block's last layer, with the sum that it goes into."""

    def forward(self, x: Tensor, mask: Tensor | None, state: State | None = None) -> Tensor:
        attention, mlp = self.attention, self.mlp
        first, second = self.attention_residual, self.mlp_residual
        if (
            self.membrane  # the sum comes before the neuron
            or (self.training and self.dropout.p)  # comes between the norm and the neuron
            or not (_bare(attention, FusedAttention) and _bare(mlp, FusedMlp))
            or not _known(x, state, [first, second], [attention.output, mlp.down])
        ):
            return super().forward(x, mask, state)
        x = fire_projection(attention.context(x, mask), attention.output, first, x)
        return fire_projection(mlp.hidden(x), mlp.down, second, x)


FORMS: dict[type[nn.Module], type[nn.Module]] = {
    SpikeBertEmbeddings: FusedEmbeddings,
    SpikingSelfAttention: FusedAttention,
    SpikingMlp: FusedMlp,
    SpikeBertBlock: FusedBlock,
}
PLAIN = {fast: plain for plain, fast in FORMS.items()}


def fuse(model: Model, fast: bool = True) -> Model:
    """Exchange layers for their fast forms, in place, or with `fast=False` for the plain ones."""
    forms = FORMS if fast else PLAIN
    for module in model.modules():
        if kind := forms.get(type(module)):
            module.__class__ = kind
    return model
