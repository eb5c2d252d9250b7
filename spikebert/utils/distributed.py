"""One training in several processes, as torchrun starts them: who is who, and whose rows are whose.

The order of the rows and the cut into batches are those of a single process; of every batch each
process has its share, and the gradients are averaged over the processes. A loss is a mean over the
rows or tokens of the whole batch, not of a share, so each process divides its sum by the count of
all, over the number of processes (`global_mean`): the average is then the gradient that a single
process would have, however unequal the shares are.

Without torchrun there is one process, and nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import Dataset, Sampler

T = TypeVar("T")
COUNTED = "counted"  # of a batch: bool [B], false for a row that only fills up a share


def launched() -> bool:
    """Whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def local_world_size() -> int:
    """The processes of this training on this machine, this one among them."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if launched() else 1


def start() -> None:
    """Join the other processes that torchrun has started: by NCCL on GPUs, else by gloo."""
    if int(os.environ["WORLD_SIZE"]) > 1 and not dist.is_initialized():
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available())


def world_size() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def is_main() -> bool:
    """Whether this is the process that writes."""
    return rank() == 0


def barrier() -> None:
    """Until all processes are here."""
    if world_size() > 1:
        dist.barrier()


def from_main(make: Callable[[], T]) -> T:
    """What the main process makes, in all of them."""
    if world_size() == 1:
        return make()
    made = [make() if is_main() else None]
    dist.broadcast_object_list(made)
    return made[0]  # type: ignore[return-value]


def gathered(own: T) -> list[T] | None:
    """In the main process what each of them has, in their order; None in the others."""
    if world_size() == 1:
        return [own]
    found: list[Any] | None = [None] * world_size() if is_main() else None
    dist.gather_object(own, found)
    return found


def any_of(flag: bool, arguments: Any) -> bool:
    """Whether it is so in any process; all of them have to ask. The library's training arguments
    name the device that they speak through."""
    return flag if world_size() == 1 else mean_of({"so": float(flag)}, arguments.device)["so"] > 0


def mean_of(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """Each value's mean over the processes."""
    if world_size() == 1:
        return values
    stacked = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    dist.all_reduce(stacked)
    return dict(zip(values, (stacked / world_size()).tolist(), strict=True))


def global_mean(count: Tensor) -> Tensor:
    """A count in this process's share -> the count in the whole batch, over the number of
    processes. In evaluation, which takes no gradient, a mean is of the share alone."""
    if world_size() == 1 or not torch.is_grad_enabled():
        return count
    total = count.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


class Shares(Sampler[list[int]]):
    """Of each of `batches`, rows by their numbers, the share of process `rank` of `world_size`.

    `batches` is like torch's `BatchSampler`: torch's generator decides their order at each pass.

    Each row goes to one process. Where the last batch of a pass does not divide, some shares are
    filled up to the same size with rows that do not count; their numbers are negative.
    """

    def __init__(self, batches: Any, rank: int, world_size: int):
        self.batches, self.batch_size = batches, batches.batch_size
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._of_all():
            share = batch[self.rank :: self.world_size]
            size = -(-len(batch) // self.world_size)
            yield share + [-1 - batch[0]] * (size - len(share))

    def _of_all(self) -> Iterator[list[int]]:
        """The batches, drawn with the main process's generator in all of them."""
        own = torch.get_rng_state()
        if self.world_size > 1:
            torch.set_rng_state(from_main(lambda: own))
        batches = iter(self.batches)
        first = next(batches, None)  # they draw their order, or a seed for it, here
        if self.rank:
            torch.set_rng_state(own)
        if first is not None:
            yield first
            yield from batches


class Filled(Dataset[Any]):
    """Rows, and by negative numbers the same rows as ones that do not count."""

    def __init__(self, rows: Any):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, numbers: list[int]) -> list[dict[str, Any]]:
        real = [number if number >= 0 else -1 - number for number in numbers]
        together = getattr(self.rows, "__getitems__", None)
        rows = together(real) if together else [self.rows[number] for number in real]
        return [{**row, COUNTED: n >= 0} for row, n in zip(rows, numbers, strict=True)]


def counting(collate: Callable[[list[Any]], dict[str, Tensor]]) -> Callable[[list[Any]], Any]:
    """`collate` for rows of `Filled`."""

    def join(rows: list[Any]) -> dict[str, Tensor]:
        counted = torch.tensor([row[COUNTED] for row in rows])
        batch = collate([{k: v for k, v in row.items() if k != COUNTED} for row in rows])
        return {**batch, COUNTED: counted}

    return join
