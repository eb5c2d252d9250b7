"""Measurements of a running model through hooks that come off again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from .neurons import NEURONS


@contextlib.contextmanager
def spike_counts(model: nn.Module) -> Iterator[dict[str, list[tuple[float, int]]]]:
    """Collect, per layer of neurons and call, (spikes, neurons x steps) while the block runs.

    Padding is counted too: measure sentences one at a time, or unpadded.
    """
    counts: dict[str, list[tuple[float, int]]] = {}

    def hook(name: str) -> Callable[..., None]:
        def note(_: nn.Module, __: tuple, out: Tensor) -> None:
            spikes = out.sum(dtype=torch.float64).item()
            counts.setdefault(name, []).append((spikes, out.numel()))

        return note

    kinds = tuple(NEURONS.values())
    handles = [
        module.register_forward_hook(hook(name))
        for name, module in model.named_modules()
        if isinstance(module, kinds)
    ]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


def spike_rate(counts: dict[str, list[tuple[float, int]]]) -> float | None:
    """Spikes per neuron and step over all layers; None for a model without spiking neurons."""
    pairs = [pair for layer in counts.values() for pair in layer]
    total = sum(size for _, size in pairs)
    return sum(spikes for spikes, _ in pairs) / total if total else None
