"""`fit`: one training loop, the Hugging Face Trainer's, for every step of the line.

A step hands over a module whose forward returns a dict with "loss", and any further named losses
for the log; "logits", where given, are scored on dev. dev selects the weights; test is not seen.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import platform
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from ..config.settings import TrainingSettings
from ..errors import Interrupted
from ..kernels.build import library
from ..models.fuse import fuse
from ..records.metrics import headline, scores
from ..utils.distributed import barrier, from_main, world_size
from .checkpoints import Checkpoints, checkpoint_minutes
from .tokenization import Stream, by_length
from .trainer import ExactTrainer, Interruptible


@dataclass(frozen=True)
class FitResult:
    """What a training run cost and how it went; `history` has one entry per log line."""

    steps: int
    tokens: int
    samples: int
    wall_s: float
    history: list[dict[str, float]]


def use_bf16(precision: str) -> bool:
    """Whether products run in bfloat16: always, never, or where the processor has it."""
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))


def answers(logits: Any) -> Any:
    """Class ids [rows] of logits [rows, C], or scores [rows] of [rows, 1]; arrays or tensors."""
    return logits.squeeze(-1) if logits.shape[-1] == 1 else logits.argmax(-1)


def score(metric: str, found: Any) -> dict[str, float]:
    """The metric's headline, of the library's predictions on dev."""
    guesses = answers(found.predictions).tolist()
    return {metric: headline(scores(metric, found.label_ids.tolist(), guesses))}


def training_arguments(
    settings: TrainingSettings, rows: int, metric: str | None, seed: int, folder: Path
) -> TrainingArguments:
    """Our settings in the library's words, for `rows` training rows; `metric` selects, if there is
    one."""
    select = metric is not None
    steps = max(1, math.ceil(rows * settings.epochs / settings.batch_size))
    every = max(1, math.ceil(steps / settings.evaluations))
    schedule = settings.schedule
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        lr_scheduler_type="constant_with_warmup" if schedule == "constant" else schedule,
        warmup_steps=math.ceil(steps * settings.warmup_ratio),
        max_grad_norm=settings.clip_norm,
        bf16=use_bf16(settings.precision),
        use_cpu=not torch.cuda.is_available(),
        # The next batch is read, pinned and on its way while the GPU is at this one.
        accelerator_config={"non_blocking": torch.cuda.is_available()},
        train_sampling_strategy="group_by_length",
        eval_strategy="steps" if select else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        load_best_model_at_end=select,
        metric_for_best_model=metric,
        greater_is_better=True if select else None,
        logging_steps=max(1, every // 2),
        logging_nan_inf_filter=False,
        include_num_input_tokens_seen="non_padding",
        label_names=["labels"],
        remove_unused_columns=False,
        seed=seed,
        disable_tqdm=not sys.stderr.isatty(),
        report_to="none",
    )


def keep_freed_memory() -> None:
    """Tell glibc to reuse freed memory, where it is the C library.

    By default every large tensor is a fresh mapping whose pages are zeroed as they are touched: a
    fifth of the time of an update at 6 blocks x 384.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((-1, 2**31 - 1), (-2, 2**26), (-4, 0)):  # trim, top pad, mmap max
            mallopt(option, value)


def fit(
    model: nn.Module,
    train: Sequence[dict[str, Any]] | Stream,
    dev: Sequence[dict[str, Any]] | None,
    collate: Callable[[list[Any]], dict[str, Tensor]],
    settings: TrainingSettings,
    seed: int,
    store: Checkpoints,
    metric: str = "accuracy",
) -> FitResult:
    """Train `model` in place, from the last checkpoint in `store` if there is one; with dev rows,
    end with the weights that are best on dev by `metric`, else with the last.

    The layers stay in the form that trained; `fuse` switches them.

    A training that was killed at any moment and resumed with the same threads on the same kind of
    processor ends with the same bits as one that was not.

    Raises `UserError` at a non-finite loss or a full disk, `Interrupted` after SIGTERM or SIGUSR1.
    """
    keep_freed_memory()
    arguments = training_arguments(
        settings, len(train), metric if dev else None, seed, store.folder
    )
    fused = settings.compile and library() is not None
    fuse(model, fused)
    environment = environment_of(arguments.bf16, fused)
    last = from_main(lambda: store.latest(environment))
    signals = Interruptible(checkpoint_minutes())
    trainer = ExactTrainer(
        model=model,
        args=arguments,
        data_collator=collate,
        train_dataset=train,
        eval_dataset=by_length(dev) if dev else None,
        compute_metrics=functools.partial(score, metric) if dev else None,
        callbacks=[signals],
        store=store,
        environment=environment,
    )
    with signals:
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    state = trainer.state
    if signals.received and state.global_step < state.max_steps:
        raise Interrupted(
            f"stopped by {signal.Signals(signals.received).name} after update "
            f"{state.global_step} of {state.max_steps}; run again to go on from there"
        )
    barrier()  # none needs a checkpoint any more
    return FitResult(
        steps=state.global_step,
        tokens=int(state.num_input_tokens_seen),
        samples=state.global_step * settings.batch_size,
        wall_s=state.log_history[-1]["elapsed_s"],
        history=[
            tidy(entry) for entry in state.log_history if "loss" in entry or "eval_loss" in entry
        ],
    )


def environment_of(bf16: bool, fused: bool) -> dict[str, Any]:
    """What decides the last bits of a training, beside its settings and inputs."""
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "processor": torch.cpu.get_capabilities().get("cpu_name", platform.machine()),
        "threads": torch.get_num_threads(),
        "bf16": bf16,
        "fused": fused,
        **({"processes": world_size()} if world_size() > 1 else {}),
    }


def tidy(entry: dict[str, float]) -> dict[str, float]:
    """A line of the library's log in the words of a record."""
    skipped = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second")
    return {
        f"{name[5:]}_dev" if name.startswith("eval_") else name: round(float(value), 6)
        for name, value in entry.items()
        if name not in skipped
    }


@torch.inference_mode()
def predict_logits(
    model: nn.Module,
    examples: Sequence[dict[str, Any]],
    collate: Callable[[list[Any]], dict[str, Tensor]],
    batch_size: int = 64,
) -> Tensor:
    """Logits [rows, C] in float32, in the order of the examples; batches are grouped by length."""
    model.eval()
    device = next(model.parameters()).device
    order = sorted(range(len(examples)), key=lambda i: len(examples[i]["input_ids"]))
    loader: DataLoader[Any] = DataLoader(
        [examples[i] for i in order],  # type: ignore[arg-type]
        batch_size,
        collate_fn=collate,
    )
    logits = [
        model(**{name: value.to(device) for name, value in batch.items()})["logits"].float().cpu()
        for batch in loader
    ]
    out = torch.cat(logits)
    return torch.empty_like(out).index_copy_(0, torch.tensor(order), out)
