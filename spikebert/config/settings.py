"""Every setting once: name, default (the paper's, where it gives one), range and meaning. The
frozen dataclasses are what training and model code take, and the schema of the configuration."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, WithJsonSchema

from ..errors import UserError
from ..utils.validation import STRICT, Number, Truth, Whole
from .plugins import part_name
from .registry import ATTENTIONS, ENCODERS, NEURONS, SURROGATES

# Settings that came after results were published, by step. At their default they are left out of
# what a step is told, so that these results stay those of their configuration.
LATER: dict[str, tuple[str, ...]] = {
    "augment": ("transfer_sentences",),
    "model": ("embedding_mean", "neuron_options", "attention"),
    "stage1": ("max_sentences", "window_sentences", "losses"),
    "stage2": ("losses",),
    "dense_stage1": ("window_sentences", "losses"),
    "dense_stage2": ("losses",),
}
LARGEST_SEED = 2**32 - 1  # NumPy's
# No setting of a step: it decides how much a kill costs, and no number.
CHECKPOINT_MINUTES = 15

Count = Annotated[Whole, Field(ge=1)]
Positive = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
Weight = Annotated[Number, Field(ge=0)]
Decay = Annotated[Number, Field(ge=0, lt=1)]
Seed = Annotated[Whole, Field(ge=0, le=LARGEST_SEED)]
Json = Annotated[JsonValue, WithJsonSchema({})]

# Settings of several steps, whose defaults differ.
LearningRate = Annotated[Positive, Field(description="peak learning rate of AdamW")]
WeightDecay = Annotated[Weight, Field(description="decoupled weight decay")]
Epochs = Annotated[Positive, Field(description="passes over the training rows")]
BatchSize = Annotated[Count, Field(description="sequences per update")]
MaxLength = Annotated[Whole, Field(ge=3, description="tokens per sequence, longer ones are cut")]
FeatureWeight = Annotated[Weight, Field(description="weight of L_fea")]
EmbeddingWeight = Annotated[Weight, Field(description="weight of L_emb")]
Timesteps = Annotated[Count, Field(description="time steps T")]
Threshold = Annotated[Positive, Field(description="firing threshold U_thr")]
Surrogate = Annotated[
    str,
    *part_name("surrogate", SURROGATES, theirs=True),
    Field(description=f"surrogate derivative: {', '.join(SURROGATES)}, sj.<class> or a plugin's"),
]
Sharpness = Annotated[Positive, Field(description="sharpness of the surrogate")]

STEPS: dict[str, type] = {}  # the settings of each step


class Section:
    """Settings of a section of the configuration, which may be a step."""

    __pydantic_config__ = STRICT

    def __init_subclass__(cls, step: str = "") -> None:
        if step:
            STEPS[step] = cls


@dataclass
class ModelSettings(Section):
    """The spiking student. Defaults are the paper's model (12 blocks of width 768, 4 steps)."""

    hidden_size: Count = 768
    """width D of the token stream"""
    num_hidden_layers: Count = 12
    """number of blocks (depth)"""
    num_attention_heads: Count = 12
    """attention heads H; divides hidden_size"""
    mlp_ratio: Positive = 4.0
    """width of the MLP's hidden layer over D"""
    timesteps: Timesteps = 4
    neuron: Annotated[str, *part_name("neuron", NEURONS, theirs=True)] = "lif"
    """neuron: lif, relu (real-valued, a control without spikes), sj.<class> of spikingjelly, or the
    name of one in a plugin"""
    beta: Decay = 0.9
    """membrane decay per step, 1 - 1/tau"""
    tau: Annotated[Number, Field(ge=1)] | None = None
    """membrane time constant in steps; replaces beta"""
    decay_input: Truth = False
    """true: the input is weighted by 1/tau = 1 - beta, too; with a beta of 0.9 and a threshold
    of 1 hardly any neuron then fires within 4 steps"""
    reset: Literal["soft", "hard"] = "soft"
    """after a spike: subtract the threshold, or set to 0"""
    detach_reset: Truth = True
    """no gradient through the reset"""
    threshold: Threshold = 1.0
    attention_threshold: Positive = 0.25
    """firing threshold of the neuron after attention"""
    surrogate: Surrogate = "atan"
    surrogate_alpha: Sharpness = 2.0
    neuron_options: dict[str, Json] | None = None
    """further arguments of the neuron by name, such as {max_spike_count: 4} of sj.ILIFNode"""
    encoder: Annotated[str, *part_name("encoder", ENCODERS)] = "heaviside"
    """how embeddings become spikes: heaviside (the same at every step), lif (a layer of the
    configured neurons), current (they do not: the first block is given their real values), or the
    name of one in a plugin"""
    attention: Annotated[str, *part_name("attention", ATTENTIONS)] = "spiking"
    """attention of a block: spiking, or the name of one in a plugin"""
    embedding_mean: Number = 0.0
    """mean of the word embeddings at the start; the LIF encoder is silent below 0, so half its
    threshold suits it"""
    residual: Literal["add", "membrane"] = "add"
    """add: spikes are summed (Spikformer); membrane: currents are summed before the neuron"""
    position: Literal["none", "sinusoidal", "learned"] = "none"
    """position signal on the embedding"""
    max_position_embeddings: Count = 512
    """longest sequence a position signal covers"""
    attention_scale: Positive = 0.125
    """factor on Q K^T V before its neuron"""
    attention_order: Literal["auto", "qk_first", "kv_first"] = "auto"
    """(Q K^T) V, Q (K^T V), or whichever costs less at the shape at hand; equal in value"""
    dropout: Decay = 0.0
    """dropout on the current that a sub-block adds to the stream, and on the head's input"""

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
class TrainingSettings(Section):
    """What every training step has in common."""

    learning_rate: LearningRate = 5e-4
    weight_decay: WeightDecay = 5e-3
    epochs: Epochs = 3.0
    batch_size: BatchSize = 32
    max_length: MaxLength = 128
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """learning rate over the run"""
    warmup_ratio: Share = 0.1
    """share of the updates with a rising learning rate"""
    clip_norm: Positive = 1.0
    """largest gradient norm"""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """products in bfloat16 where the processor has it (auto), always, or never; membranes stay
    in float32"""
    evaluations: Count = 10
    """evenly spaced evaluations on dev, each with a checkpoint"""
    compile: Truth = True
    """compile the neurons for training, where a compiler is at hand"""


