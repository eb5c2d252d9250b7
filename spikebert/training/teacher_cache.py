"""Rows of text as tokens, and what a teacher says of them, kept on disk so that each is made once.

Epochs, seeds, ablations and sweeps of the student change neither teacher nor text. The cache
is a folder of entries, each named by the digest of teacher, rows, length and layers:

    features.npy   bfloat16 as uint16, [tokens of all rows, layers, D_teacher]
    logits.npy     float32, [rows, C], where the teacher is a classifier
    input_ids.npy  int32, [tokens of all rows], and the masks and types
    labels.npy     [rows], where there are labels
    starts.npy     [rows + 1], where the tokens of each row begin
    taught.json    the layers, and the names of the other files

All are memory-mapped. The least recently used entries go when the folder outgrows its limit; rows
that would not fit in it are not cached. Jobs that want the same entry wait for the one that makes
it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.logging import tqdm

from ..config.settings import TrainingSettings, digest
from ..utils.files import atomic_folder
from .distillation import Distillation
from .loop import use_bf16
from .tokenization import INPUTS

BATCH = 64
Example = dict[str, Any]
Collate = Callable[[list[Any]], Any]


@dataclass(frozen=True)
class Cache:
    """Where entries lie, and how many bytes they may take in all."""

    folder: Path
    limit_bytes: int


class Entry(Sequence[Example]):
    """Examples, each with the number of its row, and what a teacher says of them."""

    def __init__(self, folder: Path):
        about = json.loads((folder / "taught.json").read_text(encoding="utf-8"))
        self.layers: list[int] = about["layers"]  # 0 is the embedding
        arrays = {
            name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))
            for name in about["arrays"]
        }
        self.starts, self.features = arrays["starts"], arrays["features"]
        self.labels, logits = arrays.get("labels"), arrays.get("logits")
        self.logits = None if logits is None else torch.from_numpy(logits.copy())
        self.columns = {name: arrays[name] for name in INPUTS if name in arrays}
        if any(len(column) != self.starts[-1] for column in self.columns.values()):
            raise ValueError(f"tokens of {folder} are not whole")

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: Any) -> Any:
        if not 0 <= row < len(self):
            raise IndexError(row)
        tokens = slice(self.starts[row], self.starts[row + 1])
        example = {name: column[tokens].tolist() for name, column in self.columns.items()}
        if self.labels is not None:
            example["labels"] = self.labels[row].item()
        return example | {"row": row}

    def states(self, rows: Sequence[int], tokens: int) -> tuple[Tensor | None, ...]:
        """Hidden states of these rows, padded: by layer [B, N, D_teacher], None where not kept."""
        padded = np.zeros((len(rows), tokens, *self.features.shape[1:]), np.uint16)
        for place, row in enumerate(rows):
            start, end = self.starts[row], self.starts[row + 1]
            padded[place, : end - start] = self.features[start:end]
        values = torch.from_numpy(padded).view(torch.bfloat16)
        kept = dict(zip(self.layers, values.unbind(2), strict=True))
        return tuple(kept.get(layer) for layer in range(max(self.layers) + 1))

    def collator(self, collate: Collate) -> Collate:
        """`collate` for examples with a "row": their batch carries what the teacher said."""

        def join(examples: list[Example]) -> Any:
            rows = [example["row"] for example in examples if "row" in example]
            batch = collate([{k: v for k, v in e.items() if k != "row"} for e in examples])
            if rows:
                batch["states"] = self.states(rows, batch["input_ids"].shape[1])
                if self.logits is not None:
                    batch["teacher_logits"] = self.logits[rows]
            return batch

        return join


def size_bytes(examples: Sequence[Example], layers: int, width: int) -> int:
    """What the features of these rows take on disk."""
    return 2 * layers * width * sum(len(example["input_ids"]) for example in examples)


def ask(
    cache: Cache | None,
    module: Distillation,
    encode: Callable[[], Sequence[Example]],
    collate: Collate,
    inputs: dict[str, str],
    settings: TrainingSettings,
) -> tuple[Sequence[Example], Collate]:
    """The examples for training and a collator whose batches bring what the teacher says of them.

    They are those of an entry, which is made of what `encode` gives if it is not there. Without a
    cache, or where they would not fit in it, they are those of `encode`, and `collate`. `inputs`
    holds the digests of rows and teacher.
    """
    if cache is None:
        return encode(), collate
    layers = sorted({0, *(layer for _, layer in module.alignment.pairs)})
    bf16 = use_bf16(settings.precision)  # the teacher runs as it would beside the student
    about = {**inputs, "max_length": settings.max_length, "bf16": bf16, "layers": layers}
    cache.folder.mkdir(parents=True, exist_ok=True)
    folder = cache.folder / digest(about)
    with _lock(folder):
        for half_written in folder.parent.glob(f".{folder.name}.*/"):
            shutil.rmtree(half_written)
        try:
            entry = Entry(folder)
        except (OSError, ValueError, KeyError):  # not there, or not whole
            examples, width = encode(), module.teacher.config.hidden_size
            if size_bytes(examples, len(layers), width) > cache.limit_bytes:
                return examples, collate
            with atomic_folder(folder) as part:
                _write(part, module.teacher, examples, collate, layers, bf16)
            entry = Entry(folder)
        os.utime(folder / "taught.json")  # used now
    _prune(cache, folder)
    return entry, entry.collator(collate)


def _lock(entry: Path, timeout: float = -1) -> filelock.BaseFileLock:
    """Held while an entry is made, opened or removed; what is open stays readable after that."""
    return filelock.FileLock(entry.with_name(f".{entry.name}.lock"), timeout=timeout)


@torch.inference_mode()
def _write(
    folder: Path,
    teacher: PreTrainedModel,
    examples: Sequence[Example],
    collate: Collate,
    layers: list[int],
    autocast: bool,
) -> None:
    lengths = [len(example["input_ids"]) for example in examples]
    starts = np.cumsum([0, *lengths])
    order = np.argsort(lengths, kind="stable")
    features = np.lib.format.open_memmap(
        folder / "features.npy",
        "w+",
        np.uint16,
        (int(starts[-1]), len(layers), teacher.config.hidden_size),
    )
    columns = [name for name in INPUTS if name in examples[0]]
    logits = []
    teacher.eval()
    device = teacher.device
    batches = range(0, len(order), BATCH)
    for first in tqdm(batches, "asking the teacher", unit="batch", disable=None):  # on a terminal
        rows = order[first : first + BATCH]
        batch = collate([{name: examples[row][name] for name in columns} for row in rows])
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            out = teacher(**{n: x.to(device) for n, x in batch.items()}, output_hidden_states=True)
        kept = torch.stack([out.hidden_states[layer] for layer in layers], 2).bfloat16().cpu()
        values = kept.view(torch.uint16).numpy()
        for place, row in enumerate(rows):
            features[starts[row] : starts[row + 1]] = values[place, : lengths[row]]
        if "logits" in out:
            logits.append(out.logits.float().cpu().numpy())
    features.flush()
    arrays: dict[str, Any] = {"starts": starts}
    if logits:
        arrays["logits"] = np.concatenate(logits)[np.argsort(order)]
    if "labels" in examples[0]:
        arrays["labels"] = np.array([example["labels"] for example in examples])
    for name in columns:
        kind = np.int32 if name == "input_ids" else np.uint8
        arrays[name] = np.fromiter(chain.from_iterable(e[name] for e in examples), kind)
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    about = {"layers": layers, "arrays": ["features", *arrays]}
    (folder / "taught.json").write_text(json.dumps(about), encoding="utf-8")


def _prune(cache: Cache, keep: Path) -> None:
    """Remove the entries longest out of use until the limit holds."""
    entries = []
    for about in cache.folder.glob("*/taught.json"):
        try:
            size = sum(file.stat().st_size for file in about.parent.iterdir())
            entries.append((about.stat().st_mtime, size, about.parent))
        except OSError:  # another job has just removed it
            continue
    total = sum(size for _, size, _ in entries)
    for used, size, entry in sorted(entries):
        if total <= cache.limit_bytes:
            return
        if entry == keep:
            continue
        with contextlib.suppress(filelock.Timeout, OSError), _lock(entry, timeout=0):
            if (entry / "taught.json").stat().st_mtime == used:  # nobody has come back to it
                shutil.rmtree(entry)
                total -= size
