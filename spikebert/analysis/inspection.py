"""What is measured of trained folders, as .npz files of NumPy arrays or as JSON.

A figure is drawn from such a file alone, without torch and without the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel, set_seed

from ..config.registry import BASE, RunId
from ..data.corpus import STATS, read_labelled, read_labels, read_rows, read_stats
from ..errors import UserError
from ..models.fuse import fuse
from ..models.loading import POOLER, load_model
from ..models.modeling import SpikeBertModel
from ..records.calibration import SCHEMA_VERSION, compare
from ..records.energy import EnergyRecord, percentile
from ..training.distillation import Classifier, copy_embeddings
from ..training.loop import predict_logits
from ..training.losses import align
from ..training.tokenization import collator, encode, load_tokenizer
from ..utils.files import parse_json, write_json
from .energy import measure
from .predict import check_text, encode_unlabelled, load
from .probes import (
    attention_maps,
    linear_cka,
    spikes_of,
    step_rates,
    student_features,
    teacher_features,
)

RASTER_NEURONS = 64  # of each layer: more than a figure can show
MAX_LENGTH = 512
BATCH = 16  # sentences at once where padding is left out afterwards

Arrays = dict[str, Any]


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write a compressed .npz that holds no Python objects; equal arrays give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def name_of(folder: Path) -> str:
    return folder.resolve().name


def sentence_arrays(
    model: Any, tokenizer: Any, text: str, number: int = 0, blocks: int | None = None
) -> Arrays:
    """What the model does with one sentence; the keys end in _`number`.

    - text, tokens [N], label: the sentence, its tokens, and the class it is given
    - blocks: L, how many the model has
    - attention [L, T, H, N, N]: `attention_maps`, of the last `blocks` blocks if that is given
    - raster [layers, T, N, neurons] bool: the first neurons of each layer of the last block
    - raster_layers [layers]: their names, counted from 0 as in the model

    Raises:
        UserError: the text is empty, or the model is no student.
    """
    check_text(text)
    (example,) = encode([{"text": text}], tokenizer, MAX_LENGTH)
    out, spikes = spikes_of(model, torch.tensor([example["input_ids"]]))
    maps = attention_maps(model, spikes)
    if not len(maps):
        raise UserError(
            "model to look into",
            expected="a student with spiking neurons and attention",
            got=type(model).__name__,
            fix="name the folder of a student",
        )
    total = len(maps)
    last = [name for name in spikes if f"blocks.{total - 1}." in name]
    raster = [spikes[name] for name in last]
    shown = min(RASTER_NEURONS, *(layer.shape[-1] for layer in raster))
    arrays = {
        "text": text,
        "tokens": np.array(tokenizer.convert_ids_to_tokens(example["input_ids"])),
        "label": model.config.id2label[int(out.logits[0].argmax())],
        "blocks": total,
        "attention": maps[-min(blocks or total, total) :].numpy(),
        "raster": torch.stack([layer[..., :shown] for layer in raster]).numpy(),
        "raster_layers": np.array(last),
    }
    return {f"{key}_{number}": value for key, value in arrays.items()}


def rate_arrays(model: Any, tokenizer: Any, corpus: Path, split: str, limit: int) -> Arrays:
    """`step_rates` over the first `limit` rows of a split: rates [layers, T] float32, rate_layers
    [layers], and dataset, split, rate_sentences that say of what."""
    rows = read_rows(corpus / f"{split}.jsonl", limit)
    examples = encode_unlabelled(rows, tokenizer, MAX_LENGTH)
    rates = step_rates(model, (torch.tensor([example["input_ids"]]) for example in examples))
    stats = read_stats(corpus)
    return {
        "rate_layers": np.array(list(rates)),
        "rates": torch.stack(list(rates.values())).float().numpy(),
        "rate_sentences": len(rows),
        "dataset": stats.get("name", corpus.name),
        "split": split,
    }


def probe(
    folder: Path,
    out: Path,
    texts: Sequence[str] = (),
    corpus: Path | None = None,
    split: str = "test",
    limit: int = 200,
    blocks: int | None = None,
) -> None:
    """Write `sentence_arrays` of every text and, with a corpus, `rate_arrays`.

    Raises:
        UserError: the folder holds no student, a text is empty, or there is nothing to look at.
    """
    if not texts and corpus is None:
        raise UserError(
            "probe", expected="a sentence or a corpus", got="neither", fix="add one of them"
        )
    model, tokenizer = load(folder)
    arrays: Arrays = {"model": name_of(folder), "sentences": len(texts)}
    for number, text in enumerate(texts):
        arrays |= sentence_arrays(model, tokenizer, text, number, blocks)
    if corpus is not None:
        arrays |= rate_arrays(model, tokenizer, corpus, split, limit)
    write_arrays(out, arrays)


def attention(folder: Path, text: str) -> Arrays:
    """The arrays of one sentence, not written, for a map of it."""
    model, tokenizer = load(folder)
    return {"model": name_of(folder), "sentences": 1, **sentence_arrays(model, tokenizer, text)}


def new_students(folder: Path, stage1: dict[str, Any], teacher: Any) -> dict[str, SpikeBertModel]:
    """The student as its stage 1 began ("before"), and, if that was with the teacher's embeddings,
    the same without them ("random"); all else from stage 1's seed."""

    def new(embeddings: bool) -> SpikeBertModel:
        set_seed(stage1["seed"])
        student = SpikeBertModel(SpikeBertModel.config_class.from_pretrained(folder))
        if embeddings:
            copy_embeddings(
                student, teacher, student.config.embedding_std, student.config.embedding_mean
            )
        return student.eval()

    if stage1["embedding_init"] != "teacher":
        return {"before": new(False)}
    return {"random": new(False), "before": new(True)}


