"""Every setting once: name, default (the paper's, where it gives one), range and meaning.

The frozen dataclasses below are what training and model code take; their field metadata is a JSON
schema, from which `workflow/schemas/config.schema.json` is generated, so that a range is written
in one place. Nothing heavy is imported here: the workflow reads this module while it parses.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import jsonschema

from ..errors import UserError
from .registry import DENSE_STEPS as DENSE  # noqa: F401
from .registry import SHAPE as SHAPE

# Bumped by hand when the meaning of a step changes, so that its results are made again.
ALGORITHM = {
    "corpus": 1,
    "augment": 1,
    "pretrain": 1,
    "finetune": 1,
    "stage1": 1,
    "stage2": 1,
    "direct": 1,
    "tfidf": 1,
    "textcnn": 1,
    "snn_textcnn": 1,
    "dense_direct": 1,
    "dense_stage1": 1,
    "dense_stage2": 1,
}

# Settings that came after results were published, by step. At their default they are left out of
# what a step is told, so that these results stay those of their configuration.
LATER: dict[str, tuple[str, ...]] = {
    "augment": ("transfer_sentences",),
    "model": ("embedding_mean",),
    "stage1": ("max_sentences", "window_sentences"),
    "dense_stage1": ("window_sentences",),
}
LARGEST_SEED = 2**32 - 1  # NumPy's
# No setting of a step: it decides how much a kill costs, and no number.
CHECKPOINT_MINUTES = 15

T = TypeVar("T")
_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "str": "string"}


def setting(default: Any, description: str, **schema: Any) -> Any:
    """A dataclass field whose metadata is its JSON schema."""
    return field(default=default, metadata={"description": description, **schema})


def positive(default: Any, description: str, **schema: Any) -> Any:
    return setting(default, description, exclusiveMinimum=0, **schema)


def fraction(default: Any, description: str) -> Any:
    return setting(default, description, minimum=0, maximum=1)


def weight(default: float, description: str) -> Any:
    return setting(default, description, minimum=0)


@dataclass
class ModelSettings:
    """The spiking student. Defaults are the paper's model (12 blocks of width 768, 4 steps)."""

    hidden_size: int = positive(768, "width D of the token stream")
    num_hidden_layers: int = positive(12, "number of blocks (depth)")
    num_attention_heads: int = positive(12, "attention heads H; divides hidden_size")
    mlp_ratio: float = positive(4, "width of the MLP's hidden layer over D")
    timesteps: int = positive(4, "time steps T")
    neuron: str = setting("lif", "spiking neuron, a name in spikebert.neurons.NEURONS")
    beta: float = setting(0.9, "membrane decay per step, 1 - 1/tau", minimum=0, exclusiveMaximum=1)
    tau: float | None = setting(None, "membrane time constant in steps; replaces beta", minimum=1)
    decay_input: bool = setting(
        False,
        "true: the input is weighted by 1/tau = 1 - beta, too; with a beta of 0.9 and a threshold "
        "of 1 hardly any neuron then fires within 4 steps",
    )
    reset: str = setting(
        "soft", "after a spike: subtract the threshold, or set to 0", enum=["soft", "hard"]
    )
    detach_reset: bool = setting(True, "no gradient through the reset")
    threshold: float = positive(1.0, "firing threshold U_thr")
    attention_threshold: float = positive(0.25, "firing threshold of the neuron after attention")
    surrogate: str = setting("atan", "surrogate derivative, a name in spikebert.neurons.SURROGATES")
    surrogate_alpha: float = positive(2.0, "sharpness of the surrogate")
    encoder: str = setting(
        "heaviside",
        "how embeddings become spikes: Heaviside (the same at every step) or a LIF neuron",
        enum=["heaviside", "lif"],
    )
    embedding_mean: float = setting(
        0.0,
        "mean of the word embeddings at the start; the LIF encoder is silent below 0, so half its "
        "threshold suits it",
    )
    residual: str = setting(
        "add",
        "add: spikes are summed (Spikformer); membrane: currents are summed before the neuron",
        enum=["add", "membrane"],
    )
    position: str = setting(
        "none", "position signal on the embedding", enum=["none", "sinusoidal", "learned"]
    )
    max_position_embeddings: int = positive(512, "longest sequence a position signal covers")
    attention_scale: float = positive(0.125, "factor on Q K^T V before its neuron")
    attention_order: str = setting(
        "auto",
        "(Q K^T) V, Q (K^T V), or whichever costs less at the shape at hand; equal in value",
        enum=["auto", "qk_first", "kv_first"],
    )
    dropout: float = setting(
        0.0,
        "dropout on the current that a sub-block adds to the stream, and on the head's input",
        minimum=0,
        exclusiveMaximum=1,
    )

    def __post_init__(self) -> None:
        check_heads(self.hidden_size, self.num_attention_heads)
        if round(self.mlp_ratio * self.hidden_size) < 1:
            raise UserError(
                "setting mlp_ratio",
                expected=f"room for a hidden layer beside hidden_size = {self.hidden_size}",
                got=self.mlp_ratio,
                fix="raise it",
            )


