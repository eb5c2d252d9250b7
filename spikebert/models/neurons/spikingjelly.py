"""spikingjelly's neurons and surrogates under this package's names for their settings.

`model.neuron: sj.ParametricLIFNode` is `spikingjelly.activation_based.neuron.ParametricLIFNode` in
its multi-step form, and `model.surrogate: sj.S2NN` its surrogate of that name. What a neuron takes
of our settings it is told; `model.neuron_options` are further arguments of the neuron, or of its
surrogate, in the library's words. On a GPU its Triton kernels run them.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import UserError
from ...utils.validation import nearest

# The library's names of the surrogates of `surrogate.py`; the tests compare their gradients.
OURS = {
    "atan": "ATan",
    "sigmoid": "Sigmoid",
    "triangle": "PiecewiseQuadratic",
    "rectangle": "Rect",
}


def _library(part: str) -> Any:
    """`spikingjelly.activation_based.<part>`."""
    try:
        from spikingjelly.activation_based import base, neuron, surrogate
    except ImportError:
        raise UserError(
            "model with a neuron or surrogate of spikingjelly (sj.<Name>)",
            expected="spikingjelly, version 2",
            got="no such package",
            fix="pip install --no-deps spikingjelly==2.0.0",
        ) from None
    return {"base": base, "neuron": neuron, "surrogate": surrogate}[part]


def _class(name: str, what: str, argument: str) -> type:
    """The class that sj.<Name> stands for; `what` is neuron or surrogate, which all take
    `argument`."""
    found = {
        f"sj.{key}": value
        for key, value in vars(_library(what)).items()
        if inspect.isclass(value)
        and issubclass(value, nn.Module)
        and not value.__name__.endswith(("BaseNode", "Base"))
        and argument in _parameters(value)
    }
    if name not in found:
        raise UserError(
            f"setting model.{what}",
            expected=f"a {what} of spikingjelly: {', '.join(sorted(found))}",
            got=name,
            fix=nearest(name, found, "choose one of them"),
        )
    return found[name]


def _parameters(cls: type) -> dict[str, inspect.Parameter]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {k: p for k, p in inspect.signature(cls).parameters.items() if p.kind in named}


def _surrogate(name: str, alpha: float, options: Mapping[str, Any]) -> Any:
    """The library's surrogate of our name or of sj.<Name>, or our own in its place."""
    from .surrogate import spike

    if name not in OURS and not name.startswith("sj."):
        return functools.partial(spike, surrogate=name, alpha=alpha)
    cls = _class(f"sj.{OURS[name]}" if name in OURS else name, "surrogate", "spiking")
    known = _parameters(cls)
    given = {key: value for key, value in options.items() if key in known}
    return _made(name, cls, ({"alpha": alpha} if "alpha" in known else {}) | given)


def _made(name: str, cls: type, arguments: dict[str, Any]) -> Any:
    """An instance, or a `UserError` that says what the library did not like."""
    known = _parameters(cls)
    if missing := [k for k, p in known.items() if p.default is p.empty and k not in arguments]:
        raise UserError(
            f"setting model.neuron_options of {name}",
            expected=f"{', '.join(missing)}, which {name} has no default for",
            got=", ".join(arguments) or "nothing",
            fix=f"add model.neuron_options: {{{missing[0]}: ...}}, or choose another",
        )
    try:
        made = cls(**arguments)
        if issubclass(cls, _library("base").StepModule):
            made.step_mode = "m"  # not all take it as an argument
        return made
    except Exception as error:  # assertions, most of them without a word
        raise UserError(
            f"arguments of {name}",
            expected="values in the ranges that its documentation gives",
            got=f"{arguments}: {type(error).__name__} {error}",
            fix="change the settings of model, or model.neuron_options",
        ) from None


@functools.cache
def surrogate_derivative(name: str) -> Callable[[Tensor, float], Tensor]:
    """g(u, alpha) of sj.<Name>, for neurons that are not spikingjelly's."""

    def g(u: Tensor, alpha: float) -> Tensor:
        with torch.enable_grad():
            at = u.detach().requires_grad_()
            (found,) = torch.autograd.grad(_surrogate(name, alpha, {})(at).sum(), at)
        return found

    try:
        g(torch.linspace(-1, 1, 3), 1.0)
    except RuntimeError as error:
        raise UserError(
            f"setting model.surrogate = {name}",
            expected="a surrogate of a step, which takes a membrane below and above the threshold",
            got=error,
            fix="choose another, such as sj.Sigmoid",
        ) from None
    return g