def cka(student_dir: Path, teacher_dir: Path, text: Path, out: Path, limit: int = 200) -> None:
    """Write how similar the blocks of a student are to the layers of its teacher, before and after
    stage 1, over the tokens of the first `limit` rows of a text.

    The rows of `unlabelled` are in the order of hashes, so that the first are a sample. Arrays:
    before, after and, where the teacher's embeddings were taken over, random (see `new_students`)
    [L, L'] float32 (`linear_cka`); pairs [P, 2], the layers that stage 1 aligned, counted from 1;
    rows and sentences, how many tokens and sentences; student, teacher, seed, embedding_init.

    Raises:
        UserError: a folder or the text is missing, or `student_dir` was not made by stage 1.
    """
    try:
        described = parse_json((student_dir / "training.json").read_text(encoding="utf-8"))
        stage1 = described["stage1"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"student {student_dir}",
            expected="a folder that stage 1 wrote, with training.json",
            got=error,
            fix="name work/<run>/stage1/<language>.<digest>",
        ) from None
    tokenizer = load_tokenizer(teacher_dir)
    teacher = load_model(AutoModel, teacher_dir, new=POOLER)
    students = {
        **new_students(student_dir, stage1, teacher),
        "after": load_model(SpikeBertModel, student_dir),
    }
    rows = [{"text": row["text"]} for row in read_rows(text, limit)]
    examples = encode(rows, tokenizer, stage1["max_length"])
    collate = collator(tokenizer)

    def parts(student: SpikeBertModel) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
        for start in range(0, len(examples), BATCH):
            batch = collate(examples[start : start + BATCH])
            ids, mask = batch["input_ids"], batch["attention_mask"]
            yield student_features(student, ids, mask), teacher_features(teacher, ids, mask)

    found = {name: linear_cka(parts(s)).float().numpy() for name, s in students.items()}
    blocks, layers = found["after"].shape
    pairs = align(blocks, layers, stage1["ignored_layers"])
    write_arrays(
        out,
        {
            **found,
            "pairs": np.array(pairs),
            "rows": sum(len(example["input_ids"]) for example in examples),
            "sentences": len(rows),
            "student": name_of(student_dir),
            "teacher": name_of(teacher_dir),
            "seed": stage1["seed"],
            "embedding_init": stage1["embedding_init"],
        },
    )


