"""Direct training: the student, or a dense BERT of its shape, on the labels alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from transformers import set_seed

from ...config.plan import Run
from ...config.registry import MODELS
from ...config.settings import DirectSettings, ModelSettings
from ...models.students import classifier, describe, new_student
from ...records.records import Record
from ...utils.checksums import tree_digest
from ..tokenization import load_tokenizer, tokenizer_file
from .common import Corpus, Outputs, Training, train_and_save


def direct(
    model: ModelSettings,
    settings: DirectSettings,
    corpus_dir: Path,
    tokenizer_dir: Path,
    run: Run,
    outputs: Outputs,
) -> Record | None:
    """Train a student from random weights, dense where the model of the run is."""
    set_seed(run.seed)
    corpus = Corpus.read(corpus_dir)
    tokenizer = load_tokenizer(tokenizer_dir)
    spec = MODELS[run.model]
    student = classifier(new_student(model, tokenizer, spec.dense, **corpus.label_names))
    return train_and_save(
        Training(
            run,
            corpus,
            outputs,
            student,
            tokenizer,
            settings,
            described={
                "model": describe(model, spec.dense),
                spec.step: dataclasses.asdict(settings),
            },
            inputs={
                "corpus": corpus.digest,
                "tokenizer": tree_digest(tokenizer_file(tokenizer_dir)),
            },
        )
    )
