"""Direct training on the labels alone: the student, a dense BERT of its shape, or the model of a
plugin."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    set_seed,
)

from ...config.plan import Run
from ...config.plugins import needed, register
from ...config.registry import MODELS, ModelSpec
from ...config.schema import SECTIONS, add_model
from ...config.settings import DirectSettings, ModelSettings, TrainingSettings
from ...errors import UserError
from ...models.students import describe, new_student
from ...records.records import Record
from ...utils.checksums import tree_digest
from ..tokenization import load_tokenizer, tokenizer_file
from .common import Corpus, Outputs, Training, train_and_save

# Of plugins, by the name of the model: (settings, tokenizer, **labels) -> a classifier at random;
# `labels` are the arguments of its Hugging Face configuration that name the classes.
BUILDERS: dict[str, Callable[..., PreTrainedModel]] = {}


def register_model(
    name: str,
    model: type[PreTrainedModel],
    settings: type[TrainingSettings],
    build: Callable[..., PreTrainedModel],
    title: str,
    colour: str,
) -> None:
    """Let rows of `runs` ask for a classifier of a file outside the package, which is trained on
    the labels.

    Args:
        name: of the model, of its settings under `steps`, and of its rule.
        model: the class, whose `config_class` has a `model_type` of its own. Called with ids and
            mask [B, N] it returns logits [B, C]; where its configuration has `timesteps`, time is
            the first axis within.
        settings: of its training and of itself, a frozen dataclass.
        build: (settings, tokenizer, **labels) -> the model at random.
        title: in tables and claims.
        colour: in figures.

    Raises:
        UserError: the name is taken, or is no name of a rule.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise UserError(
            f"model {name}",
            expected="small letters, digits and _",
            got=name,
            fix="give it another name",
        )
    taken = [*SECTIONS, *(spec.rule for spec in MODELS.values()), *MODELS]
    register("model", BUILDERS, name, build, taken=set(taken) - BUILDERS.keys())
    add_model(name, ModelSpec(title, (name,), colour), settings)
    config: Any = model.config_class
    AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoModelForSequenceClassification.register(config, model, exist_ok=True)


def registered(
    settings: TrainingSettings, corpus_dir: Path, tokenizer_dir: Path, run: Run, outputs: Outputs
) -> Record | None:
    """Train the model of a plugin from random weights."""

    def build(tokenizer: Any, **labels: Any) -> PreTrainedModel:
        model = BUILDERS[run.model](settings, tokenizer, **labels)
        model.config.plugins = needed("model", [run.model])
        return model

    return _train(build, settings, {}, corpus_dir, tokenizer_dir, run, outputs)


def direct(
    model: ModelSettings,
    settings: DirectSettings,
    corpus_dir: Path,
    tokenizer_dir: Path,
    run: Run,
    outputs: Outputs,
) -> Record | None:
    """Train a student from random weights, dense where the model of the run is."""
    dense = MODELS[run.model].dense

    def build(tokenizer: Any, **labels: Any) -> PreTrainedModel:
        config = new_student(model, tokenizer, dense, **labels)
        return AutoModelForSequenceClassification.from_config(config)

    described = {"model": describe(model, dense)}
    return _train(build, settings, described, corpus_dir, tokenizer_dir, run, outputs)


def _train(
    build: Callable[..., PreTrainedModel],
    settings: TrainingSettings,
    described: dict[str, Any],
    corpus_dir: Path,
    tokenizer_dir: Path,
    run: Run,
    outputs: Outputs,
) -> Record | None:
    set_seed(run.seed)
    corpus = Corpus.read(corpus_dir)
    tokenizer = load_tokenizer(tokenizer_dir)
    return train_and_save(
        Training(
            run,
            corpus,
            outputs,
            build(tokenizer, **corpus.label_names),
            tokenizer,
            settings,
            described={**described, MODELS[run.model].step: dataclasses.asdict(settings)},
            inputs={
                "corpus": corpus.digest,
                "tokenizer": tree_digest(tokenizer_file(tokenizer_dir)),
            },
        )
    )
