"""The energy account of a trained folder on the sentences of a corpus."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from ..config.registry import BASE, RunId
from ..data.corpus import STATS, read_rows, read_stats
from ..errors import UserError
from ..records.energy import EnergyRecord, percentile
from .energy import measure
from .predict import encode_unlabelled, load

LONGEST = 512  # of a network that takes sentences of any length


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
    max_length: int = LONGEST,
) -> EnergyRecord:
    """Measure a trained network on a split, or on its first `limit` rows, one sentence at a time,
    cut to `max_length` tokens.

    Raises:
        UserError: the folder, corpus or split is not there, or the model cannot take `length`
            tokens.
    """
    model, tokenizer = load(folder)
    config = model.config
    longest = getattr(config, "max_position_embeddings", LONGEST)
    if not 1 <= length <= longest:
        raise UserError(
            "--length",
            expected=f"1 to {longest} tokens",
            got=length,
            fix="change it",
        )
    rows = read_rows(corpus / f"{split}.jsonl")[:limit]
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
    )