def check_heads(hidden_size: int, heads: int) -> None:
    """Raise a `UserError` unless the heads share the width evenly."""
    if hidden_size % heads:
        raise UserError(
            "setting num_attention_heads",
            expected=f"a divisor of hidden_size = {hidden_size}",
            got=heads,
            fix="change one of the two",
        )


@dataclass(frozen=True)
class TrainingSettings:
    """What every training step has in common."""

    learning_rate: float = positive(5e-4, "peak learning rate of AdamW")
    weight_decay: float = weight(5e-3, "decoupled weight decay")
    epochs: float = positive(3, "passes over the training rows")
    batch_size: int = positive(32, "sequences per update")
    max_length: int = setting(128, "tokens per sequence, longer ones are cut", minimum=3)
    schedule: str = setting(
        "cosine", "learning rate over the run", enum=["cosine", "linear", "constant"]
    )
    warmup_ratio: float = fraction(0.1, "share of the updates with a rising learning rate")
    clip_norm: float = positive(1.0, "largest gradient norm")
    precision: str = setting(
        "auto",
        "products in bfloat16 where the processor has it (auto), always, or never; "
        "membranes stay in float32",
        enum=["auto", "bf16", "fp32"],
    )
    evaluations: int = positive(10, "evenly spaced evaluations on dev, each with a checkpoint")
    compile: bool = setting(True, "compile the neurons for training, where a compiler is at hand")


@dataclass(frozen=True)
class FineTuneSettings(TrainingSettings):
    """Fine-tuning a BERT teacher on one labelled set."""

    learning_rate: float = positive(5e-5, "peak learning rate of AdamW")
    weight_decay: float = weight(0.01, "decoupled weight decay")


@dataclass(frozen=True)
class PretrainSettings(TrainingSettings):
    """Masked language modelling of a small BERT, where no teacher checkpoint can be had."""

    epochs: float = positive(5, "passes over the training rows")
    weight_decay: float = weight(0.01, "decoupled weight decay")
    hidden_size: int = positive(256, "width of the teacher")
    num_hidden_layers: int = positive(4, "layers of the teacher")
    num_attention_heads: int = positive(4, "heads of the teacher")
    vocab_size: int = setting(8000, "largest WordPiece vocabulary", minimum=100)
    mlm_probability: float = fraction(0.15, "share of tokens to be predicted")
    seed: int = setting(0, "seed of the pre-training", minimum=0, maximum=LARGEST_SEED)

    def __post_init__(self) -> None:
        check_heads(self.hidden_size, self.num_attention_heads)


@dataclass(frozen=True)
class DistillSettings(TrainingSettings):
    """The weights of the alignment losses (the paper's sigma)."""

    feature_weight: float = weight(0.1, "weight of L_fea")
    embedding_weight: float = weight(0.1, "weight of L_emb")
    ignored_layers: int = setting(0, "front blocks that L_fea skips", minimum=0)


@dataclass(frozen=True)
class Stage1Settings(DistillSettings):
    """Pre-training distillation on unlabelled text."""

    weight_decay: float = weight(0.01, "decoupled weight decay")
    batch_size: int = positive(128, "sequences per update")
    max_length: int = setting(256, "tokens per sequence, longer ones are cut", minimum=3)
    epochs: float = positive(1, "passes over the unlabelled sentences")
    max_sentences: int | None = setting(
        None,
        "at most so many of the sentences, the same first ones for every cap, so that a smaller "
        "one is part of a larger one; null takes all",
        minimum=1,
    )
    window_sentences: int | None = setting(
        None,
        "so many sentences are in memory at a time, and shuffled among themselves, while the text "
        "passes by; null holds all of it, and the teacher's answers to it can be kept",
        minimum=1,
    )
    feature_weight: float = weight(1.0, "weight of L_fea")
    embedding_weight: float = weight(1.0, "weight of L_emb")
    embedding_init: str = setting(
        "random",
        "the student's word embeddings start at random, or as the teacher's own, "
        "projected to the student's width by a singular value decomposition",
        enum=["random", "teacher"],
    )
    seed: int = setting(
        0,
        "seed of stage 1; its student is shared by all seeds of stage 2",
        minimum=0,
        maximum=LARGEST_SEED,
    )


