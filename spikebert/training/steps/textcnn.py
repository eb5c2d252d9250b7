"""TextCNN and the spiking network made of it, from files to files."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, set_seed

from ...config.plan import Run
from ...config.settings import SnnTextCnnSettings, TextCnnSettings
from ...errors import UserError
from ...models.configuration import SnnTextCnnConfig, TextCnnConfig
from ...models.loading import POOLER, load_model
from ...models.textcnn import TextCnnForSequenceClassification, convert
from ...records.records import Record
from ...utils.checksums import tree_digest
from ..distillation import copy_embeddings
from ..tokenization import load_tokenizer
from .common import Corpus, Outputs, Training, train_and_save


def _given(kind: type[TextCnnConfig], source: object) -> dict[str, Any]:
    """The fields that a configuration adds to its parent's, as far as `source` has them."""
    names = inspect.get_annotations(kind)
    return {name: getattr(source, name) for name in names if hasattr(source, name)}


def textcnn(
    settings: TextCnnSettings, corpus_dir: Path, teacher_dir: Path, run: Run, outputs: Outputs
) -> Record | None:
    """Train TextCNN, whose tokenizer and, by setting, first word embeddings are a BERT's."""
    set_seed(run.seed)
    corpus = Corpus.read(corpus_dir)
    tokenizer = load_tokenizer(teacher_dir)
    model = TextCnnForSequenceClassification(
        TextCnnConfig(
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            **_given(TextCnnConfig, settings),
            **corpus.label_names,
        )
    )
    if settings.embedding_init == "teacher":
        teacher = load_model(AutoModel, teacher_dir, new=POOLER)
        copy_embeddings(model, teacher, model.config.embedding_std)
    return train_and_save(
        Training(
            run,
            corpus,
            outputs,
            model,
            tokenizer,
            settings,
            described={"textcnn": dataclasses.asdict(settings)},
            inputs={"corpus": corpus.digest, "teacher": tree_digest(teacher_dir)},
        )
    )


def snn_textcnn(
    settings: SnnTextCnnSettings, corpus_dir: Path, textcnn_dir: Path, run: Run, outputs: Outputs
) -> Record | None:
    """Make a trained TextCNN spiking and fine-tune it.

    Raises:
        UserError: `textcnn_dir` holds another model, or one of other classes.
    """
    set_seed(run.seed)
    corpus = Corpus.read(corpus_dir)
    config = AutoConfig.from_pretrained(textcnn_dir)
    found = (config.model_type, config.num_labels)
    if found != (TextCnnConfig.model_type, corpus.num_labels):
        raise UserError(
            f"model in {textcnn_dir}",
            expected=f"a {TextCnnConfig.model_type} of {corpus.num_labels} classes",
            got=f"a {found[0]} of {found[1]}",
            fix="train a TextCNN on this set",
        )
    model = convert(
        load_model(AutoModelForSequenceClassification, textcnn_dir),
        SnnTextCnnConfig(
            **_given(TextCnnConfig, config),
            **_given(SnnTextCnnConfig, settings),
            **corpus.label_names,
        ),
    )
    return train_and_save(
        Training(
            run,
            corpus,
            outputs,
            model,
            load_tokenizer(textcnn_dir),
            settings,
            described={"snn_textcnn": dataclasses.asdict(settings)},
            inputs={"corpus": corpus.digest, "textcnn": tree_digest(textcnn_dir)},
            upstream={"teacher": None, "textcnn": run.teacher},
        )
    )