def probabilities(
    folder: Path, rows: Sequence[dict[str, Any]], classes: Sequence[str], max_length: int
) -> np.ndarray:
    """Softmax of a classifier's logits on rows, [rows, C] float64.

    Raises:
        UserError: the folder holds no classifier, or one of other classes.
    """
    model, tokenizer = load(folder)
    fuse(model)
    names = [model.config.id2label[i] for i in range(model.config.num_labels)]
    if names != list(classes):
        raise UserError(
            f"model {folder}",
            expected=f"the classes of the corpus, {', '.join(classes)}",
            got=", ".join(names),
            fix="name a model that was trained on this corpus",
        )
    examples = encode_unlabelled(rows, tokenizer, max_length)
    logits = predict_logits(Classifier(model), examples, collator(tokenizer))
    return logits.double().softmax(-1).numpy()


def calibration(
    student: Path,
    teacher: Path,
    corpus: Path,
    out: Path,
    split: str = "test",
    max_length: int = MAX_LENGTH,
) -> None:
    """Write how sure a student and its fine-tuned teacher are on a split, how often they are right,
    and whether they err on the same rows: `calibration.compare`, and of what it is.

    Raises:
        UserError: a folder is missing, or the classes differ.
    """
    names = read_labels(corpus)
    rows = read_labelled(corpus, split, names)
    labels = np.array([row["label"] for row in rows])
    ours, theirs = (probabilities(folder, rows, names, max_length) for folder in (student, teacher))
    write_json(
        out,
        {
            "dataset": read_stats(corpus)["name"],
            "split": split,
            "student": name_of(student),
            "teacher": name_of(teacher),
            "max_length": max_length,
            **compare(ours, theirs, labels, names),
            "schema": SCHEMA_VERSION,
        },
    )


def names_of(folder: Path, corpus: Path) -> dict[str, Any]:
    """Set, model, variant and seed of a folder that is named as runs are; others are base, seed 0,
    and named by their folders."""
    try:
        found = RunId.parse(folder.name)
    except ValueError:
        found = RunId(corpus.name, folder.name, BASE, 0)
    return {"id": folder.name, **found._asdict()}


def measure_folder(
    folder: Path,
    corpus: Path,
    split: str = "test",
    length: int = 128,
    limit: int | None = None,
    max_length: int = MAX_LENGTH,
) -> EnergyRecord:
    """Measure a trained network on a split, or on its first `limit` rows, one sentence at a time,
    cut to `max_length` tokens.

    Raises:
        UserError: the folder, corpus or split is not there, or the model cannot take `length`
            tokens.
    """
    model, tokenizer = load(folder)
    config = model.config
    longest = getattr(config, "max_position_embeddings", MAX_LENGTH)
    if not 1 <= length <= longest:
        raise UserError(
            "--length",
            expected=f"1 to {longest} tokens",
            got=length,
            fix="change it",
        )
    rows = read_rows(corpus / f"{split}.jsonl", limit)
    texts = encode_unlabelled(rows, tokenizer, min(longest, max_length))
    tokens = sorted(len(text["input_ids"]) for text in texts)
    ids = torch.zeros(1, length, dtype=torch.long)
    timesteps = getattr(config, "timesteps", None)  # of a spiking network
    measured = measure(
        model,
        ({name: torch.tensor([values]) for name, values in text.items()} for text in texts),
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
        time_first=timesteps is not None,
        timesteps=timesteps,
    )
    about = read_stats(corpus) if (corpus / STATS).is_file() else {}
    return EnergyRecord(
        **names_of(folder, corpus),
        source=str(about.get("description") or ""),
        split=split,
        samples=measured.samples,
        timesteps=timesteps or 1,
        fixed_length=length,
        tokens_mean=fmean(tokens),
        tokens_p5=percentile(tokens, 0.05),
        tokens_p50=percentile(tokens, 0.5),
        tokens_p95=percentile(tokens, 0.95),
        parameters=sum(p.numel() for p in model.parameters()),
        layers=measured.layers,
        accounts=measured.accounts,
        elementwise=measured.elementwise,
    )