class SpikingJelly(nn.Module):
    """A layer of spikingjelly's neurons; the state is what it remembers between calls.

    Told T and the further options, then the arguments of `LIF`.

    Raises:
        UserError: there is no such neuron, it does not take the arguments, or it cannot run over
            currents [T, ...] of any width.
    """

    def __init__(
        self,
        name: str,
        timesteps: int,
        options: Mapping[str, Any],
        surrogate: str,
        alpha: float,
        **settings: Any,
    ):
        super().__init__()
        cls = _class(name, "neuron", "surrogate_function")
        known = _parameters(cls)
        tau = math.inf if settings["beta"] == 1 else 1 / (1 - settings["beta"])
        ours = {
            "T": timesteps,
            "step_mode": "m",
            "tau": tau,
            "v_threshold": float(settings["threshold"]),
            "v_reset": None if settings["reset"] == "soft" else 0.0,
            "decay_input": settings["decay_input"],
            "detach_reset": settings["detach_reset"],
            **({"init_tau": tau} if "decay_input" in known else {}),  # of GatedLIFNode, a share
        }
        # One that counts spikes is the only one that its neuron runs with.
        own = known["surrogate_function"].default
        if isinstance(own, nn.Module) and "max_spike_count" in _parameters(type(own)):
            options, surrogate = {"max_spike_count": 4, **options}, f"sj.{type(own).__name__}"
        fire = _surrogate(surrogate, alpha, options)
        further = set(_parameters(type(fire))) if isinstance(fire, nn.Module) else set()
        if unknown := [key for key in options if key not in {*known, *further}]:
            taken = sorted({*known, *further} - {*ours, "surrogate_function", "spiking"})
            raise UserError(
                f"setting model.neuron_options.{unknown[0]}",
                expected=f"an argument of {name}: {', '.join(taken) or 'it has no further ones'}",
                got=options[unknown[0]],
                fix=nearest(unknown[0], taken, "remove it"),
            )
        arguments = {**ours, **options, "surrogate_function": fire}
        self.node = _made(name, cls, {k: v for k, v in arguments.items() if k in known})
        self._try(name, timesteps)

    @torch.no_grad()
    def _try(self, name: str, timesteps: int) -> None:
        if torch.empty(0).is_meta:  # a folder is being loaded, of a model that has run
            return
        x = torch.linspace(-1, 2, timesteps * 30).view(timesteps, 2, 3, 5)
        try:
            found: Any = self(x)[0]
        except Exception as error:  # whatever it does with a tensor it is not made for
            found = error
        if not isinstance(found, Tensor) or found.shape != x.shape:
            got = f"{type(found).__name__} {'' if isinstance(found, Tensor) else found}".strip()
            raise UserError(
                f"setting model.neuron = {name}",
                expected="a neuron that turns currents [T, batch, tokens, width], of any width, "
                "into spikes of that shape",
                got=got,
                fix="choose another, such as sj.ParametricLIFNode",
            )

    def forward(
        self, x: Tensor, state: tuple[dict[str, Any], ...] | None = None
    ) -> tuple[Tensor, tuple[dict[str, Any], ...]]:
        """Currents [T, ...] -> spikes [T, ...] of x's dtype, and the memories after them; in
        float32, or float64 for a float64 input."""
        kind = _library("base").MemoryModule
        memories = [module for module in self.node.modules() if isinstance(module, kind)]
        for i, module in enumerate(memories):
            module.reset()
            if state is not None:
                module._memories.update(state[i])
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        wide = wide.reshape(*x.shape[:2], 1, -1, x.shape[-1])  # an image of one channel
        with torch.autocast(x.device.type, enabled=False):
            spikes = self.node(wide)
        after = tuple(dict(module._memories) for module in memories)
        for module in memories:
            module.reset()
        return spikes.view(x.shape).to(x.dtype), after
