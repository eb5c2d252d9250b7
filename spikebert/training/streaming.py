"""Rows of a file that need not fit in memory: shuffled by windows and tokenised on the way.

A window is some thousand rows that follow one another in the file. Unlabelled text stands in the
order of hashes, so that each window is a sample of all of it. Within a window rows are shuffled and
grouped by length; windows come in the order of the file. In memory are one batch, and eight
bytes for each row, where it begins.

Where a training stands is the number of its last update: with the seed of the pass, which the
generator in the checkpoint gives again, it decides window, order and batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase
from transformers.trainer_pt_utils import get_length_grouped_indices

from ..data.corpus import parse_row
from ..errors import UserError
from .tokenization import encode

SEED_LIMIT = 2**62


class Stream(Dataset[Any]):
    """Examples of a file of rows {"id", "text"}, by number.

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
