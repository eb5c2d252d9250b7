"""The library's trainer, made exact: what was killed and resumed ends with the same bits.

The library resumes weights, optimiser, schedule, generators and its log, and skips the batches of
the epoch that were seen, by their numbers alone. What it leaves out is in `loop.pt`:

    epoch_start   the generator before the epoch's order was drawn; drawn again, it is the same
    masks         the generator of a collator that has one, before the batch that was read ahead
    sums, count   the losses since the last line of the log, whose means replace the library's
    elapsed_s     the time spent

Of several processes (`distributed`) each has its own generators and losses in a checkpoint, which
the first one writes. One that is taken up by another number of processes goes on from the same
update in the same order of rows; what differs is the sums of the losses that are being logged.
"""

from __future__ import annotations

import math
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import DataLoaderShard
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainerControl
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerState

from ..errors import UserError
from ..utils.distributed import (
    COUNTED,
    Filled,
    Shares,
    any_of,
    counting,
    gathered,
    is_main,
    mean_of,
    rank,
    world_size,
)
from .checkpoints import Checkpoints
from .tokenization import Stream

HEEDED = (signal.SIGTERM, signal.SIGUSR1)


class Interruptible(TrainerCallback):
    """While entered, SIGTERM and SIGUSR1 save and stop the training at the end of its update, all
    processes of it where any was told. A checkpoint is asked for, too, when the last one is
    `minutes` old.

    Slurm announces the end of a job's time with the signal of `--signal`, and a preemption or
    `scancel` with SIGTERM.

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


class Batches:
    """A collator, and where its own random numbers stood before the batch it made last."""

    def __init__(self, collate: Callable[[list[Any]], dict[str, Tensor]]):
        self.collate = collate
        self.generator: torch.Generator | None = None
        if getattr(collate, "seed", None) is not None:
            collate.create_rng()  # type: ignore[attr-defined]  # as it would at its first batch
            self.generator = collate.generator  # type: ignore[attr-defined]
        self.before = self.now()

    def __call__(self, rows: list[Any]) -> dict[str, Tensor]:
        self.before = self.now()
        return self.collate(rows)

    def now(self) -> Tensor | None:
        return None if self.generator is None else self.generator.get_state()


class ExactTrainer(Trainer):
    """Named losses in the log, a stop at a non-finite one, checkpoints that are whole and exact.

    One batch to an update, however many processes share it: `per_device_train_batch_size` is the
    size of that batch. A collator with a generator is for training alone, and in one process.
    """

    def __init__(
        self,
        *,
        store: Checkpoints,
        environment: dict[str, Any],
        data_collator: Callable[[list[Any]], dict[str, Tensor]],
        **kwargs: Any,
    ) -> None:
        self.batches = Batches(data_collator)
        super().__init__(data_collator=self.batches, **kwargs)
        self.store, self.environment = store, environment
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.started = time.perf_counter()
        self.elapsed_before = 0.0
        self.loop: dict[str, Any] | None = None  # of a checkpoint, until it is taken up
        self.epoch_start = torch.get_rng_state()

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The library's, or this process's shares of a stream's batches or of the library's."""
        rows: Any = self.train_dataset
        if world_size() == 1 and not isinstance(rows, Stream):
            return super().get_train_dataloader()
        size = self.args.per_device_train_batch_size
        batches = (
            rows.batches()
            if isinstance(rows, Stream)
            else BatchSampler(self._get_train_sampler(), size, drop_last=False)  # type: ignore[arg-type]
        )
        ahead = self.accelerator.non_blocking
        return DataLoaderShard(
            Filled(rows),
            device=self.args.device,
            batch_sampler=Shares(batches, rank(), world_size()),
            collate_fn=counting(self.batches),
            pin_memory=ahead,
            _non_blocking=ahead,
        )

    def _get_eval_sampler(self, eval_dataset: Any) -> SequentialSampler:
        """The rows as they come: the library's groups of length are too few to spare padding."""
        return SequentialSampler(eval_dataset)

    def _track_num_input_tokens(self, inputs: dict[str, Any]) -> None:
        if COUNTED in inputs:
            mask = inputs["attention_mask"] * inputs[COUNTED].unsqueeze(1)
            inputs = {**inputs, "attention_mask": mask}
        super()._track_num_input_tokens(inputs)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002
    ) -> Any:
        outputs = model(**inputs)
        if model.training:
            self.note(outputs)
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def note(self, outputs: dict[str, Tensor]) -> None:
        """Stop at a non-finite loss, keep the named ones for the log."""
        scalars = {name: value.detach() for name, value in outputs.items() if value.ndim == 0}
        if not torch.isfinite(scalars["loss"]):
            raise UserError(
                f"loss at update {self.state.global_step + 1}",
                expected="a finite number",
                got={name: value.item() for name, value in scalars.items()},
                fix="lower learning_rate or clip_norm, or set precision: fp32",
            )
        for name, value in scalars.items():
            self.sums[name] = self.sums.get(name, 0) + value
        self.count += 1

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs and self.count:
            own = {name: (total / self.count).item() for name, total in self.sums.items()}
            logs |= mean_of(own, self.args.device)
            self.sums, self.count = {}, 0
        logs["elapsed_s"] = self.elapsed()
        super().log(logs, *args, **kwargs)

    def elapsed(self) -> float:
        """Seconds of training, those before a resume included."""
        return self.elapsed_before + time.perf_counter() - self.started

    def _save_checkpoint(self, model: Any, trial: Any) -> None:  # noqa: ARG002
        state = self.state
        step, best = state.global_step, state.best_global_step
        self.store_flos()
        if best:
            state.best_model_checkpoint = str(self.store.path(best))
        needs = [best] if best and best != step else []
        states = gathered(self._own_state())
        if states is None:  # the first process writes
            return
        with self.store.write(step, needs, self.environment) as part:
            self.save_model(str(part), _internal_call=True)
            self._save_optimizer_and_scheduler(str(part))
            self._save_scaler(str(part))
            for files in states:
                for name, content in files.items():
                    (part / name).write_bytes(content)
            state.save_to_json(str(part / TRAINER_STATE_NAME))

    def _own_state(self) -> dict[str, bytes]:
        """The files of a checkpoint that each process has of its own, by their names."""
        with tempfile.TemporaryDirectory() as folder:
            self._save_rng_state(folder)
            torch.save(self._loop(), self._loop_file(Path(folder)))
            return {file.name: file.read_bytes() for file in Path(folder).iterdir()}

    def _loop_file(self, folder: Path) -> Path:
        """Of this process."""
        return folder / ("loop.pt" if world_size() == 1 else f"loop_{rank()}.pt")

    def _loop(self) -> dict[str, Any]:
        # Between two epochs nothing is read ahead, and the order of the next is not drawn yet.
        between = float(self.state.epoch or 0).is_integer()
        return {
            "epoch_start": torch.get_rng_state() if between else self.epoch_start,
            "masks": self.batches.now() if between else self.batches.before,
            "sums": self.sums,
            "count": self.count,
            "elapsed_s": self.elapsed(),
        }

    def _init_training_state(
        self, max_steps: int, per_epoch: int, epochs: int, checkpoint: str | None, trial: Any
    ) -> tuple[int, int]:
        found = super()._init_training_state(max_steps, per_epoch, epochs, checkpoint, trial)
        if checkpoint is not None:
            own = self._loop_file(Path(checkpoint))
            if not own.is_file():  # another number of processes has written: the first's
                own = min(Path(checkpoint).glob("loop*.pt"))
            self.loop = torch.load(own, weights_only=True)
            self.elapsed_before = self.loop["elapsed_s"]
            if best := self.state.best_global_step:  # the folder may have moved
                self.state.best_model_checkpoint = str(self.store.path(best))
        return found

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """The library's; in one process after several, the first's."""
        several = Path(checkpoint or "") / "rng_state_0.pth"
        if checkpoint and world_size() == 1 and several.is_file():
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "rng_state.pth").write_bytes(several.read_bytes())
                super()._load_rng_state(folder)
        else:
            super()._load_rng_state(checkpoint)

    def _run_epoch(self, **kwargs: Any) -> None:  # type: ignore[override]
        if self.state.global_step >= self.state.max_steps:  # killed after the last update
            self.control.should_training_stop = True
            return
        if (loop := self.loop) is None:
            self.epoch_start = torch.get_rng_state()
        else:
            self.loop = None
            self.epoch_start = loop["epoch_start"]
            torch.set_rng_state(self.epoch_start)  # the library's own follows once order is drawn
            if self.batches.generator is not None:
                self.batches.generator.set_state(loop["masks"])
            self.sums = {name: x.to(self.args.device) for name, x in loop["sums"].items()}
            self.count = loop["count"]
        super()._run_epoch(**kwargs)
