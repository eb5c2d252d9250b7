"""What there is to train, and in which languages: each model and each language once.

One that is entered here is known everywhere: to the configuration and its schema, to the plan, the
rules, the tables and the figures. Functions of other rooms are named as `module:function`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

BASE = "base"

# What a dense BERT of the student's shape takes of the settings of `model`; the rest is about
# spikes.
SHAPE = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "mlp_ratio",
    "max_position_embeddings",
)


class RunId(NamedTuple):
    """The name of one trained model, `<dataset>.<model>.<variant>.s<seed>`.

    >>> str(RunId("mr", "spikebert", "beta-0.8", 1))
    'mr.spikebert.beta-0.8.s1'
    >>> RunId.parse("mr.spikebert.beta-0.8.s1").variant
    'beta-0.8'
    """

    dataset: str
    model: str
    variant: str
    seed: int

    def __str__(self) -> str:
        return f"{self.dataset}.{self.model}.{self.variant}.s{self.seed}"

    @classmethod
    def parse(cls, text: str) -> RunId:
        """The id that `str` wrote; a ValueError for any other text."""
        found = re.fullmatch(r"([^.]+)\.([^.]+)\.(.+)\.s(\d+)", text)
        if found is None:
            raise ValueError(f"{text!r} is not <dataset>.<model>.<variant>.s<seed>")
        return cls(found[1], found[2], found[3], int(found[4]))


@dataclass(frozen=True)
class ModelSpec:
    """One kind of model that a row of `runs` may ask for."""

    title: str  # in tables, figures and claims
    # Settings that decide its weights, its parent's too, and its own step last.
    sections: tuple[str, ...]
    colour: str  # of Okabe and Ito's palette; a spiking network and its dense twin share theirs
    parent: str | None = None  # the model of the same set and seed that it starts or learns from
    dense: bool = False  # a dense network with a spiking twin; of `model` it takes the shape alone
    compressed: bool = False  # a published compressed BERT, fine-tuned as the teacher is
    neural: bool = True  # false: no weights folder, no energy, no seed, no BERT of its language
    measured: bool = True  # its energy is counted; false where another model costs the same

    @property
    def step(self) -> str:
        """The section of the settings of its own step."""
        return self.sections[-1]

    @property
    def rule(self) -> str:
        """The function and the Snakemake rule that train it: a dense twin has its twin's."""
        return self.step.removeprefix("dense_") if self.dense else self.step

    @property
    def stage1(self) -> str | None:
        """The section of the stage 1 that it comes from; None if it comes from none."""
        return next((name for name in self.sections if name.endswith("stage1")), None)

    @property
    def student_steps(self) -> tuple[str, ...]:
        """The sections of the steps that train the student: those after `model`."""
        sections = self.sections
        return sections[sections.index("model") + 1 :] if "model" in sections else ()

    @property
    def from_bert(self) -> bool:
        """Whether it needs the pre-trained BERT of its language, at least its word pieces."""
        return self.neural and not self.compressed

    def depends(self, section: str, key: str) -> bool:
        """Whether its weights depend on a setting."""
        return section in self.sections and (section != "model" or not self.dense or key in SHAPE)


_LABELLED = ("finetune", "augment", "model")  # what a distilled student depends on first
# In the order of the tables.
MODELS: dict[str, ModelSpec] = {
    "tfidf": ModelSpec("TF-IDF with logistic regression", ("tfidf",), "#000000", neural=False),
    "textcnn": ModelSpec("TextCNN", ("textcnn",), "#56B4E9", dense=True),
    "teacher": ModelSpec("its fine-tuned teacher", ("finetune",), "#0072B2"),
    "distilbert": ModelSpec("DistilBERT", ("finetune",), "#F0E442", compressed=True),
    "tinybert": ModelSpec("TinyBERT", ("finetune",), "#999999", compressed=True),
    "dense_direct": ModelSpec(
        "a dense BERT of its shape, directly trained",
        ("model", "dense_direct"),
        "#E69F00",
        dense=True,
    ),
    "dense_distilled": ModelSpec(
        "a dense BERT of its shape, distilled as it is,",
        (*_LABELLED, "dense_stage1", "dense_stage2"),
        "#D55E00",
        parent="teacher",
        dense=True,
        measured=False,
    ),
    "snn_textcnn": ModelSpec(
        "SNN-TextCNN", ("textcnn", "snn_textcnn"), "#56B4E9", parent="textcnn"
    ),
    "direct": ModelSpec("the directly trained Spikformer", ("model", "direct"), "#E69F00"),
    "stage2_only": ModelSpec(
        "the student distilled on the task alone",
        (*_LABELLED, "stage2"),
        "#009E73",
        parent="teacher",
        measured=False,
    ),
    "spikebert": ModelSpec(
        "SpikeBERT", (*_LABELLED, "stage1", "stage2"), "#D55E00", parent="teacher"
    ),
}
# Neurons, surrogate derivatives, encoders and attentions of our own; `sj.<class>` is a neuron or
# surrogate of spikingjelly's, and plugins may enter others.
NEURONS = ("lif", "relu")
SURROGATES = ("atan", "sigmoid", "triangle", "rectangle")
ENCODERS = ("heaviside", "lif", "current")
ATTENTIONS = ("spiking",)

COMPRESSED = tuple(name for name, spec in MODELS.items() if spec.compressed)


@dataclass(frozen=True)
class Language:
    """What the steps have to know of a language."""

    tagger: str  # text -> words with their parts of speech
    splitter: str  # text -> sentences
    ngrams: str  # of TF-IDF: word or char
    longest: int  # characters of a sentence; longer ones are cut
    shortest: int  # letters and digits; shorter sentences are dropped
    encodings: tuple[str, ...]  # that its files often have


# By their codes in ISO 639-1.
LANGUAGES: dict[str, Language] = {
    "en": Language(
        tagger="spikebert.data.augment:tag_english",
        splitter="spikebert.data.text:split_english",
        ngrams="word",
        longest=600,
        shortest=8,
        encodings=("utf-8", "cp1252"),
    ),
    "zh": Language(
        tagger="spikebert.data.augment:tag_chinese",
        splitter="spikebert.data.text:split_chinese",
        ngrams="char",
        longest=200,
        shortest=4,
        encodings=("utf-8", "gb18030"),
    ),
}