@dataclass(frozen=True)
class Stage2Settings(DistillSettings):
    """Task distillation on the augmented set, from a fine-tuned teacher."""

    logits_weight: float = weight(1.0, "weight of L_logits")
    ce_weight: float = weight(0.1, "weight of L_ce")
    temperature: float = positive(1.0, "temperature of the softmax in L_logits")


@dataclass(frozen=True)
class DirectSettings(TrainingSettings):
    """The student trained on the labels alone."""

    max_length: int = setting(64, "tokens per sequence, longer ones are cut", minimum=3)


@dataclass(frozen=True)
class DenseStage1Settings(Stage1Settings):
    """Stage 1 of a dense BERT of the student's shape, which learns at lower rates than spikes."""

    learning_rate: float = positive(1e-4, "peak learning rate of AdamW")


@dataclass(frozen=True)
class DenseStage2Settings(Stage2Settings):
    """Stage 2 of a dense BERT of the student's shape."""

    learning_rate: float = positive(5e-5, "peak learning rate of AdamW")


@dataclass(frozen=True)
class DenseDirectSettings(DirectSettings):
    """A dense BERT of the student's shape, trained on the labels alone."""

    learning_rate: float = positive(1e-4, "peak learning rate of AdamW")


@dataclass(frozen=True)
class TextCnnSettings(TrainingSettings):
    """TextCNN: filters, dropout and width are Kim's (2014), the rest as Lv et al. (2023) train it.

    Both start from published word vectors. Here the teacher's word embeddings stand in for them.
    """

    learning_rate: float = positive(1e-4, "peak learning rate of AdamW")
    weight_decay: float = weight(0.0, "decoupled weight decay")
    epochs: float = positive(50, "passes over the training rows")
    max_length: int = setting(64, "tokens per sequence, longer ones are cut", minimum=3)
    embedding_size: int = positive(300, "width of the word embeddings")
    filters: int = positive(100, "filters of each width")
    widths: list[int] = setting(
        (3, 4, 5), "words that a filter sees", items={"minimum": 1}, minItems=1
    )
    dropout: float = setting(0.5, "dropout on the pooled features", minimum=0, exclusiveMaximum=1)
    embedding_init: str = setting(
        "teacher",
        "the word embeddings start at random, or as the pre-trained BERT's own, projected to "
        "embedding_size by a singular value decomposition",
        enum=["random", "teacher"],
    )


@dataclass(frozen=True)
class SnnTextCnnSettings(TrainingSettings):
    """The trained TextCNN made spiking and fine-tuned, after Lv et al. (2023).

    Its neurons are settings of their own: theirs do not leak, and a sweep over the student's should
    not train this model anew.
    """

    learning_rate: float = positive(1e-4, "peak learning rate of AdamW")
    weight_decay: float = weight(0.0, "decoupled weight decay")
    epochs: float = positive(50, "passes over the training rows")
    max_length: int = setting(64, "tokens per sequence, longer ones are cut", minimum=3)
    timesteps: int = positive(50, "time steps T")
    beta: float = fraction(1.0, "membrane decay per step; 1 does not leak")
    threshold: float = positive(1.0, "firing threshold U_thr")
    surrogate: str = setting("atan", "surrogate derivative, a name in spikebert.neurons.SURROGATES")
    surrogate_alpha: float = positive(2.0, "sharpness of the surrogate")
    pooling: str = setting(
        "max",
        "currents over the words of a sentence: their maximum or their mean",
        enum=["max", "average"],
    )


@dataclass(frozen=True)
class AugmentSettings:
    """Tang et al. (2019): mask, swap within a part of speech, keep an n-gram."""

    enabled: bool = setting(
        True, "false: stage 2 sees the original rows alone, and no transfer set"
    )
    p_mask: float = fraction(0.1, "a word becomes the mask token")
    p_pos: float = fraction(0.1, "a word becomes another of its part of speech")
    p_ng: float = fraction(0.25, "only a random n-gram of the sentence is kept")
    max_ngram: int = positive(5, "longest n-gram")
    n_iter: int = setting(20, "draws per sentence", minimum=0)
    transfer_sentences: int = setting(
        0,
        "as many of the unlabelled sentences as well, for the teacher to label: a transfer set in "
        "the words of Turc et al. (2019); the paper has none",
        minimum=0,
    )


