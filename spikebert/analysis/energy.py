"""Operations of a network, spiking or dense, counted through hooks that come off again.

    with watch(model, timesteps=4, time_first=True) as layers:
        model(input_ids)                      # one sentence, no padding
    layers["blocks.0.mlp.up.linear"].rate     # share of its inputs that are not zero

    measure(model, samples, fixed).accounts["strict"].real.energy_pj

Seen are linear and convolutional layers of any torch network, and the products of attention where a
rule in `PRODUCTS` says what they are; for attention of your own, pass a further rule. What is
counted and charged, and how, is said in `records/energy.py`. A convolution's SOPs are its MACs
times the mean rate of its input, as if all inputs were used equally often.

A product of attention takes two inputs. It counts as fed by the one that its rule names, which for
spiking attention is binary: K in the first product, V in (Q K^T) V and Q in Q (K^T V).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils.flop_counter import FlopCounterMode

from ..errors import UserError
from ..models.flops import product_macs
from ..records.energy import (
    CONVENTIONS,
    DENSE,
    KINDS,
    Elementwise,
    LayerEnergy,
    Measurement,
    Operations,
    Workload,
    charge_samples,
)
from .elementwise import RULES, Count, first, unknown_modules, watch_elementwise


@dataclass
class Layer:
    """What a layer did, and what it was fed, since the hooks went on."""

    macs: int = 0  # over all steps
    ran: int = 0  # the same, but steps that were computed once for T count once
    kind: str = KINDS[0]
    steps: list[list[float]] = field(default_factory=list)  # not zero, sum of |x|, inputs; by step

    def total(self, column: int) -> float:
        return sum(step[column] for step in self.steps)

    @property
    def rate(self) -> float:
        """Share of inputs that were not zero."""
        return self.total(0) / self.total(2)

    @property
    def magnitude(self) -> float:
        """Mean of |input|."""
        return self.total(1) / self.total(2)

    def add(self, other: Layer) -> None:
        """Take in what the same layer did in another run."""
        self.macs += other.macs
        self.ran += other.ran
        self.kind = max(self.kind, other.kind, key=KINDS.index)
        for step, sums in enumerate(other.steps):
            if step == len(self.steps):
                self.steps.append([0.0, 0.0, 0.0])
            self.steps[step] = [a + b for a, b in zip(self.steps[step], sums, strict=True)]


Layers = dict[str, Layer]

# A rule: an attention module -> name of an operand: (the module that puts it out, the MACs of the
# product it feeds, given that output). An operand that feeds none has 0 and is measured all the
# same, so that its rate is known at lengths where it does.
Operands = Mapping[str, tuple[nn.Module, Callable[[Tensor], int]]]
Rule = Callable[[Any], Operands]


def spiking_products(attention: Any) -> Operands:
    """The two products of `SpikingSelfAttention`, in the order it takes at each length."""

    def macs(*orders: str) -> Callable[[Tensor], int]:
        def count(x: Tensor) -> int:  # [T, B, N, D]
            rows, tokens, width = x.shape[:-2].numel(), *x.shape[-2:]
            by_order = product_macs(tokens, width // attention.heads)
            order = attention.order
            order = min(by_order, key=by_order.__getitem__) if order == "auto" else order
            return rows * attention.heads * by_order[order] // 2 if order in orders else 0

        return count

    return {
        "q": (attention.query_neuron, macs("kv_first")),
        "k": (attention.key_neuron, macs("qk_first", "kv_first")),
        "v": (attention.value_neuron, macs("qk_first")),
    }


def dense_products(attention: Any) -> Operands:
    """Q K^T and its product with V, where query, key and value are layers: [B, N, D] each."""

    def macs(x: Tensor) -> int:
        return x.shape[0] * x.shape[1] ** 2 * x.shape[2]

    names = ("k_lin", "v_lin") if hasattr(attention, "k_lin") else ("key", "value")
    key, value = (getattr(attention, name) for name in names)  # DistilBERT's names, and BERT's
    return {"k": (key, macs), "v": (value, macs)}


# By name of class, a base class's included, so that no other library is loaded for it.
PRODUCTS: dict[str, Rule] = {
    "SpikingSelfAttention": spiking_products,
    "BertSelfAttention": dense_products,
    "RobertaSelfAttention": dense_products,
    "DistilBertSelfAttention": dense_products,
}


def layer_macs(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    """MACs of a linear or convolutional layer that made y of x, over all rows and steps."""
    if isinstance(layer, nn.Linear):
        return x.numel() * layer.out_features
    assert isinstance(layer, _ConvNd)
    kernel = layer.weight[0].numel()  # [in / groups or, transposed, out / groups, *size]
    return kernel * (x.numel() if isinstance(layer, _ConvTransposeNd) else y.numel())


def kind_of(x: Tensor) -> str:
    """What a tensor holds: binary, integer or real numbers."""
    if bool(((x == 0) | (x == 1)).all()):
        return "binary"
    return "integer" if bool((x == x.round()).all()) else "real"


def note(layer: Layer, x: Tensor, macs: int, time_first: bool, timesteps: int | None) -> None:
    """Enter one call: its input x, [T, ...] if time comes first, and its MACs."""
    equal = timesteps if timesteps and time_first and x.shape[0] == 1 else 1
    layer.macs += macs * equal
    layer.ran += macs
    layer.kind = max(layer.kind, kind_of(x), key=KINDS.index)
    rows = (x if time_first else x[None]).flatten(1).double()
    sums = torch.stack([(rows != 0).sum(1).double(), rows.abs().sum(1)], 1).tolist()
    layer.steps += [[*pair, rows.shape[1]] for pair in sums for _ in range(equal)]


@contextlib.contextmanager
def watch(
    model: nn.Module,
    time_first: bool = False,
    timesteps: int | None = None,
    products: Mapping[str, Rule] = PRODUCTS,
) -> Iterator[Layers]:
    """Yields layers by name, filled in while `model` runs within the block.

    Args:
        model: any network. Feed it rows of equal length: padding would count as input.
        time_first: inputs of layers are [T, ...]. Otherwise each call of a layer is one more step,
            as in a dense network (one step) or in one that is called step by step.
        timesteps: T of a network, time first, in which an input [1, ...] stands for T equal steps.
        products: rules for attention, by class name.

    Layers with hooks on them run in their plain form meanwhile, see `models.fuse`.
    """
    layers: Layers = {}

    def enter(name: str, x: Tensor, macs: int) -> None:
        note(layers.setdefault(name, Layer()), x.detach(), macs, time_first, timesteps)

    def layer_hook(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, args: Any, keywords: Any, y: Tensor) -> None:
            x = (*args, *keywords.values())[0]
            enter(name, x, layer_macs(layer, x, y))

        return hook

    def operand_hook(name: str, macs: Callable[[Tensor], int]) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, out: Any) -> None:
            x = first(out)  # neurons return their state, too
            enter(name, x, macs(x))

        return hook

    quick = torch.backends.mha.get_fastpath_enabled()  # it calls none of the layers within
    with contextlib.ExitStack() as hooks:
        hooks.callback(torch.backends.mha.set_fastpath_enabled, quick)
        torch.backends.mha.set_fastpath_enabled(False)
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear | _ConvNd):
                hook = module.register_forward_hook(layer_hook(name), with_kwargs=True)
                hooks.enter_context(hook)
            bases = [base.__name__ for base in type(module).__mro__]
            for rule in [products[base] for base in bases if base in products][:1]:
                for operand, (source, macs) in rule(module).items():
                    note_operand = operand_hook(f"{name}.product.{operand}", macs)
                    hooks.enter_context(source.register_forward_hook(note_operand))
        yield layers


Sample = Tensor | Mapping[str, Any]

# Layers with products that torch's counter does not count either.
UNSEEN = (nn.RNNBase, nn.RNNCellBase, nn.Bilinear)


def call(model: nn.Module, sample: Sample) -> None:
    if isinstance(sample, Tensor):
        model(sample)
    else:
        model(**sample)


def count_macs(
    model: nn.Module,
    sample: Sample,
    time_first: bool = False,
    timesteps: int | None = None,
    products: Mapping[str, Rule] = PRODUCTS,
) -> dict[str, int]:
    """MACs by layer of one forward pass over a sample of the wanted shape, all steps together.

    Raises:
        UserError: the model has products that neither a layer nor a rule of `products` explains.
    """
    unseen = {type(m).__name__ for m in model.modules() if isinstance(m, UNSEEN)} - products.keys()
    if unseen:
        raise UserError(
            f"MACs of {type(model).__name__}",
            expected="linear and convolutional layers, and attention that a rule explains",
            got=", ".join(sorted(unseen)),
            fix="pass a rule for it as `products`, or leave it out of what is measured",
        )
    with (
        torch.no_grad(),
        watch(model, time_first, timesteps, products) as layers,
        sdpa_kernel(SDPBackend.MATH),  # the one whose products torch counts on a CPU
        FlopCounterMode(display=False) as counter,
    ):
        call(model, sample)
    seen, known = counter.get_total_flops() // 2, sum(layer.ran for layer in layers.values())
    if seen > known:
        raise UserError(
            f"MACs of {type(model).__name__}",
            expected=f"{seen}, as torch counts them",
            got=f"{known} in layers and known attention",
            fix="pass a rule for its attention as `products`",
        )
    return {name: layer.macs for name, layer in layers.items()}


def measure(
    model: nn.Module,
    samples: Iterable[Sample],
    fixed: Sample | None = None,
    time_first: bool = False,
    timesteps: int | None = None,
    products: Mapping[str, Rule] = PRODUCTS,
    reset: Callable[[], None] | None = None,
    rules: Mapping[str, Count] = RULES,
) -> Measurement:
    """Energy per sample under all conventions, as it is for each sample and at a fixed shape.

    Args:
        samples: what the model is called with, a tensor or keyword arguments: one row each, without
            padding.
        fixed: a sample of the fixed length. Only its MACs are taken: they are charged at the rates
            of `samples`.
        reset: called before each sample, for neurons that keep their membrane between calls.
        rules: what modules take beside products, by class name; classes that none of them explains
            stand in `elementwise.unknown`.

    The other arguments are those of `watch`.

    Raises:
        UserError: there are no samples, or products that no rule explains.
    """
    was_training = model.training
    model.eval()
    before = reset or (lambda: None)
    runs: list[Layers] = []
    total: Layers = {}
    macs: dict[str, int] = {}
    beside: list[Operations] = []
    beside_fixed: list[Operations] = []
    try:
        for sample in samples:
            before()
            if not runs:
                count_macs(model, sample, time_first, timesteps, products)
                before()
            with (
                torch.no_grad(),
                watch(model, time_first, timesteps, products) as layers,
                watch_elementwise(model, time_first, timesteps, rules) as found,
            ):
                call(model, sample)
            runs.append(layers)
            beside += found
            for name, layer in layers.items():
                total.setdefault(name, Layer()).add(layer)
        if fixed is not None:
            before()
            with watch_elementwise(model, time_first, timesteps, rules) as beside_fixed:
                macs = count_macs(model, fixed, time_first, timesteps, products)
    finally:
        model.train(was_training)
    if not total:
        raise UserError(
            "samples to measure",
            expected="one or more, and a model with linear or convolutional layers",
            got=f"{len(runs)} samples",
            fix="check the data and the model",
        )
    loads = [
        [Workload(x.macs, total[name].kind, x.rate, x.magnitude) for name, x in layers.items()]
        for layers in runs
    ]
    fixed_loads = [Workload(macs.get(n, 0), x.kind, x.rate, x.magnitude) for n, x in total.items()]
    spiking = any(x.kind != "real" and x.macs for x in total.values())
    return Measurement(
        samples=len(runs),
        layers=[
            LayerEnergy(
                name=name,
                kind=x.kind,
                rate=x.rate,
                rate_by_step=[step[0] / step[2] for step in x.steps],
                magnitude=x.magnitude,
                macs_real=fmean([run[name].macs if name in run else 0 for run in runs]),
                macs_fixed=None if fixed is None else macs.get(name, 0),
            )
            for name, x in total.items()
        ],
        accounts={
            convention: charge_samples(loads, None if fixed is None else fixed_loads, convention)
            for convention in (CONVENTIONS if spiking else (DENSE,))
        },
        elementwise=Elementwise(
            real=sum(beside, Operations()) * (1 / len(runs)),
            fixed=None if fixed is None else sum(beside_fixed, Operations()),
            unknown=unknown_modules(model, rules),
        ),
    )
