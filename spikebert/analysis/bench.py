"""What training and inference cost, measured side by side in one process.

Four builds of one shape (`builds`) take turns on the same sentences, so that a slower minute of the
machine falls on all of them, on batches whose lengths stand for the corpus. The *floor* of a step
is the time of its matrix products alone, run by torch one after the other in bfloat16 in the same
rounds. Memory is the peak of a process of its own for each build.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import numpy as np
import psutil
import torch
from tabulate import tabulate
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from ..config.settings import ModelSettings
from ..models.attention import product
from ..models.flops import product_macs, product_shapes, scaled_update, training_macs
from ..training.loop import keep_freed_memory, use_bf16
from ..training.tokenization import load_tokenizer
from ..utils.provenance import COMMIT, hardware, peak_rss_bytes, versions
from .builds import BUILDS, Batch, Build, read_batches, seconds


def run_products(shape: ModelSettings, rows: int, tokens: int) -> None:
    """The matrix products of one update and nothing else: the floor of its time."""
    for m, k, n in product_shapes(shape, rows, tokens):
        x, w = torch.ones(m, k, dtype=torch.bfloat16), torch.ones(n, k, dtype=torch.bfloat16)
        grad = x @ w.T
        grad @ w  # to the input
        grad.T @ x
    size = (shape.timesteps, rows, shape.num_attention_heads, tokens)
    q = torch.ones(*size, shape.hidden_size // shape.num_attention_heads, dtype=torch.bfloat16)
    for _ in range(3 * shape.num_hidden_layers):
        product(q, q, q)


def spread(batches: Sequence[Batch], count: int) -> list[Batch]:
    """`count` batches that stand for all: in order of length, the middle one of each of as many
    equal parts."""
    ordered = sorted(batches, key=lambda batch: batch["input_ids"].shape[1])
    return [ordered[int((i + 0.5) / count * len(ordered))] for i in range(count)]


def interleaved(
    builds: Sequence[Build],
    batches: Sequence[Batch],
    shape: ModelSettings,
    length: int,
    rounds: int,
    repeats: int = 3,
) -> dict[str, Any]:
    """Seconds per update and sentence, means over `rounds` batches that are spread over all
    lengths: so long does a pass over the corpus take.

    On each batch, builds take turns: an update that is not timed, in which a build takes its memory
    back, then the median of `repeats`, and of as many runs of the products alone. The padded build,
    whose updates are all of one size, and long, makes one that is not timed, on the first batch,
    and one on each that is.
    """
    training: dict[str, list[float]] = {build.name: [] for build in builds}
    inference: dict[str, list[float]] = {build.name: [] for build in builds}
    floors: list[float] = []
    macs: list[int] = []
    measured = spread(batches, rounds)
    for i, batch in enumerate(measured):
        rows, tokens = batch["input_ids"].shape
        for build in builds:
            fed = build.inputs(batch, length)
            if not (i and build.padded):
                build.train(fed)
            times = 1 if build.padded else repeats
            spent = [seconds(build.train, fed) for _ in range(times)]
            asked = [seconds(build.infer, fed) for _ in range(times)]
            training[build.name].append(median(spent) / rows)
            inference[build.name].append(median(asked) / rows)
        spent = [seconds(run_products, shape, rows, tokens) for _ in range(repeats)]
        floors.append(median(spent) / rows)
        macs.append(training_macs(shape, rows, tokens))
    rows = batches[0]["input_ids"].shape[0]
    trained = {name: fmean(values) for name, values in training.items()}
    floor = fmean(floors)
    return {
        "batch_size": rows,
        "tokens": fmean(b["input_ids"].shape[1] for b in measured),
        "rounds": rounds,
        "training_s_per_sentence": trained,
        "inference_s_per_sentence": {name: fmean(values) for name, values in inference.items()},
        "floor_s_per_sentence": floor,
        "floor_macs_per_s": fmean(macs) / (floor * rows),
        "over_floor": trained["ours"] / floor,
        "speedup": {name: spent / trained["ours"] for name, spent in trained.items()},
    }


def latency(build: Build, batches: Sequence[Batch], rounds: int) -> dict[str, float]:
    """Median milliseconds of one answer, for one sentence and for a batch."""
    found = {}
    for size in (1, batches[0]["input_ids"].shape[0]):
        fed = [{k: v[:size] for k, v in batch.items()} for batch in batches[: rounds + 1]]
        times = [seconds(build.infer, b) for b in fed][1:]
        found[f"batch_{size}_ms"] = 1e3 * median(times)
    return found


def forget_peak() -> None:
    """Start the process's peak of resident memory anew, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_since() -> int:
    """Peak of resident bytes since `forget_peak`, or of the whole process."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return peak_rss_bytes()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def peak_memory(
    build: str, shape: ModelSettings, corpus: Path, tokenizer: Path, length: int, size: int
) -> dict[str, int]:
    """Resident bytes between updates, weights and optimiser included, and the peak of one update on
    the longest batch, whose tokens are counted with their padding."""
    if build == "ours":
        keep_freed_memory()
    words = load_tokenizer(tokenizer)
    batches = read_batches(corpus, "train", words, size, length)
    longest = max(batches, key=lambda batch: batch["input_ids"].shape[1])
    made = Build.make(build, shape, words)
    fed = made.inputs(longest, length)
    made.train(fed)
    forget_peak()
    held = psutil.Process().memory_info().rss
    made.train(fed)
    tokens = fed["input_ids"].numel()
    return {"held_bytes": held, "peak_bytes": peak_since(), "tokens": tokens}


def memory_by_timesteps(
    shape: ModelSettings, corpus: Path, tokenizer: Path, length: int, size: int
) -> dict[str, dict[str, dict[str, int]]]:
    """`peak_memory` of ours and the field's build at T 1 and 4, each in a process of its own."""
    found: dict[str, dict[str, dict[str, int]]] = {"ours": {}, "field": {}}
    threads = (torch.get_num_threads(),)
    for build, by_steps in found.items():
        for timesteps in (1, 4):
            at = dataclasses.replace(shape, timesteps=timesteps)
            fresh = get_context("spawn")
            with ProcessPoolExecutor(1, fresh, torch.set_num_threads, threads) as pool:
                job = pool.submit(peak_memory, build, at, corpus, tokenizer, length, size)
                by_steps[str(timesteps)] = job.result()
    return found


