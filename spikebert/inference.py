"""A trained folder, and what it says of a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from . import modeling  # noqa: F401  (registers the student with the Auto classes)
from .batches import collator, encode, load_tokenizer
from .errors import UserError
from .probes import spike_counts, spike_rate


@torch.inference_mode()
def predict(
    folder: str | Path, texts: Sequence[str], max_length: int = 512
) -> list[dict[str, Any]]:
    """Label, probabilities by class name, and spike rate (None if not spiking) of each text.

    Sentences run one at a time, so that no padding enters the spike rate.
    """
    if not (Path(folder) / "config.json").is_file():
        raise UserError(
            f"model {folder}",
            expected="a folder with config.json, model.safetensors and a tokenizer",
            got="no config.json",
            fix="name a trained model, such as work/<run>/models/<id>",
        )
    if any(not text.strip() for text in texts):
        raise UserError("text", expected="at least one word", got="an empty text", fix="give one")
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, trust_remote_code=False, use_safetensors=True
    ).eval()
    tokenizer = load_tokenizer(folder)
    results = []
    for example in encode([{"text": text} for text in texts], tokenizer, max_length):
        with spike_counts(model) as counts:
            logits = model(**collator(tokenizer)([example])).logits[0].float()
        shares = {model.config.id2label[i]: p for i, p in enumerate(logits.softmax(-1).tolist())}
        label = max(shares, key=shares.__getitem__)
        results.append({"label": label, "probabilities": shares, "spike_rate": spike_rate(counts)})
    return results