@dataclass(frozen=True)
class TfidfSettings:
    """Term frequencies and logistic regression: the floor that any neural model has to beat."""

    max_ngram: int = positive(2, "longest n-gram: words in English, characters in Chinese")
    inverse_regularisation: list[float] = setting(
        (0.3, 1.0, 3.0, 10.0), "values of C; dev selects", items={"exclusiveMinimum": 0}
    )


STEPS: dict[str, type] = {
    "finetune": FineTuneSettings,
    "pretrain": PretrainSettings,
    "stage1": Stage1Settings,
    "stage2": Stage2Settings,
    "direct": DirectSettings,
    "tfidf": TfidfSettings,
    "textcnn": TextCnnSettings,
    "snn_textcnn": SnnTextCnnSettings,
    "dense_direct": DenseDirectSettings,
    "dense_stage1": DenseStage1Settings,
    "dense_stage2": DenseStage2Settings,
}


def step_of(settings: Any) -> str:
    """The step that settings belong to.

    >>> step_of(DirectSettings())
    'direct'
    """
    return next(step for step, cls in STEPS.items() if type(settings) is cls)


def schema_of(cls: type) -> dict[str, Any]:
    """The closed JSON schema of a settings class."""
    properties = {}
    for f in fields(cls):
        kind = str(f.type)
        if kind.startswith("list"):
            inner = _TYPES[kind[5:-1]]
            items = {"type": inner, **f.metadata["items"]}
            properties[f.name] = {**f.metadata, "type": "array", "items": items}
            continue
        names = [part.strip() for part in kind.split("|")]
        types = ["null" if n == "None" else _TYPES[n] for n in names]
        properties[f.name] = {"type": types[0] if len(types) == 1 else types, **f.metadata}
    return {
        "type": "object",
        "description": (cls.__doc__ or "").strip(),
        "additionalProperties": False,
        "properties": properties,
    }


def build(cls: type[T], values: dict[str, Any]) -> T:
    """Settings of class `cls` from a mapping; a wrong name, type or range is a `UserError`."""
    check(values, schema_of(cls), cls.__name__)
    return cls(**values)


def _is_number(_: Any, value: Any) -> bool:
    """A finite one, so that NaN passes no bound; 1e300 holds any whole number a float can."""
    return not isinstance(value, bool) and (
        (isinstance(value, float) and math.isfinite(value))
        or (isinstance(value, int) and abs(value) <= 10**300)
    )


def _is_integer(_: Any, value: Any) -> bool:
    """One that tensors can count with; 3.0 is none, since range() and slices refuse it."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _matches(_: Any, pattern: str, value: Any, __: Any) -> Iterator[jsonschema.ValidationError]:
    """In Python's `re`, unlike in JSON Schema, "$" takes "name\\n", too."""
    if isinstance(value, str) and not re.search(pattern.replace("$", r"\Z"), value):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    validators={"pattern": _matches},
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"number": _is_number, "integer": _is_integer}
    ),
)


def check(values: Any, schema: dict[str, Any], where: str) -> None:
    """Validate `values`, and say which setting is wrong, what was expected and what came."""
    errors = list(_Validator(schema).iter_errors(values))
    misspelt = [error for error in errors if error.validator == "additionalProperties"]
    error = jsonschema.exceptions.best_match(misspelt or errors)
    if error is None:
        return
    path = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = sorted(str(name) for name in error.instance if name not in known)
        near = difflib.get_close_matches(unknown[0], known, 1)
        raise UserError(
            f"unknown setting {'.'.join(filter(None, [path, unknown[0]]))} in {where}",
            expected=", ".join(known),
            got=", ".join(unknown),
            fix=f"did you mean {near[0]}?" if near else "remove it",
        )
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        meaning = error.schema.get("properties", {}).get(missing, {}).get("description")
        raise UserError(
            f"setting {'.'.join(filter(None, [path, missing]))} in {where}",
            expected=meaning or "a value",
            got="none",
            fix=f"give {missing}",
        )
    limits = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "maxLength")
    keys = ("type", "enum", "pattern", *limits)
    rule = {k: error.schema[k] for k in keys if k in error.schema}
    raise UserError(
        f"setting {path or where} in {where}",
        expected=rule if error.validator in rule else error.message[:300],
        got=repr(error.instance)[:200],
        fix=error.schema.get("description") or error.message[:300],
    )


def digest(value: Any) -> str:
    """Twelve hexadecimal digits of the SHA-256 of a JSON value, key order left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