def growth(x: Sequence[float], y: Sequence[float]) -> float:
    """The exponent p of y ~ x^p, fitted to the logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


AXES: dict[str, tuple[int, ...]] = {
    "timesteps": (1, 2, 4, 8),
    "tokens": (16, 32, 64, 128, 256),
    "hidden_size": (64, 128, 256, 512),
    "batch_size": (8, 16, 32, 64),
}


def scaling(tokenizer: PreTrainedTokenizerBase, rounds: int = 3) -> dict[str, Any]:
    """Seconds of an update of ours against T, N, D and B, one varied at a time, and the exponents.

    The point they start from is that of `scaled_update`.
    """
    found = {}
    for axis, values in AXES.items():
        times = []
        for value in values:
            shape, *size = scaled_update(axis, value)
            build = Build.make("ours", shape, tokenizer)
            generator = torch.Generator().manual_seed(0)
            batch = {
                "input_ids": torch.randint(1, len(tokenizer), size, generator=generator),
                "attention_mask": torch.ones(size, dtype=torch.long),
                "labels": torch.zeros(size[0], dtype=torch.long),
            }
            spent = [seconds(build.train, batch) for _ in range(rounds + 1)]
            times.append(median(spent[1:]))
        found[axis] = {"values": list(values), "s": times, "exponent": growth(values, times)}
    return found


LENGTHS = (16, 32, 64, 128, 256, 512)
ORDERS = ("qk_first", "kv_first")


def attention_orders(
    shape: ModelSettings, size: int, rounds: int = 3, lengths: Sequence[int] = LENGTHS
) -> dict[str, Any]:
    """(Q K^T) V and Q (K^T V) of random spikes, one in five, by the number of tokens: whether they
    are equal, multiply-accumulates of a head and step, and milliseconds of one block's product,
    forward and backward, in the precision of training."""
    dtype = torch.bfloat16 if use_bf16("auto") else torch.float32
    width = shape.hidden_size // shape.num_attention_heads
    found: dict[str, Any] = {"lengths": list(lengths), "head_width": width, "equal": []}
    found |= {order: {"macs": [], "ms": []} for order in ORDERS}
    generator = torch.Generator().manual_seed(0)
    for tokens in lengths:
        rows = (shape.timesteps, size, shape.num_attention_heads, tokens, width)
        q, k, v = ((torch.rand(rows, generator=generator) < 0.2).float() for _ in range(3))
        one, other = (product(q, k, v, order) for order in ORDERS)
        found["equal"].append(torch.equal(one, other))
        q, k, v = (x.to(dtype).requires_grad_() for x in (q, k, v))
        times: dict[str, list[float]] = {order: [] for order in ORDERS}
        for _ in range(rounds + 1):
            for order in ORDERS:
                times[order].append(seconds(_there_and_back, q, k, v, order))
        for order in ORDERS:
            found[order]["macs"].append(product_macs(tokens, width)[order])
            found[order]["ms"].append(1e3 * median(times[order][1:]))
    return found


def _there_and_back(q: Tensor, k: Tensor, v: Tensor, order: str) -> None:
    product(q, k, v, order).sum().backward()


def same_quality(
    corpus: Path,
    tokenizer: PreTrainedTokenizerBase,
    steps: int,
    size: int,
    seeds: int,
    length: int = 64,
    learning_rate: float = 3e-3,
) -> dict[str, Any]:
    """Losses on dev of ours and the field's build after the same updates, from the same weights,
    for each seed of weights and order; the rate is the one of direct training.

    The field's build comes twice: with the mask that ours has, which makes it the same network in
    float32, padded, with spikingjelly's neuron; and as it is, once, for it is the slowest. Shape
    2 x 64, T 2. The standard error of a loss is that of the mean over the rows of dev, averaged
    over seeds; `difference` is ours less the masked one, its standard error that over the seeds.
    """
    shape = ModelSettings(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, timesteps=2)
    train = read_batches(corpus, "train", tokenizer, size, length)
    dev = read_batches(corpus, "dev", tokenizer, size, length)
    found: dict[str, Any] = {"steps": steps, "learning_rate": learning_rate}
    for name, repeats in (("ours", seeds), ("field_masked", seeds), ("field", 1)):
        means, errors = [], []
        for seed in range(repeats):
            build = Build.make(name.removesuffix("_masked"), shape, tokenizer, seed, learning_rate)
            build.masked = name != "field"
            drawn = torch.Generator().manual_seed(seed)
            order = torch.randperm(len(train), generator=drawn).tolist()
            for i in range(steps):
                build.train(build.inputs(train[order[i % len(order)]], length))
            losses = torch.cat(
                [
                    nn.functional.cross_entropy(
                        build.infer(build.inputs(b, length)), b["labels"], reduction="none"
                    )
                    for b in dev
                ]
            )
            means.append(losses.mean().item())
            errors.append(losses.std().item() / len(losses) ** 0.5)
        found[name] = {"losses": means, "loss_dev": fmean(means), "standard_error": fmean(errors)}
    pairs = zip(found["ours"]["losses"], found["field_masked"]["losses"], strict=True)
    gaps = [ours - theirs for ours, theirs in pairs]
    error = stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else None
    return found | {"difference": {"mean": fmean(gaps), "standard_error": error}}


def bench(
    shape: ModelSettings,
    corpus: Path,
    tokenizer: Path,
    length: int = 128,
    size: int = 32,
    rounds: int = 5,
    quality_steps: int = 300,
    quality_seeds: int = 3,
) -> dict[str, Any]:
    """Everything above, as one JSON value."""
    # First of all: later this process holds the memory that the field's build took.
    memory = memory_by_timesteps(shape, corpus, tokenizer, length, size)
    keep_freed_memory()
    words = load_tokenizer(tokenizer)
    batches = read_batches(corpus, "train", words, size, length)
    builds = [Build.make(name, shape, words) for name in BUILDS]
    found: dict[str, Any] = {
        "shape": vars(shape),
        "padded_to": length,
        **interleaved(builds, batches, shape, length, rounds),
        "latency": {b.name: latency(b, batches, 5) for b in builds if not b.padded},
    }
    del builds
    found["memory"] = memory
    found["scaling"] = scaling(words)
    found["attention"] = attention_orders(shape, size)
    found["quality"] = same_quality(corpus, words, quality_steps, size, quality_seeds)
    return found | {"versions": versions(), "commit": COMMIT, "hardware": hardware()}


def summary(found: dict[str, Any]) -> str:
    """The record in tables and words, for a terminal."""
    shape, orders, quality = found["shape"], found["attention"], found["quality"]
    builds = [
        (name, 1 / spent, found["speedup"][name], 1 / found["inference_s_per_sentence"][name])
        for name, spent in found["training_s_per_sentence"].items()
    ]
    memory = [
        (build, steps, *(used[name] / 2**20 for name in ("peak_bytes", "held_bytes")))
        for build, by_steps in found["memory"].items()
        for steps, used in by_steps.items()
    ]
    growths = [(f"{axis}^p", value["exponent"]) for axis, value in found["scaling"].items()]
    losses = [
        (name, quality[name]["loss_dev"], quality[name]["standard_error"])
        for name in ("ours", "field_masked", "field")
    ]
    gap = quality["difference"]
    losses.append(("ours - field_masked, by seed", gap["mean"], gap["standard_error"]))
    ratios = [a / b for a, b in zip(*(orders[order]["ms"] for order in ORDERS), strict=True)]
    at = ", ".join(f"{r:.2f} at {n}" for n, r in zip(orders["lengths"], ratios, strict=True))
    tables = (
        (builds, ("build", "sentences/s trained", "ours is faster", "classified"), ".2f"),
        (memory, ("build", "T", "peak of an update (MiB)", "between updates"), ".0f"),
        (growths, ("time of an update", "p"), ".2f"),
        (losses, (f"after {quality['steps']} updates", "loss on dev", "error"), ".4f"),
    )
    return "\n\n".join(
        [
            f"{shape['num_hidden_layers']} blocks x {shape['hidden_size']}, T {shape['timesteps']},"
            f" {found['batch_size']} sentences of {found['tokens']:.0f} tokens (mean, with "
            f"padding), field padded to {found['padded_to']}; {found['hardware']}",
            *(tabulate(rows, headers, floatfmt=form) for rows, headers, form in tables),
            f"a step of ours over its products alone: {found['over_floor']:.2f} "
            f"({2e-9 * found['floor_macs_per_s']:.0f} GFLOP/s)",
            f"time of (Q K^T) V over that of Q (K^T V): {at} tokens; "
            f"{'equal' if all(orders['equal']) else 'NOT EQUAL'} values",
        ]
    )
