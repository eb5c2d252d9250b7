"""Fine-tuning: a teacher, or a compressed BERT, on one labelled set."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from transformers import AutoModelForSequenceClassification, set_seed

from ...config.plan import Run
from ...config.settings import FineTuneSettings
from ...models.loading import HEAD, load_model
from ...records.records import Record
from ...utils.checksums import tree_digest
from ..tokenization import load_tokenizer
from .common import Corpus, Outputs, Training, train_and_save


def finetune(
    settings: FineTuneSettings, corpus_dir: Path, teacher: Path, run: Run, outputs: Outputs
) -> Record | None:
    """Fine-tune the BERT in `teacher` on one set."""
    set_seed(run.seed)
    corpus = Corpus.read(corpus_dir)
    model = load_model(AutoModelForSequenceClassification, teacher, new=HEAD, **corpus.label_names)
    return train_and_save(
        Training(
            run,
            corpus,
            outputs,
            model,
            load_tokenizer(teacher),
            settings,
            described={"finetune": dataclasses.asdict(settings)},
            inputs={"corpus": corpus.digest, "teacher": tree_digest(teacher)},
        )
    )
