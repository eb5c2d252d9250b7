"""Distillation: stage 1 on unlabelled text, from a pre-trained BERT, and stage 2 on an augmented
set, from a fine-tuned one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedModel, set_seed

from ...config.plan import Run
from ...config.registry import MODELS
from ...config.settings import DenseStage1Settings, ModelSettings, Stage1Settings, Stage2Settings
from ...data.corpus import read_rows
from ...errors import UserError
from ...models.loading import POOLER, load_model
from ...models.students import describe, new_student
from ...records.records import Record
from ...utils.checksums import tree_digest
from ...utils.distributed import is_main
from ...utils.files import atomic_folder, read_json, write_json
from ..checkpoints import checkpoint_folder
from ..distillation import Distillation, check_same_model, copy_embeddings
from ..loop import fit
from ..teacher_cache import Cache, Collate, Example, ask
from ..tokenization import Stream, collator, encode, load_tokenizer
from .common import Outputs, Task


def stage1(
    model: ModelSettings,
    settings: Stage1Settings,
    text: Path,
    bert: Path,
    checkpoints: Path,
    out: Path,
    cache: Cache | None = None,
) -> None:
    """Pre-training distillation: a headless student and the projections of its losses. The student
    is dense, where the settings are those of a dense one.

    The rows of `text` stand in the order of hashes, so the first `max_sentences` are a sample.
    """
    set_seed(settings.seed)
    tokenizer = load_tokenizer(bert)
    teacher = load_model(AutoModel, bert, new=POOLER)
    dense = isinstance(settings, DenseStage1Settings)
    step = "dense_stage1" if dense else "stage1"
    student = AutoModel.from_config(new_student(model, tokenizer, dense))
    if settings.embedding_init == "teacher":
        config = student.config
        scale = (None,) if dense else (config.embedding_std, config.embedding_mean)
        copy_embeddings(student, teacher, *scale)
    module = Distillation(student, teacher, settings)
    described = {"model": describe(model, dense), step: dataclasses.asdict(settings)}
    inputs = {"text": tree_digest(text), "teacher": tree_digest(bert)}
    if settings.max_sentences:  # the teacher's kept answers are those to fewer rows
        inputs["max_sentences"] = str(settings.max_sentences)

    def encoded() -> list[Example]:
        rows = [{"text": row["text"]} for row in read_rows(text, settings.max_sentences)]
        return encode(rows, tokenizer, settings.max_length)

    with checkpoint_folder(checkpoints, described | inputs) as store:
        collate: Collate = collator(tokenizer)
        examples: Sequence[Example] | Stream
        if settings.window_sentences:
            examples = Stream(
                text,
                tokenizer,
                settings.max_length,
                settings.window_sentences,
                settings.batch_size,
                settings.max_sentences,
            )
        else:
            examples, collate = ask(cache, module, encoded, collate, inputs, settings)
        fitted = fit(module, examples, None, collate, settings, settings.seed, store)
        if not is_main():
            return
        with atomic_folder(out) as part:
            student.save_pretrained(part)
            tokenizer.save_pretrained(part)
            save_file(module.alignment.state_dict(), part / "projections.safetensors")
            write_json(part / "training.json", described | dataclasses.asdict(fitted))


def stage2(
    model: ModelSettings,
    settings: Stage2Settings,
    corpus: Path,
    augmented: Path,
    parent: Path,
    stage1: Path | None,
    run: Run,
    outputs: Outputs,
    cache: Cache | None = None,
) -> Record | None:
    """Task distillation, from stage 1's student or, without `stage1`, from random weights. The
    student is dense where the model of the run is."""
    task = Task(settings, corpus, parent, run, outputs)
    labels = task.corpus.label_names
    teacher = load_model(AutoModelForSequenceClassification, parent)
    if teacher.config.num_labels != task.corpus.num_labels:
        raise UserError(
            f"teacher in {parent}",
            expected="one score"
            if task.corpus.labels is None
            else f"{task.corpus.num_labels} classes, those of {run.dataset}",
            got=teacher.config.num_labels,
            fix="fine-tune a teacher on this set",
        )
    dense = MODELS[run.model].dense
    config = new_student(model, task.tokenizer, dense, **labels)
    student = AutoModelForSequenceClassification.from_config(config)
    module = Distillation(student, teacher, settings)
    described = {"model": describe(model, dense), **task.own()}
    files, upstream = {"augmented": augmented, "teacher": parent}, {}
    if stage1 is not None:
        load_stage1(student, module.alignment, stage1)
        files["stage1"] = stage1
        first = read_json(stage1 / "training.json", fix="run stage 1 again")
        described |= {name: first[name] for name in first if name.endswith("stage1")}
        upstream = {
            "stage1": {name: first[name] for name in ("steps", "tokens", "wall_s", "samples")}
        }
    return task.train(student, files, described, upstream, module, read_rows(augmented), cache)


def load_stage1(student: PreTrainedModel, alignment: nn.Module, folder: Path) -> None:
    """Put stage 1's student and projections into those of stage 2, every tensor or an error."""
    found = load_model(AutoModel, folder)
    check_same_model(found.config, student.config, str(folder))
    student.base_model.load_state_dict(found.state_dict(), strict=True)
    projections = load_file(folder / "projections.safetensors")
    try:
        alignment.load_state_dict(projections, strict=True)
    except RuntimeError as error:
        raise UserError(
            f"projections in {folder}",
            expected="those of this student and teacher",
            got=str(error).splitlines()[-1].strip(),
            fix="run stage 1 with the same teacher and ignored_layers",
        ) from None
