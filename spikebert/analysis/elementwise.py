"""Arithmetic beside the products: what the convention `full` adds, counted through hooks.

A rule says, by name of a class, a base class's included, how many multiplications and additions one
call of a module takes, without those of its children. Every module of a network must have a rule:
the classes that have none are named, and the network then has no `full` account. For modules of
your own pass further rules; `free` is that of a container which computes nothing itself.

What an operation costs is said in `records.energy`. Padding is not part of a sample, so masks are
free. A module whose input is the same at all T steps is counted T times, as products are.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from ..records.energy import DIVISION, ERF, EXP, INVERSE_ROOT, TANH, Operations

Count = Callable[[Any, Any, Any], Operations]  # (module, its first input, its output)


def first(out: Any) -> Any:
    """What a module puts out, or the first of several things."""
    return out[0] if isinstance(out, tuple) else out


def each(multiplications: float, additions: float) -> Count:
    """A rule: so many operations for each element of the (first) output."""
    cost = Operations(multiplications, additions)
    return lambda _, __, out: cost * first(out).numel()


def free(_: Any, __: Any, ___: Any) -> Operations:
    return Operations()


def bias(layer: Any, _: Any, y: Tensor) -> Operations:
    return Operations(0, 0 if layer.bias is None else y.numel())


def layer_norm(norm: nn.LayerNorm, _: Any, y: Tensor) -> Operations:
    """Mean, variance, scale, gain and shift of elements; two means and a root for each row."""
    rows = y.numel() // math.prod(norm.normalized_shape)
    gain, shift = norm.weight is not None, norm.bias is not None
    return Operations(2 + gain, 3 + shift) * y.numel() + (Operations(2, 1) + INVERSE_ROOT) * rows


def lif(neuron: Any, _: Any, out: Any) -> Operations:
    """Decay, input, comparison with the threshold, reset; the input's factor where it has one."""
    return Operations(1 + neuron.settings["decay_input"], 3) * out[0].numel()


def softmax_attention(attention: Any, _: Any, out: Any) -> Operations:
    """Scale and softmax of the scores: maximum, difference, exp, sum, product with 1 / sum."""
    rows, tokens, _width = first(out).shape
    sums = rows * attention.num_attention_heads * tokens
    return (Operations(2, 3) + EXP) * (sums * tokens) + DIVISION * sums


def spiking_embeddings(embeddings: Any, _: Any, out: Any) -> Operations:
    """Positions, once; comparison with 0 at every step. An encoder of neurons counts itself."""
    words, spikes = out
    compared = spikes.numel() if embeddings.neuron is None else 0
    return Operations(0, words.numel() * (embeddings.position != "none") + compared)


def mean_of_steps(out: Any) -> Operations:
    return Operations(out.logits.numel(), out.step_logits.numel())


def spikebert_head(_: Any, __: Any, out: Any) -> Operations:
    """The mean over tokens, and that of the logits over time."""
    states = out.last_hidden_state  # [T, B, N, D]
    return Operations(states.numel() // states.shape[2], states.numel()) + mean_of_steps(out)


def outputs(cnn: Any, ids: Tensor) -> int:
    """Elements that the convolutions put out for ids [B, N]: N + width - 1 windows each."""
    windows = sum(ids.shape[1] + width - 1 for width in cnn.config.widths)
    return len(ids) * int(cnn.config.filters) * windows


def textcnn(cnn: Any, ids: Tensor, _: Any) -> Operations:
    """ReLU and maximum, a comparison each."""
    return Operations(0, 2 * outputs(cnn, ids))


def snn_textcnn(cnn: Any, ids: Tensor, out: Any) -> Operations:
    """Random spikes by comparison, the pool, and the mean of the logits."""
    config, steps = cnn.config, out.step_logits.shape[0]
    compared = config.embedding_size * len(ids) * (ids.shape[1] + 2 * cnn.margin)
    pooled = len(ids) * len(config.widths) * config.filters * (config.pooling != "max")
    one = Operations(pooled, compared + outputs(cnn, ids))
    return one * steps + mean_of_steps(out)


_BERTS = ("Bert", "Roberta")
RULES: dict[str, Count] = {
    "Linear": bias,
    "_ConvNd": bias,
    "LayerNorm": layer_norm,
    "LIF": lif,
    "ReLU": each(0, 1),
    "GELUActivation": each(ERF.multiplications + 3, ERF.additions + 1),
    "Tanh": each(TANH.multiplications, TANH.additions),
    **dict.fromkeys(("ModuleList", "Sequential", "Dropout", "Identity", "Embedding"), free),
    **dict.fromkeys(("Current", "Projection", "SpikingMlp", "SpikeBertModel"), free),
    "SpikeBertEmbeddings": spiking_embeddings,
    "SpikeBertBlock": each(0, 2),  # two residuals
    "SpikingSelfAttention": each(1, 0),  # the scale, on as many elements
    "SpikeBertForSequenceClassification": spikebert_head,
    "TextCnnForSequenceClassification": textcnn,
    "SnnTextCnnForSequenceClassification": snn_textcnn,
    **{f"{kind}Embeddings": each(0, 2) for kind in _BERTS},  # types and positions
    **{f"{kind}SelfAttention": softmax_attention for kind in _BERTS},
    **{f"{kind}{name}": each(0, 1) for kind in _BERTS for name in ("SelfOutput", "Output")},
    **{
        f"{kind}{name}": free
        for kind in _BERTS
        for name in ("Attention", "Encoder", "Intermediate", "Layer", "Model", "Pooler")
    },
    **{f"{kind}ForSequenceClassification": free for kind in _BERTS},
    "RobertaClassificationHead": lambda head, x, _: TANH * (len(x) * head.dense.out_features),
}


def rule_of(module: nn.Module, rules: Mapping[str, Count]) -> Count | None:
    names = (base.__name__ for base in type(module).__mro__)
    return next((rules[name] for name in names if name in rules), None)


def unknown_modules(model: nn.Module, rules: Mapping[str, Count] = RULES) -> list[str]:
    """Names of the classes of modules that no rule explains."""
    return sorted({type(m).__name__ for m in model.modules() if rule_of(m, rules) is None})


@contextlib.contextmanager
def watch_elementwise(
    model: nn.Module,
    time_first: bool = False,
    timesteps: int | None = None,
    rules: Mapping[str, Count] = RULES,
) -> Iterator[list[Operations]]:
    """Fill a list with the operations of each module that runs within; those without a rule, see
    `unknown_modules`, are left out. The arguments are those of `analysis.energy.watch`."""
    found: list[Operations] = []

    def hooked(count: Count) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, keywords: Any, out: Any) -> None:
            y, leaf = first(out), next(module.children(), None) is None
            once = leaf and time_first and isinstance(y, Tensor) and len(y) == 1
            operations = count(module, (*args, *keywords.values())[0], out)
            found.append(operations * (timesteps or 1 if once else 1))

        return hook

    with contextlib.ExitStack() as hooks:
        for module in model.modules():
            if (count := rule_of(module, rules)) not in (None, free):
                hook = module.register_forward_hook(hooked(count), with_kwargs=True)
                hooks.enter_context(hook)
        yield found
