"""The GPUs of one machine, shared by jobs that know nothing of each other: a lock for each slot.

`CUDA_VISIBLE_DEVICES` is respected: what it leaves out is never taken. Where a scheduler (Slurm,
Kubernetes) has given a job its GPUs, they are the job's and no lock is needed.
"""

from __future__ import annotations

import contextlib
import getpass
import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from ..errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
SLOTS = "SPIKEBERT_GPU_SLOTS"  # jobs that may share a GPU; 1 where it is not set
SCHEDULERS = ("SLURM_JOB_ID", "KUBERNETES_SERVICE_HOST")


def visible() -> list[str]:
    """The names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them."""
    if (given := os.environ.get(VISIBLE)) is not None:
        return [name for part in given.split(",") if (name := part.strip()) not in ("", "-1")]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def slots_of_each() -> int:
    text = os.environ.get(SLOTS, "1")
    if text.isascii() and text.isdigit() and int(text):
        return int(text)
    raise UserError(SLOTS, expected="a whole number from 1", got=text, fix="set it to one")


@contextlib.contextmanager
def claimed(count: int, folder: Path | None = None, poll_s: float = 1.0) -> Iterator[list[str]]:
    """Hold `count` of the visible GPUs, or none where there are none, and make them the only ones
    that CUDA shows; waits until as many are free. The locks go with the process at the latest.

    Raises:
        UserError: fewer are visible.
    """
    names = visible()
    if not names or any(name in os.environ for name in SCHEDULERS):
        yield names
        return
    if len(names) < count:
        raise UserError(
            "GPUs",
            expected=f"{count} of them",
            got=", ".join(names),
            fix=f"ask for fewer processes, or set {VISIBLE}",
        )
    folder = folder or Path(tempfile.gettempdir()) / f"spikebert-gpus-{getpass.getuser()}"
    folder.mkdir(parents=True, exist_ok=True)
    before = os.environ.get(VISIBLE)
    while not (held := _take(names, count, folder)):
        time.sleep(poll_s)
    try:
        os.environ[VISIBLE] = ",".join(held)
        yield list(held)
    finally:
        os.environ.pop(VISIBLE)
        if before is not None:
            os.environ[VISIBLE] = before
        for lock in held.values():
            lock.release()


def _take(names: list[str], count: int, folder: Path) -> dict[str, Any]:
    """Locks on `count` GPUs. Who cannot have all of them at once takes none, lest two jobs wait for
    each other."""
    held: dict[str, Any] = {}
    for name, slot in itertools.product(names, range(slots_of_each())):
        if name not in held and len(held) < count:
            lock = filelock.FileLock(folder / f"{name.replace('/', '_')}.{slot}", timeout=0)
            with contextlib.suppress(filelock.Timeout):
                held[name] = lock.acquire().lock
    if len(held) == count:
        return held
    for lock in held.values():
        lock.release()
    return {}