@dataclass(frozen=True)
class FineTuneSettings(TrainingSettings, step="finetune"):
    """Fine-tuning a BERT teacher on one labelled set."""

    learning_rate: LearningRate = 5e-5
    weight_decay: WeightDecay = 0.01


@dataclass(frozen=True)
class PretrainSettings(TrainingSettings, step="pretrain"):
    """Masked language modelling of a small BERT, where no teacher checkpoint can be had."""

    epochs: Epochs = 5.0
    weight_decay: WeightDecay = 0.01
    hidden_size: Count = 256
    """width of the teacher"""
    num_hidden_layers: Count = 4
    """layers of the teacher"""
    num_attention_heads: Count = 4
    """heads of the teacher"""
    vocab_size: Annotated[Whole, Field(ge=100)] = 8000
    """largest WordPiece vocabulary"""
    mlm_probability: Share = 0.15
    """share of tokens to be predicted"""
    seed: Seed = 0
    """seed of the pre-training"""

    def __post_init__(self) -> None:
        check_heads(self.hidden_size, self.num_attention_heads)


@dataclass(frozen=True)
class DistillSettings(TrainingSettings):
    """The weights of the alignment losses (the paper's sigma)."""

    feature_weight: FeatureWeight = 0.1
    embedding_weight: EmbeddingWeight = 0.1
    ignored_layers: Annotated[Whole, Field(ge=0)] = 0
    """front blocks that L_fea skips"""
    losses: dict[Annotated[str, *part_name("loss")], Weight] = field(default_factory=dict)
    """weights of the losses that plugins register, by their names"""


@dataclass(frozen=True)
class Stage1Settings(DistillSettings, step="stage1"):
    """Pre-training distillation on unlabelled text."""

    weight_decay: WeightDecay = 0.01
    batch_size: BatchSize = 128
    max_length: MaxLength = 256
    epochs: Positive = 1.0
    """passes over the unlabelled sentences"""
    max_sentences: Count | None = None
    """at most so many of the sentences, the same first ones for every cap, so that a smaller one
    is part of a larger one; null takes all"""
    window_sentences: Count | None = None
    """so many sentences are shuffled among themselves while the text passes by, with eight bytes a
    sentence in memory; null holds all of it, and the teacher's answers to it can be kept"""
    feature_weight: FeatureWeight = 1.0
    embedding_weight: EmbeddingWeight = 1.0
    embedding_init: Literal["random", "teacher"] = "random"
    """the student's word embeddings start at random, or as the teacher's own, projected to the
    student's width by a singular value decomposition"""
    seed: Seed = 0
    """seed of stage 1; its student is shared by all seeds of stage 2"""


