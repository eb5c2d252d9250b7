"""From rows of text to padded batches of token ids, grouped by length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, DataCollatorWithPadding, PreTrainedTokenizerBase

from .errors import UserError

MASK = "[MASK]"  # as the augmentation writes it, whatever the tokenizer calls its own
TEACHER_LABEL = -100  # on augmented rows: the loss asks the teacher


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a BERT's or a student's folder; code of the folder's own is never run."""
    try:
        # Without either the library makes a tokenizer that knows no word, and says nothing.
        if not any((Path(folder) / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
            raise FileNotFoundError("neither is there")
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the library's errors have no base class in common
        raise UserError(
            f"tokenizer in {folder}",
            expected="tokenizer.json or vocab.txt of a BERT",
            got=f"{type(error).__name__}: {error}",
            fix="fetch or train the model again",
        ) from None
    if tokenizer.pad_token_id is None or tokenizer.mask_token is None:
        raise UserError(
            f"tokenizer in {folder}",
            expected="a BERT tokenizer, with padding and mask tokens",
            got=type(tokenizer).__name__,
            fix="use the tokenizer of a BERT teacher",
        )
    return tokenizer


def encode(
    rows: Sequence[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[dict[str, Any]]:
    """Rows {"text", "label"?} -> examples {"input_ids": [N], "attention_mask": [N], "labels"?}.

    A label of None, on an augmented row, becomes TEACHER_LABEL; a row without one stays without.
    """
    if not rows:
        raise UserError(
            "rows of text", expected="one or more", got="none", fix="check the corpus and its caps"
        )
    texts = [row["text"].replace(MASK, tokenizer.mask_token) for row in rows]
    encoded = tokenizer(texts, truncation=True, max_length=max_length, return_token_type_ids=False)
    examples = []
    for i, row in enumerate(rows):
        example = {name: encoded[name][i] for name in ("input_ids", "attention_mask")}
        if "label" in row:
            example["labels"] = TEACHER_LABEL if row["label"] is None else int(row["label"])
        examples.append(example)
    return examples


def collator(tokenizer: PreTrainedTokenizerBase) -> DataCollatorWithPadding:
    """Pads a batch to its own longest sequence."""
    return DataCollatorWithPadding(tokenizer)
