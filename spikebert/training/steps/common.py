"""What the steps have in common: the rows of a set, and the way from a model to its record."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, set_seed

from ...config.datasets import ACCURACY, SPLITS, metric_of
from ...config.plan import Run
from ...config.registry import MODELS
from ...config.settings import TrainingSettings, digest
from ...data.corpus import AGAIN, read_classes, read_labelled, read_stats
from ...errors import UserError
from ...records.metrics import degenerate, scores
from ...records.records import Record, write_predictions, write_record
from ...utils.checksums import tree_digest
from ...utils.distributed import is_main
from ...utils.files import atomic_folder
from ...utils.provenance import COMMIT, hardware, peak_rss_bytes, versions
from ..checkpoints import checkpoint_folder
from ..distillation import Classifier, Distillation
from ..loop import FitResult, answers, fit, predict_logits
from ..teacher_cache import Cache, Collate, Example, ask
from ..tokenization import collator, encode, load_tokenizer

log = logging.getLogger(__name__)

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
        splits = {split: read_labelled(folder, split, labels) for split in SPLITS}
        for split, rows in splits.items():
            if not rows:
                raise UserError(
                    f"split {split} of {folder}", expected="rows", got="none", fix=AGAIN
                )
        parts = [tree_digest(folder / f"{split}.jsonl") for split in SPLITS]
        parts += [metric] if metric != ACCURACY else []
        return cls(**splits, labels=labels, digest=digest(parts), metric=metric)

    @property
    def num_labels(self) -> int:
        """Outputs of a model: a logit for each class, or one score."""
        return 1 if self.labels is None else len(self.labels)

    @property
    def label_names(self) -> dict[str, Any]:
        """The arguments of a Hugging Face configuration that name the classes."""
        names = dict(enumerate(self.labels or ["score"]))
        arguments: dict[str, Any] = {} if self.labels else {"problem_type": "regression"}
        by_name = {name: i for i, name in names.items()}
        return arguments | {"num_labels": len(names), "id2label": names, "label2id": by_name}


@dataclass(frozen=True)
class Outputs:
    """Where a step on labelled rows writes."""

    checkpoints: Path
    out: Path
    record: Path
    predictions: Path


class Task:
    """A run's training on labelled rows: seeded, its rows and its tokenizer read.

    A step makes the model, whose random draws come next, and calls `train`.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        corpus_dir: Path,
        tokenizer_dir: Path,
        run: Run,
        outputs: Outputs,
    ):
        set_seed(run.seed)
        self.settings, self.run, self.outputs = settings, run, outputs
        self.corpus = Corpus.read(corpus_dir)
        self.tokenizer = load_tokenizer(tokenizer_dir)
        self.collate: Collate = collator(self.tokenizer)

    def own(self) -> dict[str, Any]:
        """The settings of the step, as the record states them."""
        return {MODELS[self.run.model].step: dataclasses.asdict(self.settings)}

    def train(
        self,
        model: PreTrainedModel,
        files: dict[str, Path],
        described: dict[str, Any] | None = None,
        upstream: dict[str, Any] | None = None,
        distillation: Distillation | None = None,
        rows: list[dict[str, Any]] | None = None,
        cache: Cache | None = None,
    ) -> Record | None:
        """Train, then save the model with its tokenizer, evaluate it, and write predictions and
        record.

        Args:
            model: what is selected, saved and evaluated.
            files: that it was made from, beside the corpus.
            described: the settings as the record states them, where not the step's alone.
            upstream: what the model began with, for the record.
            distillation: the model beside its teacher, if it has one.
            rows: to train on, where not those of the corpus.
            cache: of the teacher's answers to these rows.

        Of several processes the first does all but the training, and the others have no record to
        return.
        """
        run, corpus, settings = self.run, self.corpus, self.settings
        rows = corpus.train if rows is None else rows
        told = {name: getattr(run, name) for name in (*TOLD, "teacher")}
        stated = self.own() if described is None else described
        stated |= {"plugins": dict(run.plugins)} if run.plugins else {}
        inputs = {name: tree_digest(path) for name, path in files.items()}
        identity = {"run": told, "settings": stated, "corpus": corpus.digest, **inputs}
        with checkpoint_folder(self.outputs.checkpoints, identity) as store:
            encoded = functools.partial(self.encode, rows)
            if distillation:
                asked = {"text": inputs["augmented"], "teacher": inputs["teacher"]}
                examples, feed = ask(cache, distillation, encoded, self.collate, asked, settings)
            else:
                examples, feed = encoded(), self.collate
            dev = self.encode(corpus.dev)
            module = distillation or Classifier(model)
            fitted = fit(module, examples, dev, feed, settings, run.seed, store, corpus.metric)
            if not is_main():
                return None
            on_dev, on_test = (
                answers(predict_logits(Classifier(model), split, self.collate)).tolist()
                for split in (dev, self.encode(corpus.test))
            )
            with atomic_folder(self.outputs.out) as part:
                model.save_pretrained(part)
                self.tokenizer.save_pretrained(part)
            return write_results(
                run,
                corpus,
                fitted,
                stated,
                on_dev,
                on_test,
                self.outputs.record,
                self.outputs.predictions,
                n_train=len(rows),
                parameters=sum(p.numel() for p in model.parameters()),
                upstream={"teacher": run.teacher, **(upstream or {})},
            )

    def encode(self, rows: Sequence[dict[str, Any]]) -> list[Example]:
        return encode(rows, self.tokenizer, self.settings.max_length)


def write_results(
    run: Run,
    corpus: Corpus,
    fitted: FitResult,
    settings: dict[str, Any],
    on_dev: list[float],
    on_test: list[float],
    record_file: Path,
    predictions_file: Path,
    **more: Any,
) -> Record:
    """Write predictions and record of a run: what was asked for, what it cost, and how good it is.

    `more` is of the record, by name.
    """
    if "augment" in run.settings:
        settings = {**settings, "augment": dict(run.settings["augment"])}
    for split, rows, predictions in (("dev", corpus.dev, on_dev), ("test", corpus.test, on_test)):
        labels = [row["label"] for row in rows]
        right = sum(p == label for p, label in zip(predictions, labels, strict=True)) / len(labels)
        more[f"accuracy_{split}"] = None if corpus.labels is None else right
        if corpus.labels and (fault := degenerate(labels, predictions)):
            log.warning("%s on %s: %s", run.id, split, fault)
        if corpus.metric != ACCURACY:
            more["metric"] = corpus.metric
            more[f"metrics_{split}"] = scores(corpus.metric, labels, predictions)
    record = Record(
        **{name: getattr(run, name) for name in TOLD},
        **more,
        n_dev=len(corpus.dev),
        n_test=len(corpus.test),
        steps=fitted.steps,
        tokens=fitted.tokens,
        wall_s=round(fitted.wall_s, 3),
        samples_per_s=round(fitted.samples / max(fitted.wall_s, 1e-9), 3),
        peak_rss_bytes=peak_rss_bytes(),
        settings=settings,
        settings_digest=digest(settings),
        versions=versions(),
        commit=COMMIT,
        hardware=hardware(),
        history=fitted.history,
    )
    write_predictions(predictions_file, [row["id"] for row in corpus.test], labels, on_test)
    write_record(record_file, record)
    return record