@dataclass(frozen=True)
class Stage2Settings(DistillSettings, step="stage2"):
    """Task distillation on the augmented set, from a fine-tuned teacher."""

    logits_weight: Weight = 1.0
    """weight of L_logits"""
    ce_weight: Weight = 0.1
    """weight of L_ce"""
    temperature: Positive = 1.0
    """temperature of the softmax in L_logits"""


@dataclass(frozen=True)
class DirectSettings(TrainingSettings, step="direct"):
    """The student trained on the labels alone."""

    max_length: MaxLength = 64


@dataclass(frozen=True)
class TfidfSettings(Section, step="tfidf"):
    """Term frequencies and logistic regression: the floor that any neural model has to beat."""

    max_ngram: Count = 2
    """longest n-gram: words in English, characters in Chinese"""
    inverse_regularisation: Annotated[tuple[Positive, ...], Field(min_length=1)] = (
        0.3,
        1.0,
        3.0,
        10.0,
    )
    """values of C; dev selects"""


@dataclass(frozen=True)
class TextCnnSettings(TrainingSettings, step="textcnn"):
    """TextCNN: filters, dropout and width are Kim's (2014), the rest as Lv et al. (2023) train it.

    Both start from published word vectors. Here the teacher's word embeddings stand in for them.
    """

    learning_rate: LearningRate = 1e-4
    weight_decay: WeightDecay = 0.0
    epochs: Epochs = 50.0
    max_length: MaxLength = 64
    embedding_size: Count = 300
    """width of the word embeddings"""
    filters: Count = 100
    """filters of each width"""
    widths: Annotated[tuple[Count, ...], Field(min_length=1)] = (3, 4, 5)
    """words that a filter sees"""
    dropout: Decay = 0.5
    """dropout on the pooled features"""
    embedding_init: Literal["random", "teacher"] = "teacher"
    """the word embeddings start at random, or as the pre-trained BERT's own, projected to
    embedding_size by a singular value decomposition"""


@dataclass(frozen=True)
class SnnTextCnnSettings(TrainingSettings, step="snn_textcnn"):
    """The trained TextCNN made spiking and fine-tuned, after Lv et al. (2023).

    Its neurons are settings of their own: theirs do not leak, and a sweep over the student's should
    not train this model anew.
    """

    learning_rate: LearningRate = 1e-4
    weight_decay: WeightDecay = 0.0
    epochs: Epochs = 50.0
    max_length: MaxLength = 64
    timesteps: Timesteps = 50
    beta: Share = 1.0
    """membrane decay per step; 1 does not leak"""
    threshold: Threshold = 1.0
    surrogate: Surrogate = "atan"
    surrogate_alpha: Sharpness = 2.0
    pooling: Literal["max", "average"] = "max"
    """currents over the words of a sentence: their maximum or their mean"""


@dataclass(frozen=True)
class DenseDirectSettings(DirectSettings, step="dense_direct"):
    """A dense BERT of the student's shape, trained on the labels alone."""

    learning_rate: LearningRate = 1e-4


@dataclass(frozen=True)
class DenseStage1Settings(Stage1Settings, step="dense_stage1"):
    """Stage 1 of a dense BERT of the student's shape, which learns at lower rates than spikes."""

    learning_rate: LearningRate = 1e-4


@dataclass(frozen=True)
class DenseStage2Settings(Stage2Settings, step="dense_stage2"):
    """Stage 2 of a dense BERT of the student's shape."""

    learning_rate: LearningRate = 5e-5


@dataclass(frozen=True)
class AugmentSettings(Section):
    """Tang et al. (2019): mask, swap within a part of speech, keep an n-gram."""

    enabled: Truth = True
    """false: stage 2 sees the original rows alone, and no transfer set"""
    p_mask: Share = 0.1
    """a word becomes the mask token"""
    p_pos: Share = 0.1
    """a word becomes another of its part of speech"""
    p_ng: Share = 0.25
    """only a random n-gram of the sentence is kept"""
    max_ngram: Count = 5
    """longest n-gram"""
    n_iter: Annotated[Whole, Field(ge=0)] = 20
    """draws per sentence"""
    transfer_sentences: Annotated[Whole, Field(ge=0)] = 0
    """as many of the unlabelled sentences as well, for the teacher to label: a transfer set in
    the words of Turc et al. (2019); the paper has none"""


# A number is raised by hand when the meaning of a step changes, so that its results are made again.
ALGORITHM = {"corpus": 1, "augment": 1, **dict.fromkeys(STEPS, 1)}


def digest(value: Any) -> str:
    """Twelve hexadecimal digits of the SHA-256 of a JSON value, key order left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
