"""From rows of text to padded batches of token ids, grouped by length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, DataCollatorWithPadding, PreTrainedTokenizerBase

from ..data.text import sides
from ..errors import UserError

MASK = "[MASK]"  # as the augmentation writes it, whatever the tokenizer calls its own
TEACHER_LABEL = -100  # on augmented rows: the loss asks the teacher
TEACHER_SCORE = math.nan  # the same, where labels are scores
LONGEST = 512  # pieces of a text that are read where nothing else is said
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")  # either makes a tokenizer
INPUTS = ("input_ids", "attention_mask", "token_type_ids")  # what a model reads of an example


def tokenizer_file(folder: str | Path) -> Path:
    """The file that makes a folder's tokenizer, or a FileNotFoundError."""
    for name in TOKENIZER_FILES:
        if (path := Path(folder) / name).is_file():
            return path
    raise FileNotFoundError("neither is there")


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a BERT's or a student's folder; code of the folder's own is never run."""
    try:
        # Without either the library makes a tokenizer that knows no word, and says nothing.
        tokenizer_file(folder)
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
    # So that a pipeline of the library's says so, where it is given more.
    tokenizer.model_max_length = min(tokenizer.model_max_length, LONGEST)
    return tokenizer


def encode(
    rows: Sequence[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[dict[str, Any]]:
    """Rows {"text", "text_pair"?, "label"?} -> examples {"input_ids": [N], "attention_mask": [N],
    "token_type_ids"?: [N], "labels"?}.

    A pair is read as BERT reads it, [CLS] a [SEP] b [SEP], the longer side cut first, with types 0
    and 1 for its sides where the tokenizer's model knows types. A label of None, on an augmented
    row, becomes TEACHER_LABEL or, where any label is a score, TEACHER_SCORE; a row without one
    stays without.
    """
    if not rows:
        raise UserError(
            "rows of text", expected="one or more", got="none", fix="check the corpus and its caps"
        )
    columns = list(zip(*map(sides, rows), strict=True))
    texts = [[text.replace(MASK, tokenizer.mask_token) for text in column] for column in columns]
    types = len(texts) == 2 and "token_type_ids" in tokenizer.model_input_names
    encoded = tokenizer(
        *texts,
        truncation=True,
        max_length=max_length,
        return_token_type_ids=types,
        verbose=False,
    )
    scores = any(isinstance(row.get("label"), float) for row in rows)
    asked: float = TEACHER_SCORE if scores else TEACHER_LABEL
    examples = []
    for i, row in enumerate(rows):
        example = {name: encoded[name][i] for name in INPUTS if name in encoded}
        if "label" in row:
            example["labels"] = asked if row["label"] is None else row["label"]
        examples.append(example)
    return examples


def collator(tokenizer: PreTrainedTokenizerBase) -> DataCollatorWithPadding:
    """Pads a batch to its own longest sequence."""
    return DataCollatorWithPadding(tokenizer)


def by_length(examples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The shortest first: batches of neighbours have little padding."""
    return sorted(examples, key=lambda example: len(example["input_ids"]))
