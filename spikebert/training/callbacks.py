"""When a training saves: every so often, and when it is asked to go. Then it finishes its update,
saves, and ends; run again, it goes on.

Slurm announces the end of a job's time with the signal of `--signal`, and a preemption or `scancel`
with SIGTERM.
"""

from __future__ import annotations

import math
import signal
import time
from typing import Any

from transformers import TrainerCallback, TrainerControl
from transformers.trainer_callback import TrainerState

from ..utils.distributed import any_of, is_main

HEEDED = (signal.SIGTERM, signal.SIGUSR1)


class Interruptible(TrainerCallback):
    """While entered, SIGTERM and SIGUSR1 save and stop the training at the end of its update, all
    processes of it where any was told. A checkpoint is asked for, too, when the last one is
    `minutes` old.

    `received` is the number of the last such signal, or 0. At the start it prints where a resumed
    training goes on.
    """

    received = 0

    def __init__(self, minutes: float = math.inf):
        self.seconds, self.last = 60 * minutes, time.monotonic()

    def __enter__(self) -> Interruptible:
        self.previous = {number: signal.signal(number, self._note) for number in HEEDED}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: object) -> None:
        self.received = number

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:  # noqa: ARG002
        if state.global_step and is_main():
            print(f"resuming after update {state.global_step} of {state.max_steps}", flush=True)

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:  # noqa: ARG002
        old = is_main() and time.monotonic() - self.last >= self.seconds
        control.should_save |= any_of(old, args)
        if any_of(bool(self.received), args):
            self.received = self.received or signal.SIGTERM
            control.should_save = control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        self.last = time.monotonic()
