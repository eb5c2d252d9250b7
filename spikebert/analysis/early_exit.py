"""Inference one time step at a time, which stops where the answer is clear.

A neuron's spikes at a step depend on that step and the ones before. So the mean of the logits over
the first t steps can be read after t steps, and a sentence whose two likeliest classes are `margin`
apart in probability needs no further ones. Steps that are run are run once: the states of the
neurons are handed from step to step.
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ..errors import UserError
from ..models.modeling import SpikeBertForSequenceClassification
from ..models.neurons import neurons_of
from ..training.tokenization import by_length

_CHECKED: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def _carries_state(neuron: nn.Module, x: Tensor, spikes: Tensor) -> bool:
    """Whether currents x [T, ...] give the same spikes one step at a time."""
    found, state = [], None
    try:
        for current in x.split(1):
            one, state = neuron(current, state)
            found.append(one)
    except (AssertionError, IndexError, RuntimeError, TypeError, ValueError):
        return False
    return torch.equal(torch.cat(found), spikes)


def check_states(model: nn.Module, input_ids: Tensor) -> None:
    """Raise a `UserError` unless every neuron of a student can go on from its state, which is tried
    once, on the currents of one sentence [1, N]."""
    layers = dict(neurons_of(model))
    if not isinstance(model, SpikeBertForSequenceClassification) or not layers:
        raise UserError(
            "early exit",
            expected="a student with spiking neurons",
            got=type(model).__name__,
            fix="give a trained SpikeBert",
        )
    if model in _CHECKED:
        return
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda _, given, out: seen.update({name: (given[0], out[0])})

    with contextlib.ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.enter_context(layer.register_forward_hook(note(name)))
        model(input_ids)
    for name, calls in seen.items():
        if not _carries_state(layers[name], *calls):
            raise UserError(
                "early exit",
                expected="neurons whose state after one step is all that the next step needs",
                got=f"{name}: {layers[name]}",
                fix="run all steps, or train a student with model.neuron: lif",
            )
    _CHECKED.add(model)


@torch.inference_mode()
def exit_early(
    model: SpikeBertForSequenceClassification,
    input_ids: Tensor,
    attention_mask: Tensor,
    margin: float,
) -> tuple[Tensor, Tensor]:
    """ids and mask [B, N] -> logits [B, C], the mean over the steps that were run, and their number
    [B], from 1 to the model's T. A margin above 1 never exits."""
    check_states(model, input_ids[:1])
    total, device = model.config.timesteps, input_ids.device
    active = torch.arange(len(input_ids), device=device)
    sums = torch.zeros(len(active), model.classifier.out_features, device=device)
    used = torch.full((len(active),), total, device=device)
    state: Any = {}
    for step in range(1, total + 1):
        out = model(input_ids[active], attention_mask[active], state=state, timesteps=1)
        sums[active] += out.logits
        best = (sums[active] / step).softmax(-1).topk(2).values
        going = best[:, 0] - best[:, 1] < margin
        if step < total:
            used[active[~going]] = step
        active = active[going]
        if not len(active):
            break
        state = tree_map(lambda x: x[going] if isinstance(x, Tensor) else x, out.state)  # noqa: B023
    return sums / used[:, None], used


class ExitPoint(NamedTuple):
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
