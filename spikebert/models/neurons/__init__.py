"""Spiking neurons: one file each, with its equation at the top.

A neuron is a module that takes currents x [T, ...] and a state, None for a sequence that begins,
and returns spikes [T, ...] and the state after them: nothing is kept between calls. To add one,
enter it in `NEURONS`, or call `register_neuron` in a file of your own; `model.neuron: <name>` then
selects it. It is built with the keywords of `LIF` and with `model.neuron_options`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from ...config.plugins import part, register
from ...errors import UserError
from .lif import LIF, lif, lif_step
from .relu import ReLU
from .spikingjelly import SpikingJelly
from .surrogate import SURROGATES, Surrogate, spike

State = dict[nn.Module, Any]  # of each layer of neurons, what it returned


NEURONS: dict[str, type[nn.Module]] = {"lif": LIF, "relu": ReLU}


def register_neuron(name: str, cls: type[nn.Module]) -> None:
    """Let `model.neuron: <name>` select a class of a file outside the package."""
    register("neuron", NEURONS, name, cls)


def register_surrogate(name: str, derivative: Surrogate) -> None:
    """Let `model.surrogate: <name>` select g(u, alpha), elementwise, of a file outside."""
    register("surrogate", SURROGATES, name, derivative)


def build_neuron(config: Any, threshold: float) -> nn.Module:
    """A layer of the neurons that a model's configuration asks for.

    Raises:
        UserError: an unknown name, or arguments that the neuron does not take.
    """
    arguments = {
        "beta": config.decay,
        "threshold": threshold,
        "reset": config.reset,
        "decay_input": config.decay_input,
        "detach_reset": config.detach_reset,
        "surrogate": config.surrogate,
        "alpha": config.surrogate_alpha,
    }
    name, options = config.neuron, getattr(config, "neuron_options", None) or {}
    if name.startswith("sj."):
        return SpikingJelly(name, config.timesteps, options, **arguments)
    cls = part("neuron", name, NEURONS)
    try:
        inspect.signature(cls).bind(**arguments, **options)
    except TypeError as error:
        raise UserError(
            f"setting model.neuron_options of {name}",
            expected=f"arguments of {name}: {inspect.signature(cls)}",
            got=f"{options}: {error}",
            fix="change it, or let the neuron take **_",
        ) from None
    neuron: nn.Module = cls(**arguments, **options)
    return neuron


def neurons_of(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers of neurons of a model, with their names."""
    kinds: tuple[type[nn.Module], ...] = (SpikingJelly, *NEURONS.values())
    return ((name, m) for name, m in model.named_modules() if isinstance(m, kinds))


class Spiking:
    """A module with layers of neurons."""

    def fire(self, neuron: nn.Module, x: Tensor, state: State | None = None) -> Tensor:
        """Spikes [T, ...] of currents x [T, ...]; with `state` the neuron goes on where it was
        left, and the state is brought up to date."""
        if state is None:
            return neuron(x)[0]
        spikes, state[neuron] = neuron(x, state.get(neuron))
        return spikes


__all__ = ["LIF", "SURROGATES", "ReLU", "lif", "lif_step", "spike"]  # of the other files
