"""Inference one time step at a time, which stops where the answer is clear.

A neuron's spikes at a step depend on that step and the ones before. So the mean of the logits over
the first t steps can be read after t steps, and a sentence whose two likeliest classes are `margin`
apart in probability needs no further ones. Steps that are run are run once: the membranes are
carried from step to step, in a dictionary that lives as long as the call.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..models.modeling import (
    SpikeBertBlock,
    SpikeBertEmbeddings,
    SpikeBertForSequenceClassification,
)
from ..models.neurons import LIF, NEURONS, is_lif, lif
from ..training.tokenization import by_length

Membranes = dict[nn.Module, Tensor]


@contextlib.contextmanager
def single_steps(model: nn.Module) -> Iterator[Membranes]:
    """Within the block each call of `model` is one more time step of the same batch.

    Yields the membranes, one [B, ...] per layer; whoever drops rows of the batch drops theirs.
    """
    membranes: Membranes = {}
    kinds = (SpikeBertBlock, SpikeBertEmbeddings)
    clocks = [module for module in model.modules() if isinstance(module, kinds)]
    neurons = [module for module in model.modules() if is_lif(module)]
    spiking = [module for module in model.modules() if isinstance(module, tuple(NEURONS.values()))]
    if not clocks or not neurons or len(spiking) > len(neurons):
        found = sorted({type(neuron).__name__ for neuron in spiking})
        raise UserError(
            "early exit",
            expected="a student of LIF neurons",
            got=f"{type(model).__name__} of {', '.join(found) or 'no neurons'}",
            fix="give a trained SpikeBert of `lif`: the membranes of no other neuron are carried",
        )
    steps = [module.timesteps for module in clocks]

    def carried(neuron: LIF) -> Callable[[Tensor], Tensor]:
        def step(x: Tensor) -> Tensor:
            spikes, membranes[neuron] = lif(x, membranes.get(neuron), **neuron.settings)
            return spikes

        return step

    fused = [neuron.fused for neuron in neurons]
    try:
        for module in clocks:
            module.timesteps = 1
        for neuron in neurons:
            neuron.fused = False
            neuron.forward = carried(neuron)  # type: ignore[method-assign,assignment]
        yield membranes
    finally:
        for module, before in zip(clocks, steps, strict=True):
            module.timesteps = before
        for neuron, was in zip(neurons, fused, strict=True):
            neuron.fused = was
            del neuron.forward  # the class's own again


@torch.inference_mode()
def exit_early(
    model: SpikeBertForSequenceClassification,
    input_ids: Tensor,
    attention_mask: Tensor,
    margin: float,
) -> tuple[Tensor, Tensor]:
    """ids and mask [B, N] -> logits [B, C], the mean over the steps that were run, and their number
    [B], from 1 to the model's T. A margin above 1 never exits."""
    batch, device = input_ids.shape[0], input_ids.device
    with single_steps(model) as membranes:
        total = model.config.timesteps
        sums = torch.zeros(batch, model.classifier.out_features, device=device)
        used = torch.full((batch,), total, device=device)
        active = torch.arange(batch, device=device)
        for step in range(1, total + 1):
            sums[active] += model(input_ids[active], attention_mask[active]).logits
            best = (sums[active] / step).softmax(-1).topk(2).values
            going = best[:, 0] - best[:, 1] < margin
            if step < total:
                used[active[~going]] = step
            active = active[going]
            if not len(active):
                break
            for neuron, membrane in membranes.items():
                membranes[neuron] = membrane[going]
    return sums / used[:, None], used


@dataclass(frozen=True)
class ExitPoint:
    """What one margin gives on labelled rows."""

    margin: float
    accuracy: float
    mean_steps: float
    ms_per_sentence: float


def exit_curve(
    model: SpikeBertForSequenceClassification,
    examples: Sequence[dict[str, Any]],
    collate: Callable[[list[Any]], Any],
    margins: Sequence[float],
    batch_size: int = 1,
) -> list[ExitPoint]:
    """Accuracy, steps and latency on labelled examples, for each margin."""
    model.eval()
    order = by_length(examples)
    batches = [collate(list(order[i : i + batch_size])) for i in range(0, len(order), batch_size)]
    points = []
    for margin in margins:
        right = steps = 0
        start = time.perf_counter()
        for batch in batches:
            logits, used = exit_early(model, batch["input_ids"], batch["attention_mask"], margin)
            right += int((logits.argmax(-1) == batch["labels"]).sum())
            steps += int(used.sum())
        spent = time.perf_counter() - start
        rows = len(order)
        points.append(ExitPoint(margin, right / rows, steps / rows, 1e3 * spent / rows))
    return points
