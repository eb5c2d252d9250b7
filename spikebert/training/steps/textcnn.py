"""TextCNN and the spiking network made of it, from files to files."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from ...config.plan import Run
from ...config.settings import SnnTextCnnSettings, TextCnnSettings
from ...errors import UserError
from ...models.configuration import SnnTextCnnConfig, TextCnnConfig
from ...models.loading import POOLER, load_model
from ...models.textcnn import TextCnnForSequenceClassification, convert
from ...records.records import Record
from ..distillation import copy_embeddings
from .common import Outputs, Task


def _given(kind: type[TextCnnConfig], source: object) -> dict[str, Any]:
    """The fields that a configuration adds to its parent's, as far as `source` has them."""
    names = inspect.get_annotations(kind)
    return {name: getattr(source, name) for name in names if hasattr(source, name)}


def textcnn(
    settings: TextCnnSettings, corpus: Path, bert: Path, run: Run, outputs: Outputs
) -> Record | None:
    """Train TextCNN, whose tokenizer and, by setting, first word embeddings are a BERT's."""
    task = Task(settings, corpus, bert, run, outputs)
    model = TextCnnForSequenceClassification(
        TextCnnConfig(
            vocab_size=len(task.tokenizer),
            pad_token_id=task.tokenizer.pad_token_id,
            **_given(TextCnnConfig, settings),
            **task.corpus.label_names,
        )
    )
    if settings.embedding_init == "teacher":
        teacher = load_model(AutoModel, bert, new=POOLER)
        copy_embeddings(model, teacher, model.config.embedding_std)
    return task.train(model, {"teacher": bert})


def snn_textcnn(
    settings: SnnTextCnnSettings, corpus: Path, parent: Path, run: Run, outputs: Outputs
) -> Record | None:
    """Make a trained TextCNN spiking and fine-tune it.

    Raises:
        UserError: `parent` holds another model, or one of other classes.
    """
    task = Task(settings, corpus, parent, run, outputs)
    config = AutoConfig.from_pretrained(parent)
    found = (config.model_type, config.num_labels)
    if found != (TextCnnConfig.model_type, task.corpus.num_labels):
        raise UserError(
            f"model in {parent}",
            expected=f"a {TextCnnConfig.model_type} of {task.corpus.num_labels} classes",
            got=f"a {found[0]} of {found[1]}",
            fix="train a TextCNN on this set",
        )
    model = convert(
        load_model(AutoModelForSequenceClassification, parent),
        SnnTextCnnConfig(
            **_given(TextCnnConfig, config),
            **_given(SnnTextCnnConfig, settings),
            **task.corpus.label_names,
        ),
    )
    upstream = {"teacher": None, "textcnn": run.teacher}
    return task.train(model, {"textcnn": parent}, upstream=upstream)
