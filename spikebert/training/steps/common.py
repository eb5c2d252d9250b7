"""What the steps have in common: the rows of a set, and the way from a model to its record."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ...config.datasets import ACCURACY, SPLITS, metric_of
from ...config.plan import Run
from ...config.settings import TrainingSettings, digest
from ...data.corpus import AGAIN, read_classes, read_labelled, read_stats
from ...errors import UserError
from ...records.metrics import scores
from ...records.records import Record, write_predictions, write_record
from ...utils.checksums import tree_digest
from ...utils.distributed import is_main
from ...utils.files import atomic_folder
from ...utils.provenance import COMMIT, hardware, peak_rss_bytes, versions
from ..checkpoints import checkpoint_folder
from ..distillation import Classifier, PretrainingDistillation, TaskDistillation
from ..loop import FitResult, answers, fit, predict_logits, use_bf16
from ..teacher_cache import Cache, Collate, Example, ask
from ..tokenization import collator, encode

TOLD = ("id", "dataset", "source", "model", "variant", "seed")  # of a run, by its record


@dataclass(frozen=True)
class Corpus:
    """The three splits of a labelled set, the names of its classes (None: it has scores), and what
    judges it."""

    train: list[dict[str, Any]]
    dev: list[dict[str, Any]]
    test: list[dict[str, Any]]
    labels: list[str] | None
    digest: str
    metric: str = ACCURACY

    @classmethod
    def read(cls, folder: Path) -> Corpus:
        stats = read_stats(folder)
        labels = read_classes(folder)
        metric = metric_of(stats)
        train, dev, test = (read_labelled(folder, split, labels) for split in SPLITS)
        for split, rows in zip(SPLITS, (train, dev, test), strict=True):
            if not rows:
                raise UserError(
                    f"split {split} of {folder}", expected="rows", got="none", fix=AGAIN
                )
        files = [folder / f"{split}.jsonl" for split in SPLITS]
        parts = [tree_digest(file) for file in files] + ([metric] if metric != ACCURACY else [])
        return cls(train, dev, test, labels, digest(parts), metric)

    @property
    def num_labels(self) -> int:
        """Outputs of a model: a logit for each class, or one score."""
        return 1 if self.labels is None else len(self.labels)

    @property
    def label_names(self) -> dict[str, Any]:
        """The arguments of a Hugging Face configuration that name the classes."""
        if self.labels is None:
            names = {"id2label": {0: "score"}, "label2id": {"score": 0}}
            return {"num_labels": 1, "problem_type": "regression", **names}
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {name: i for i, name in enumerate(self.labels)},
        }


@dataclass(frozen=True)
class Outputs:
    """Where a step on labelled rows writes."""

    checkpoints: Path
    out: Path
    record: Path
    predictions: Path


@dataclass(frozen=True)
class Training:
    """One training on labelled rows, all made ready."""

    run: Run
    corpus: Corpus
    outputs: Outputs
    model: PreTrainedModel  # what is selected, saved and evaluated
    tokenizer: PreTrainedTokenizerBase
    settings: TrainingSettings
    described: dict[str, Any]  # the settings as the record states them
    inputs: dict[str, str]  # digests of the files that it reads
    distillation: TaskDistillation | None = None  # the model beside its teacher, if it has one
    rows: Sequence[dict[str, Any]] | None = None  # to train on, where not those of the corpus
    cache: Cache | None = None  # of the teacher's answers to these rows
    upstream: dict[str, Any] = field(default_factory=dict)  # what it began with, for the record


def train_and_save(work: Training) -> Record | None:
    """Train, then save the model with its tokenizer, evaluate it, and write predictions and record.

    Of several processes the first does all but the training, and the others have no record to
    return.
    """
    run, corpus, settings, tokenizer = work.run, work.corpus, work.settings, work.tokenizer
    rows = corpus.train if work.rows is None else work.rows
    module = work.distillation or Classifier(work.model)
    collate: Collate = collator(tokenizer)
    encoded = functools.partial(encode, rows, tokenizer, settings.max_length)
    told = {name: getattr(run, name) for name in (*TOLD, "teacher")}
    stated = work.described | ({"plugins": dict(run.plugins)} if run.plugins else {})
    identity = {"run": told, "settings": stated, **work.inputs}
    with checkpoint_folder(work.outputs.checkpoints, identity) as store:
        if work.cache and work.distillation:
            asked = {"text": work.inputs["augmented"], "teacher": work.inputs["teacher"]}
            examples, feed = with_teacher_cache(
                work.cache, work.distillation, encoded, collate, asked, settings
            )
        else:
            examples, feed = encoded(), collate
        dev = encode(corpus.dev, tokenizer, settings.max_length)
        fitted = fit(module, examples, dev, feed, settings, run.seed, store, corpus.metric)
        if not is_main():
            return None
        on_dev, _ = evaluate_split(work, "dev", collate)
        on_test, predictions = evaluate_split(work, "test", collate)
        record = build_record(
            run,
            corpus,
            fitted,
            stated,
            on_dev | on_test,
            n_train=len(rows),
            parameters=sum(p.numel() for p in work.model.parameters()),
            upstream={"teacher": run.teacher, **work.upstream},
        )
        with atomic_folder(work.outputs.out) as part:
            work.model.save_pretrained(part)
            tokenizer.save_pretrained(part)
        save_predictions(work.outputs.predictions, corpus, predictions)
        write_record(work.outputs.record, record)
    return record


def with_teacher_cache(
    cache: Cache,
    module: PretrainingDistillation | TaskDistillation,
    encoded: Callable[[], list[Example]],
    collate: Collate,
    inputs: dict[str, str],
    settings: TrainingSettings,
) -> tuple[Sequence[Example], Collate]:
    """The examples for training and a collator whose batches bring what the teacher says of them.

    What the cache holds is not encoded again. Where the rows do not fit in it, these are the
    examples as `encoded` gives them, and `collate`. `inputs` holds the digests of rows and teacher.
    """
    encoded = functools.cache(encoded)
    bf16 = use_bf16(settings.precision)
    entry = ask(
        cache,
        {**inputs, "max_length": settings.max_length, "bf16": bf16},
        module.teacher,
        encoded,
        collate,
        [layer for _, layer in module.alignment.pairs],
        bf16,
    )
    return (encoded(), collate) if entry is None else (entry.examples, entry.collator(collate))


def evaluate_split(
    work: Training, split: str, collate: Collate
) -> tuple[dict[str, Any], list[float]]:
    """What the record says of a split, and the predictions on its rows."""
    rows = getattr(work.corpus, split)
    examples = encode(rows, work.tokenizer, work.settings.max_length)
    logits = predict_logits(Classifier(work.model), examples, collate)
    predictions: list[float] = answers(logits).tolist()
    return scored(work.corpus, split, predictions), predictions


def scored(corpus: Corpus, split: str, predictions: Sequence[float]) -> dict[str, Any]:
    """The fields of a record that say how good predictions on a split are."""
    labels = [row["label"] for row in getattr(corpus, split)]
    right = sum(p == label for p, label in zip(predictions, labels, strict=True)) / len(labels)
    fields: dict[str, Any] = {f"accuracy_{split}": None if corpus.labels is None else right}
    if corpus.metric != ACCURACY:
        values = scores(corpus.metric, labels, predictions)
        fields |= {"metric": corpus.metric, f"metrics_{split}": values}
    return fields


def build_record(
    run: Run,
    corpus: Corpus,
    fitted: FitResult,
    settings: dict[str, Any],
    scored: dict[str, Any],
    *,
    n_train: int,
    parameters: int,
    upstream: dict[str, Any],
) -> Record:
    """The record of a run: what was asked for, what it cost, and how good it is."""
    if "augment" in run.settings:
        settings = {**settings, "augment": dict(run.settings["augment"])}
    return Record(
        **{name: getattr(run, name) for name in TOLD},
        **scored,
        n_train=n_train,
        n_dev=len(corpus.dev),
        n_test=len(corpus.test),
        steps=fitted.steps,
        tokens=fitted.tokens,
        wall_s=round(fitted.wall_s, 3),
        samples_per_s=round(fitted.samples_per_s, 3),
        peak_rss_bytes=peak_rss_bytes(),
        parameters=parameters,
        settings=settings,
        settings_digest=digest(settings),
        versions=versions(),
        commit=COMMIT,
        hardware=hardware(),
        history=fitted.history,
        upstream=upstream,
    )


def save_predictions(path: Path, corpus: Corpus, predictions: Sequence[float]) -> None:
    """Predictions on the test rows, beside their labels."""
    ids, labels = ([row[name] for row in corpus.test] for name in ("id", "label"))
    write_predictions(path, ids, labels, predictions)
