"""Training on the labels alone: of a pre-trained BERT, a student or a dense BERT of its shape at
random, or the model of a plugin."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from ...config.plan import Run
from ...config.plugins import needed, register
from ...config.registry import MODELS, ModelSpec
from ...config.schema import SECTIONS, add_model
from ...config.settings import DirectSettings, FineTuneSettings, ModelSettings, TrainingSettings
from ...errors import UserError
from ...models.loading import HEAD, load_model
from ...models.students import describe, new_student
from ...records.records import Record
from ..tokenization import tokenizer_file
from .common import Outputs, Task

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
    settings: TrainingSettings, corpus: Path, bert: Path, run: Run, outputs: Outputs
) -> Record | None:
    """Train the model of a plugin from random weights."""
    task = Task(settings, corpus, bert, run, outputs)
    model = BUILDERS[run.model](settings, task.tokenizer, **task.corpus.label_names)
    model.config.plugins = needed("model", [run.model])
    return task.train(model, {"tokenizer": tokenizer_file(bert)})


def direct(
    model: ModelSettings,
    settings: DirectSettings,
    corpus: Path,
    bert: Path,
    run: Run,
    outputs: Outputs,
) -> Record | None:
    """Train a student from random weights, dense where the model of the run is."""
    dense = MODELS[run.model].dense
    task = Task(settings, corpus, bert, run, outputs)
    config = new_student(model, task.tokenizer, dense, **task.corpus.label_names)
    student = AutoModelForSequenceClassification.from_config(config)
    described = {"model": describe(model, dense), **task.own()}
    return task.train(student, {"tokenizer": tokenizer_file(bert)}, described)


def finetune(
    settings: FineTuneSettings, corpus: Path, bert: Path, run: Run, outputs: Outputs
) -> Record | None:
    """Fine-tune the BERT in `bert`, which may be a compressed one."""
    task = Task(settings, corpus, bert, run, outputs)
    labels = task.corpus.label_names
    model = load_model(AutoModelForSequenceClassification, bert, new=HEAD, **labels)
    return task.train(model, {"teacher": bert})
