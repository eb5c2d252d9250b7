"""Rows of a file that need not fit in memory: read by windows, shuffled and tokenised on the way.

A window is some thousand rows that follow one another in the file. Unlabelled text stands in the
order of hashes, so that each window is a sample of all of it. Within a window rows are shuffled and
grouped by length; windows come in the order of the file. What is in memory is one window, and for
each of the others where it begins.

Where a training stands is the number of its last update: with the seed of the pass, which the
generator in the checkpoint gives again, it decides window, order and batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase
from transformers.trainer_pt_utils import get_length_grouped_indices

from ..data.corpus import parse_row
from ..errors import UserError
from .tokenization import encode

SEED_LIMIT = 2**62


class Stream(Dataset[Any]):
    """Examples of a file of rows {"id", "text"}, by number; those of one window at a time.

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
        self.starts, self.rows = self._index(at_most)
        self.held, self.lines = -1, [b""]

    def _index(self, at_most: int | None) -> tuple[list[int], int]:
        """Where each window begins, in bytes, and how many rows there are."""
        starts, rows, place = [], 0, 0
        with self.path.open("rb") as lines:
            for line in lines:
                if rows == at_most:
                    break
                if rows % self.window == 0:
                    starts.append(place)
                rows, place = rows + 1, place + len(line)
        if not rows:
            raise UserError(
                f"file {self.path}", expected="rows of text", got="none", fix="make the text again"
            )
        return starts, rows

    def __len__(self) -> int:
        return self.rows

    def hold(self, window: int) -> list[bytes]:
        """The lines of a window, which is from now on the one in memory."""
        if window != self.held:
            count = min(self.window, self.rows - window * self.window)
            with self.path.open("rb") as file:
                file.seek(self.starts[window])
                self.lines = [file.readline() for _ in range(count)]
            self.held = window
        return self.lines

    def __getitems__(self, numbers: list[int]) -> list[dict[str, Any]]:
        """Examples {"input_ids": [N], "attention_mask": [N]} of rows of one window."""
        rows = []
        for number in numbers:
            window, place = divmod(number, self.window)
            row = parse_row(self.hold(window)[place], f"{self.path}:{number + 1}")
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
        for window in range(len(self.stream.starts)):
            generator = torch.Generator().manual_seed((seed + window) % SEED_LIMIT)
            lengths = list(map(len, self.stream.hold(window)))
            order = get_length_grouped_indices(lengths, self.batch_size, generator=generator)
            first = window * self.stream.window
            for place in range(0, len(order), self.batch_size):
                yield [first + number for number in order[place : place + self.batch_size]]
