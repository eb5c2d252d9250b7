"""The builds that the benchmark compares, and the batches that they are fed.

ours          this package as it trains: length buckets, a mask, bfloat16, fused layers
plain         the same without the fused layers
field         what the field usually runs: spikingjelly's neuron, float32, no mask, every
              sentence padded to one length
dense         a BERT of the same width and depth, trained as ours is
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from ..config.settings import ModelSettings
from ..data.corpus import read_rows
from ..errors import UserError
from ..models.fuse import fuse
from ..models.students import new_student
from ..training.loop import use_bf16
from ..training.tokenization import by_length, collator, encode

BUILDS = ("ours", "plain", "field", "dense")
Batch = dict[str, Tensor]


@dataclass
class Build:
    """A model with its optimiser, and how it is fed."""

    name: str
    model: nn.Module
    optimiser: torch.optim.Optimizer
    padded: bool
    bf16: bool
    masked: bool = True

    @classmethod
    def make(
        cls,
        name: str,
        shape: ModelSettings,
        tokenizer: PreTrainedTokenizerBase,
        seed: int = 0,
        learning_rate: float = 1e-3,
    ) -> Build:
        torch.manual_seed(seed)
        field, ours = name == "field", name in ("ours", "dense")
        if field:
            shape = dataclasses.replace(shape, neuron="sj.LIFNode")
        config = new_student(shape, tokenizer, dense=name == "dense", num_labels=2)
        model: nn.Module = fuse(
            AutoModelForSequenceClassification.from_config(config), name == "ours"
        )
        optimiser = torch.optim.AdamW(model.parameters(), learning_rate, fused=ours)
        return cls(name, model, optimiser, field, not field and use_bf16("auto"), not field)

    def autocast(self) -> AbstractContextManager:
        return torch.autocast("cpu", torch.bfloat16) if self.bf16 else nullcontext()

    def inputs(self, batch: Batch, length: int) -> Batch:
        """The batch as it is, or padded to `length`, with its mask or without."""
        names = ("input_ids", "attention_mask") if self.masked else ("input_ids",)
        more = length - batch["input_ids"].shape[1] if self.padded else 0
        return {
            "labels": batch["labels"],
            **{name: nn.functional.pad(batch[name], (0, more)) for name in names},
        }

    def train(self, batch: Batch) -> Tensor:
        """One update; the loss."""
        self.model.train()
        with self.autocast():
            loss = self.model(**batch).loss
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return loss.detach()

    @torch.inference_mode()
    def infer(self, batch: Batch) -> Tensor:
        """Logits [B, C]."""
        self.model.eval()
        with self.autocast():
            logits: Tensor = self.model(**{k: v for k, v in batch.items() if k != "labels"}).logits
        return logits.float()


def read_batches(
    corpus: Path, split: str, tokenizer: PreTrainedTokenizerBase, size: int, length: int
) -> list[Batch]:
    """Full batches of neighbours in length, in an order drawn with a fixed seed."""
    examples = by_length(encode(read_rows(corpus / f"{split}.jsonl"), tokenizer, length))
    collate = collator(tokenizer)
    batches = [
        dict(collate(examples[i : i + size])) for i in range(0, len(examples) - size + 1, size)
    ]
    if not batches:
        raise UserError(
            f"rows of {split} in {corpus}",
            expected=f"{size} or more, a batch",
            got=len(examples),
            fix="lower --batch-size, or take a larger corpus",
        )
    order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(0)).tolist()
    return [batches[i] for i in order]


def seconds(function: Callable[..., object], *arguments: object) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start
