"""From rows of text to padded batches of token ids, grouped by length."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import AutoTokenizer, DataCollatorWithPadding, PreTrainedTokenizerBase
from transformers.trainer_pt_utils import get_length_grouped_indices

from ..data.corpus import parse_row
from ..data.text import sides
from ..errors import UserError

MASK = "[MASK]"  # as the augmentation writes it, whatever the tokenizer calls its own
TEACHER_LABEL = -100  # on augmented rows: the loss asks the teacher
TEACHER_SCORE = math.nan  # the same, where labels are scores
LONGEST = 512  # pieces of a text that are read where nothing else is said
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")  # either makes a tokenizer
SEED_LIMIT = 2**62
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


class Stream(Dataset[Any]):
    """Examples of a file of rows {"id", "text"} that need not fit in memory, by number: shuffled by
    windows and tokenised on the way.

    A window is some thousand rows that follow one another in the file. Unlabelled text stands in
    the order of hashes, so that each window is a sample of all of it. Within a window rows are
    shuffled and grouped by length; windows come in the order of the file. In memory are one batch,
    and eight bytes for each row, where it begins.

    Where a training stands is the number of its last update: with the seed of the pass, which the
    generator in the checkpoint gives again, it decides window, order and batch.

    `window` is rounded down to whole batches, so that only the last batch of a pass is short.
    """

    def __init__(
        self,
        path: Path,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        window: int,
        batch_size: int,
        at_most: int | None = None,
    ):
        self.path, self.tokenizer, self.max_length = path, tokenizer, max_length
        self.batch_size = batch_size
        self.window = batch_size * max(1, window // batch_size)
        with path.open("rb") as lines:
            lengths = np.fromiter(map(len, islice(lines, at_most)), np.int64)
        self.starts = np.concatenate([[0], lengths.cumsum()])  # in bytes, of each row, and the end
        if not len(self):
            raise UserError(
                f"file {path}", expected="rows of text", got="none", fix="make the text again"
            )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitems__(self, numbers: list[int]) -> list[dict[str, Any]]:
        """Examples {"input_ids": [N], "attention_mask": [N]} of rows."""
        rows = []
        with self.path.open("rb") as file:
            for number in numbers:
                file.seek(self.starts[number])
                row = parse_row(file.readline(), f"{self.path}:{number + 1}")
                rows.append({"text": row["text"]})
        return encode(rows, self.tokenizer, self.max_length)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return self.__getitems__([number])[0]

    def batches(self) -> Windows:
        return Windows(self)


class Windows:
    """The batches of a pass over a stream: of each window in turn, grouped by length in bytes."""

    def __init__(self, stream: Stream):
        self.stream, self.batch_size = stream, stream.batch_size

    def __len__(self) -> int:
        return -(-len(self.stream) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        seed = int(torch.randint(SEED_LIMIT, ()))
        width = self.stream.window
        for window, first in enumerate(range(0, len(self.stream), width)):
            generator = torch.Generator().manual_seed((seed + window) % SEED_LIMIT)
            lengths = np.diff(self.stream.starts[first : first + width + 1]).tolist()
            order = get_length_grouped_indices(lengths, self.batch_size, generator=generator)
            for place in range(0, len(order), self.batch_size):
                yield [first + number for number in order[place : place + self.batch_size]]
