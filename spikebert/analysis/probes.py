"""Measurements of a running model through hooks that come off again; nothing is threaded through
`forward`. Layers with hooks on them run in their plain form meanwhile, see `models.fuse`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..models.attention import SpikingSelfAttention
from ..models.neurons import neurons_of


@contextlib.contextmanager
def hooked(model: nn.Module, note: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Call note(layer, spikes [T, ...]) at every call of a layer of neurons within the block."""

    def hook(name: str) -> Callable[..., None]:
        return lambda _, __, out: note(name, out[0])

    with contextlib.ExitStack() as hooks:
        for name, layer in neurons_of(model):
            hooks.enter_context(layer.register_forward_hook(hook(name)))
        yield


@contextlib.contextmanager
def spike_counts(model: nn.Module) -> Iterator[dict[str, list[tuple[float, int]]]]:
    """Collect, per layer of neurons and call, (spikes, neurons x steps) while the block runs.

    Padding is counted too: measure sentences one at a time, or unpadded.
    """
    counts: dict[str, list[tuple[float, int]]] = {}

    def note(name: str, out: Tensor) -> None:
        spikes = out.sum(dtype=torch.float64).item()
        counts.setdefault(name, []).append((spikes, out.numel()))

    with hooked(model, note):
        yield counts


def spike_rate(counts: dict[str, list[tuple[float, int]]]) -> float | None:
    """Spikes per neuron and step over all layers; None for a model without spiking neurons."""
    pairs = [pair for layer in counts.values() for pair in layer]
    total = sum(size for _, size in pairs)
    return sum(spikes for spikes, _ in pairs) / total if total else None


@torch.inference_mode()
def spikes_of(model: nn.Module, input_ids: Tensor) -> tuple[Any, dict[str, Tensor]]:
    """One unpadded sentence [1, N] -> the model's output, and the spikes of every layer of neurons
    as bool [T, N, D of the layer], in the order in which they are computed."""
    spikes: dict[str, Tensor] = {}
    with hooked(model, lambda name, out: spikes.update({name: out[:, 0] > 0})):
        out = model(input_ids=input_ids)
    return out, spikes


def attention_maps(model: nn.Module, spikes: dict[str, Tensor]) -> Tensor:
    """Q K^T of every block, step and head, from what `spikes_of` gave: int16 [L, T, H, N, N].

    Row n, column m counts the neurons of the head that spike in the query of token n and in the key
    of token m; the model's scale is left out. L is 0 for a network without attention.
    """
    maps = []
    for name, module in model.named_modules():
        if isinstance(module, SpikingSelfAttention):
            q, k = (
                module.split(spikes[f"{name}.{kind}_neuron"][:, None].float())[:, 0]
                for kind in ("query", "key")
            )
            maps.append((q @ k.mT).to(torch.int16))
    return torch.stack(maps) if maps else torch.empty(0)


@torch.inference_mode()
def step_rates(model: nn.Module, sentences: Iterable[Tensor]) -> dict[str, Tensor]:
    """Spikes per neuron and token by layer and step, float64 [T], over unpadded sentences [1, N].

    Every token weighs the same, and with it a longer sentence more.
    """
    spikes: dict[str, Tensor] = {}
    sizes: dict[str, int] = {}

    def note(name: str, out: Tensor) -> None:
        spikes[name] = spikes.get(name, 0) + out.flatten(1).sum(1, dtype=torch.float64)
        sizes[name] = sizes.get(name, 0) + out[0].numel()

    with hooked(model, note):
        for input_ids in sentences:
            model(input_ids=input_ids)
    return {name: count / sizes[name] for name, count in spikes.items()}


class CrossProduct:
    """The sum over rows of (x - mean of x)(y - mean of y)^T, from rows that come in parts.

    Each part is centred by itself, and the distance of its mean from that of the rows before makes
    up for it (Chan et al., 1979), so that nothing cancels. Memory: [D_x, D_y] in float64.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.mean_x = self.mean_y = self.total = torch.zeros(())

    def add(self, x: Tensor, y: Tensor) -> None:
        """Rows x [n, D_x] and y [n, D_y]."""
        x, y = x.double(), y.double()
        mean_x, mean_y, rows = x.mean(0), y.mean(0), len(x)
        apart_x, apart_y = mean_x - self.mean_x, mean_y - self.mean_y
        share = rows / (self.rows + rows)
        between = self.rows * share * torch.outer(apart_x, apart_y)
        self.total = self.total + (x - mean_x).T @ (y - mean_y) + between
        self.mean_x = self.mean_x + share * apart_x
        self.mean_y = self.mean_y + share * apart_y
        self.rows += rows

    def norm(self) -> Tensor:
        return self.total.norm()


def linear_cka(parts: Iterable[tuple[Sequence[Tensor], Sequence[Tensor]]]) -> Tensor:
    """Linear CKA of every x with every y, float64 [L, L'] (Kornblith et al., 2019, section 3).

        CKA(X, Y) = || Y^T X ||_F^2 / (|| X^T X ||_F || Y^T Y ||_F),   columns centred

    `parts` gives the same rows of all L matrices x [n, D] and all L' matrices y [n, D'], some rows
    at a time. Independent noise of n rows comes out near sqrt(D D') / n, not at 0. A matrix of
    equal rows gives NaN.
    """
    own_x: dict[int, CrossProduct] = {}
    own_y: dict[int, CrossProduct] = {}
    both: dict[tuple[int, int], CrossProduct] = {}
    for xs, ys in parts:
        for i, x in enumerate(xs):
            own_x.setdefault(i, CrossProduct()).add(x, x)
            for j, y in enumerate(ys):
                both.setdefault((i, j), CrossProduct()).add(x, y)
        for j, y in enumerate(ys):
            own_y.setdefault(j, CrossProduct()).add(y, y)
    if not both:
        raise UserError("rows to compare", expected="one or more", got="none", fix="give more text")
    return torch.stack(
        [
            torch.stack(
                [both[i, j].norm() ** 2 / (own_x[i].norm() * own_y[j].norm()) for j in own_y]
            )
            for i in own_x
        ]
    )


@torch.inference_mode()
def student_features(student: nn.Module, ids: Tensor, mask: Tensor) -> list[Tensor]:
    """Mean over time of each block's output, tokens as rows, padding left out: L of [rows, D]."""
    states = student(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    return [state.mean(0)[mask.bool()] for state in states]


@torch.inference_mode()
def teacher_features(teacher: nn.Module, ids: Tensor, mask: Tensor) -> list[Tensor]:
    """Output of each layer, without the embedding's, rows as in `student_features`: L' of
    [rows, D_teacher]."""
    states = teacher(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    return [state[mask.bool()] for state in states[1:]]
