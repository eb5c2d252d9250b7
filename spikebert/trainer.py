"""The library's trainer, made exact: what was killed and resumed ends with the same bits.

The library resumes weights, optimiser, schedule, generators and its log, and skips the batches of
the epoch that were seen, by their numbers alone. What it leaves out is in `loop.pt`:

    epoch_start   the generator before the epoch's order was drawn; drawn again, it is the same
    masks         the generator of a collator that has one, before the batch that was read ahead
    sums, count   the losses since the last line of the log, whose means replace the library's
    elapsed_s     the time spent
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerControl
from transformers.trainer import TRAINER_STATE_NAME

from .checkpoints import Checkpoints
from .errors import UserError

LOOP = "loop.pt"


class Often(TrainerCallback):
    """Ask for a checkpoint when the last one is `minutes` old."""

    def __init__(self, minutes: float):
        self.seconds, self.last = 60 * minutes, time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:  # noqa: ARG002
        control.should_save |= time.monotonic() - self.last >= self.seconds

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

    One process, and one batch to an update. A collator with a generator is for training alone.
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
            logs |= {name: (total / self.count).item() for name, total in self.sums.items()}
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
        with self.store.write(step, needs, self.environment) as part:
            self.save_model(str(part), _internal_call=True)
            self._save_optimizer_and_scheduler(str(part))
            self._save_scaler(str(part))
            self._save_rng_state(str(part))
            torch.save(self._loop(), part / LOOP)
            state.save_to_json(str(part / TRAINER_STATE_NAME))

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
            self.loop = torch.load(Path(checkpoint) / LOOP, weights_only=True)
            self.elapsed_before = self.loop["elapsed_s"]
            if best := self.state.best_global_step:  # the folder may have moved
                self.state.best_model_checkpoint = str(self.store.path(best))
        return found

    def _run_epoch(self, **kwargs: Any) -> None:  # type: ignore[override]
        if self.state.global_step >= self.state.max_steps:  # killed after the last update
            self.control.should_training_stop = True
            return
        if self.loop is None:
            self.epoch_start = torch.get_rng_state()
        else:
            self._take_up(self.loop)
            self.loop = None
        super()._run_epoch(**kwargs)

    def _take_up(self, loop: dict[str, Any]) -> None:
        self.epoch_start = loop["epoch_start"]
        torch.set_rng_state(self.epoch_start)  # the library goes on to its own once order is drawn
        if self.batches.generator is not None:
            self.batches.generator.set_state(loop["masks"])
        self.sums = {name: total.to(self.args.device) for name, total in loop["sums"].items()}
        self.count = loop["count"]
