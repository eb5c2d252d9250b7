"""Rows of text as tokens, and what a teacher says of them, kept on disk so that each is made once.

Epochs, seeds, ablations and sweeps of the student change neither teacher nor text. The cache
is a folder of entries, each named by the digest of teacher, rows, length and layers:

    features.bin   bfloat16, [tokens of all rows, layers, D_teacher], memory-mapped
    logits.npy     float32, [rows, C], where the teacher is a classifier
    input_ids.npy  int32, [tokens of all rows], memory-mapped, as are the masks and types
    labels.npy     [rows], where there are labels
    taught.json    the layers, the width, the columns, and how many tokens each row has

The least recently used entries go when the folder outgrows its limit; rows that would not fit in it
are not cached. Jobs that want the same entry wait for the one that makes it.
"""

from __future__ import annotations

import contextlib
import json
import math
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

from ..config.settings import digest
from ..utils.files import atomic_folder
from .tokenization import INPUTS

BATCH = 64
Example = dict[str, Any]
Collate = Callable[[list[Any]], Any]


@dataclass(frozen=True)
class Cache:
    """Where entries lie, and how many bytes they may take in all."""

    folder: Path
    limit_bytes: int


class CachedExamples(Sequence[Example]):
    """The examples of an entry, each with the number of its row."""

    def __init__(self, starts: np.ndarray, columns: dict[str, np.ndarray], labels: Any):
        self.starts, self.columns, self.labels = starts, columns, labels

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


class Entry:
    """What a teacher says of each row, read by row."""

    def __init__(self, folder: Path):
        about = json.loads((folder / "taught.json").read_text(encoding="utf-8"))
        self.layers: list[int] = about["layers"]  # 0 is the embedding
        self.lengths = np.array(about["lengths"], dtype=np.int64)
        self.starts = np.concatenate([[0], self.lengths.cumsum()])
        shape = (int(self.starts[-1]), len(self.layers), about["width"])
        if (folder / "features.bin").stat().st_size != 2 * math.prod(shape):
            raise ValueError(f"features of {folder} are not whole")
        self.features = np.memmap(folder / "features.bin", np.uint16, "r", shape=shape)
        logits, labels = folder / "logits.npy", folder / "labels.npy"
        self.logits = torch.from_numpy(np.load(logits)) if logits.exists() else None
        columns = {
            name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))
            for name in about["columns"]
        }
        if any(len(column) != shape[0] for column in columns.values()):
            raise ValueError(f"tokens of {folder} are not whole")
        self.examples = CachedExamples(
            self.starts, columns, np.load(labels) if labels.exists() else None
        )

    def states(self, rows: Sequence[int], tokens: int) -> tuple[Tensor | None, ...]:
        """Hidden states of these rows, padded: by layer [B, N, D_teacher], None where not kept."""
        shape = (len(rows), tokens, *self.features.shape[1:])
        padded = np.zeros(shape, np.uint16)
        for place, row in enumerate(rows):
            start, end = self.starts[row], self.starts[row + 1]
            padded[place, : end - start] = self.features[start:end]
        values = torch.from_numpy(padded).view(torch.bfloat16)
        found: list[Tensor | None] = [None] * (max(self.layers) + 1)
        for place, layer in enumerate(self.layers):
            found[layer] = values[:, :, place]
        return tuple(found)

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
    cache: Cache,
    identity: dict[str, Any],
    teacher: PreTrainedModel,
    encode: Callable[[], Sequence[Example]],
    collate: Collate,
    layers: Sequence[int],
    autocast: bool,
) -> Entry | None:
    """The entry of this teacher, these rows and layers, made of what `encode` gives if it is not
    there; None if it would not fit.

    `identity` holds the digests that decide the examples and the features, the layers left out;
    `autocast` says whether the teacher runs in bfloat16, as it would beside the student.
    """
    wanted = sorted({0, *layers})
    cache.folder.mkdir(parents=True, exist_ok=True)
    entry = cache.folder / digest({**identity, "layers": wanted})
    with _lock(entry):
        for half_written in entry.parent.glob(f".{entry.name}.*/"):
            shutil.rmtree(half_written)
        try:
            found = Entry(entry)
        except (OSError, ValueError, KeyError):  # not there, or not whole
            examples = encode()
            if size_bytes(examples, len(wanted), teacher.config.hidden_size) > cache.limit_bytes:
                return None
            with atomic_folder(entry) as part:
                _write(part, teacher, examples, collate, wanted, autocast)
            found = Entry(entry)
        os.utime(entry / "taught.json")  # used now
    _prune(cache, entry)
    return found


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
    starts = np.concatenate([[0], np.cumsum(lengths)])
    width = teacher.config.hidden_size
    shape = (int(starts[-1]), len(layers), width)
    features = np.memmap(folder / "features.bin", np.uint16, "w+", shape=shape)
    logits = None
    teacher.eval()
    device = teacher.device
    order = sorted(range(len(examples)), key=lengths.__getitem__)
    batches = range(0, len(order), BATCH)
    for first in tqdm(batches, "asking the teacher", unit="batch", disable=None):  # on a terminal
        rows = order[first : first + BATCH]
        batch = collate(
            [{n: examples[row][n] for n in INPUTS if n in examples[row]} for row in rows]
        )
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            out = teacher(**{n: x.to(device) for n, x in batch.items()}, output_hidden_states=True)
        kept = torch.stack([out.hidden_states[layer] for layer in layers], 2).bfloat16().cpu()
        values = kept.view(torch.uint16).numpy()
        for place, row in enumerate(rows):
            features[starts[row] : starts[row + 1]] = values[place, : lengths[row]]
        if getattr(out, "logits", None) is not None:
            if logits is None:
                logits = np.zeros((len(examples), out.logits.shape[1]), np.float32)
            logits[rows] = out.logits.float().cpu().numpy()
    features.flush()
    if logits is not None:
        np.save(folder / "logits.npy", logits)
    columns = [name for name in INPUTS if name in examples[0]]
    for name in columns:
        kind = np.int32 if name == "input_ids" else np.uint8
        values = np.fromiter(chain.from_iterable(e[name] for e in examples), kind, starts[-1])
        np.save(folder / f"{name}.npy", values)
    if "labels" in examples[0]:
        np.save(folder / "labels.npy", np.array([example["labels"] for example in examples]))
    about = {"layers": layers, "width": width, "columns": columns, "lengths": lengths}
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
