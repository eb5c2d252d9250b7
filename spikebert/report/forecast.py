"""What a configuration will take on GPUs, from what was measured on a small scale.

The work of a step is counted from its shapes (models/flops.py) and from the rows and tokens that
finished runs report. On a processor the time of an update is fitted to a benchmark,

    seconds = fixed + a x MACs + b x values that neurons put out,

with no coefficient below 0, by least squares on the relative errors. Nothing here imports torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from ..config.plan import Plan, Run
from ..config.registry import BASE, MODELS
from ..config.settings import ModelSettings
from ..errors import UserError
from ..models.flops import (
    UPDATE,
    bert_macs,
    neuron_values,
    scaled_update,
    student_parameters,
    training_macs,
)
from ..records.records import Record, read_records
from ..utils.files import write_text
from .render import COUNT, TEXT, Table, frame

# Peak of dense bfloat16 products: NVIDIA H100 SXM data sheet, 989 TFLOP/s; two FLOPs are a MAC.
PEAK_MACS = 989e12 / 2
DISTILLED = ("stage2_only", "spikebert")  # spiking students that ask a teacher
STAGE1 = "stage 1"
UTILISATIONS = (0.1, 0.2, 0.4)
# Weights, gradients and both moments of AdamW in float32.
BYTES_PER_PARAMETER = 16
# Growth of peak memory from T 1 to 4 at 6 blocks x 384, 32 sentences padded to 61 tokens
# (results/small/bench.json), over the values that its neurons put out more.
BYTES_PER_VALUE = 5.25
BERT_BASE = {"layers": 12, "width": 768, "vocabulary": 30_000}
GPU_HOURS = [f"gpu_hours_{round(100 * share)}" for share in UTILISATIONS]
COLUMNS = {
    **dict.fromkeys(("text", "step", "language"), TEXT),
    "jobs": COUNT,
    **dict.fromkeys(("sentences", "tokens", "macs"), ".2g"),
    **dict.fromkeys((*GPU_HOURS, "gpu_gib", "disk_gib"), ",.0f"),
}
NOTES = (
    "A forecast, not a measurement. macs: multiply-accumulates of all jobs, 3 x forward for what "
    "is trained and 1 x for a teacher that is asked. gpu_hours_N: on one H100 at N % of its peak "
    "of dense bfloat16 products (989 TFLOP/s), an assumption. gpu_gib: weights, gradients, AdamW's "
    "moments and the values of one batch at its longest. disk_gib: for stage 1 its text and what "
    "a cache of the teacher's answers would hold.",
)


@dataclass(frozen=True)
class CostModel:
    """Seconds of an update of the student on a processor, and how well the fit holds."""

    fixed: float
    per_mac: float
    per_value: float
    median_error: float  # relative
    largest_error: float

    def seconds(self, shape: ModelSettings, rows: int, tokens: int) -> float:
        return (
            self.fixed
            + self.per_mac * training_macs(shape, rows, tokens)
            + self.per_value * neuron_values(shape, rows, tokens)
        )


Point = tuple[ModelSettings, int, int, float]  # shape, sentences, tokens of each, seconds


def benchmark_points(bench: Mapping[str, Any]) -> list[Point]:
    """The updates that a benchmark timed, one axis varied at a time."""
    points = []
    for axis, found in bench["scaling"].items():
        for value, seconds in zip(found["values"], found["s"], strict=True):
            points.append((*scaled_update(axis, value), seconds))
    seconds = bench["training_s_per_sentence"]["ours"] * bench["batch_size"]
    shape = ModelSettings(**bench["shape"])
    return [*points, (shape, bench["batch_size"], round(bench["tokens"]), seconds)]


def fit_cost(points: Sequence[Point]) -> CostModel:
    """Fit the model's three coefficients.

    Raises:
        UserError: fewer points than coefficients.
    """
    if len(points) < 3:
        raise UserError(
            "points of the cost model",
            expected="three timed updates of different shapes, or more",
            got=len(points),
            fix="run `spikebert bench`",
        )
    seconds = np.array([point[3] for point in points])
    shapes = [point[:3] for point in points]
    columns = np.array([[1, training_macs(*s), neuron_values(*s)] for s in shapes], dtype=float)
    scale = columns.max(axis=0)
    solution, _ = nnls(columns / scale / seconds[:, None], np.ones(len(points)))
    fixed, per_mac, per_value = solution / scale
    errors = np.abs(columns @ (solution / scale) / seconds - 1)
    found = (fixed, per_mac, per_value, np.median(errors), errors.max())
    return CostModel(*map(float, found))


@dataclass(frozen=True)
class Measured:
    """What finished runs say of the rows and tokens of a task, and of the text of stage 1."""

    rows: float  # training rows of a set
    tokens: float  # of a row, special tokens included
    kept: float  # share of the drawn copies that augmentation keeps
    text_tokens: float  # of an unlabelled sentence

    @classmethod
    def of(cls, records: Iterable[Record], draws: int, transfer: int = 0) -> Measured:
        """From base records of direct training and of both stages; `draws` and `transfer` are the
        `augment.n_iter` and `augment.transfer_sentences` of those that do not say.

        Raises:
            UserError: one of the two is missing, or the two numbers cannot be theirs.
        """
        groups: dict[str, list[Record]] = {}
        for record in records:
            if record.variant == BASE and record.steps:
                groups.setdefault(record.model, []).append(record)
        direct, both = groups.get("direct", []), groups.get("spikebert", [])
        if not direct or not both:
            raise UserError(
                "records for a forecast",
                expected="runs of direct and spikebert",
                got=", ".join(groups) or "none",
                fix="name a finished run that has both",
            )
        rows = mean(record.n_train for record in direct)
        per_update = [(r, r.settings["direct"]["batch_size"]) for r in direct]
        stages = [record.upstream["stage1"] for record in both]
        unsaid = {"n_iter": draws, "transfer_sentences": transfer}
        said = [(record, record.settings.get("augment", unsaid)) for record in both]
        copies = mean(r.n_train - augment["transfer_sentences"] for r, augment in said) - rows
        kept = copies / rows / mean(augment["n_iter"] for _, augment in said)
        if not 0 <= kept <= 1:
            raise UserError(
                "augmentation of the records",
                expected="the n_iter and transfer_sentences that they were made with",
                got=f"{draws} and {transfer}, of whose draws {kept:.0%} would have been kept",
                fix="name them with --draws and --transfer",
            )
        return cls(
            rows=rows,
            tokens=mean(r.tokens / (r.steps * size) for r, size in per_update),
            kept=kept,
            text_tokens=mean(stage["tokens"] / stage["samples"] for stage in stages),
        )


def _task_rows(run: Run, measured: Measured) -> float:
    """Rows of one pass."""
    augment = run.settings.get("augment", {})
    if not augment.get("enabled"):
        return measured.rows
    copies = measured.rows * measured.kept * augment["n_iter"]
    return measured.rows + copies + augment["transfer_sentences"]


def _text(plan: Plan, language: str) -> int:
    """The cap of a language's unlabelled sentences.

    Raises:
        UserError: the configuration sets none, so the amount is known only after the fetch.
    """
    cap = plan.unlabelled[language].get("max_sentences")
    if cap is None:
        raise UserError(
            f"unlabelled text {language}",
            expected="max_sentences, the amount to forecast for",
            got="no cap",
            fix="set it in the configuration",
        )
    return int(cap)


def _line(
    step: str, run: Run, jobs: int, sentences: float, tokens: float, bert: Mapping[str, int]
) -> dict[str, Any]:
    """One row of the table: `sentences` of `tokens` tokens each, seen by each of `jobs` jobs."""
    shape = ModelSettings(**run.settings["model"]) if "model" in run.settings else None
    settings = run.settings["stage1" if step == STAGE1 else MODELS[run.model].step]
    teacher = bert_macs(bert["layers"], bert["width"], 1, round(tokens))
    own = training_macs(shape, 1, round(tokens)) if shape else UPDATE * teacher
    asked = teacher if step == STAGE1 or run.model in DISTILLED else 0
    batch, longest = settings["batch_size"], settings["max_length"]
    if shape:
        parameters = student_parameters(shape, bert["vocabulary"])
        values = neuron_values(shape, batch, longest)
    else:
        parameters = 12 * bert["layers"] * bert["width"] ** 2 + bert["vocabulary"] * bert["width"]
        values = 10 * bert["layers"] * bert["width"] * batch * longest
    macs = jobs * sentences * (own + asked)
    hours = [macs / PEAK_MACS / share / 3600 for share in UTILISATIONS]
    memory = BYTES_PER_PARAMETER * parameters + BYTES_PER_VALUE * values
    return {
        "step": step,
        "language": run.language if step == STAGE1 else "",
        "jobs": jobs,
        "sentences": sentences,
        "tokens": jobs * sentences * tokens,
        "macs": macs,
        **dict(zip(GPU_HOURS, hours, strict=True)),
        "gpu_gib": memory / 2**30,
    }


def forecast(
    plan: Plan,
    measured: Measured,
    times: Sequence[int] = (1, 10, 1000),
    bert: Mapping[str, int] = BERT_BASE,
) -> pd.DataFrame:
    """One row for stage 1 of each language at each multiple of the configured text, one for each
    other model, with the columns `COLUMNS`."""
    lines: list[dict[str, Any]] = []
    students: dict[str, Run] = {run.stage1: run for run in plan.of("spikebert").values()}
    for factor in times:
        for run in students.values():
            passes = run.settings["stage1"]["epochs"]
            sentences = factor * _text(plan, run.language) * passes
            line = _line(STAGE1, run, 1, sentences, measured.text_tokens, bert)
            layers = run.settings["model"]["num_hidden_layers"] + 1
            cache = layers * bert["width"] * 2 * sentences / passes * measured.text_tokens
            text = 5 * sentences / passes * measured.text_tokens
            lines.append({"text": f"x {factor}", **line, "disk_gib": (cache + text) / 2**30})
    for model in ("teacher", "direct", *DISTILLED):
        runs = list(plan.of(model).values())
        if runs:
            step = MODELS[model].step
            each = [_task_rows(run, measured) * run.settings[step]["epochs"] for run in runs]
            line = _line(model, runs[0], len(runs), mean(each), measured.tokens, bert)
            lines.append(line)
    return frame(lines, COLUMNS)


def against_records(cost: CostModel, records: Iterable[Record]) -> float:
    """Median over runs of direct training: their seconds over those of the cost model."""
    ratios = []
    for record in records:
        if record.model == "direct" and record.steps:
            shape = ModelSettings(**record.settings["model"])
            size = record.settings["direct"]["batch_size"]
            tokens = max(1, round(record.tokens / record.steps / size))
            ratios.append(record.wall_s / record.steps / cost.seconds(shape, size, tokens))
    return median(ratios) if ratios else math.nan


def write_forecast(
    plan: Plan, records: Iterable[str | Path], bench: Path, draws: int, transfer: int, out: Path
) -> None:
    """Write forecast.csv and forecast.md into the folder `out`."""
    known = list(read_records(records))
    measured = Measured.of(known, draws, transfer)
    cost = fit_cost(benchmark_points(json.loads(bench.read_text(encoding="utf-8"))))
    table = forecast(plan, measured)
    notes = [
        *NOTES,
        f"From {len(known)} records: {measured.rows:,.0f} training rows a set of "
        f"{measured.tokens:.0f} tokens, {100 * measured.kept:.0f} % of augmentation's draws kept, "
        f"{measured.text_tokens:.0f} tokens an unlabelled sentence; every set and language is "
        "taken to be like these.",
        f"On the processor of the benchmark an update takes {1e3 * cost.fixed:.1f} ms + "
        f"{1e12 * cost.per_mac:.2f} s per 10^12 MACs + {1e9 * cost.per_value:.2f} s per 10^9 "
        f"values of neurons; the fit is off by {100 * cost.median_error:.0f} % in the median, "
        f"{100 * cost.largest_error:.0f} % at most. Runs of direct training took "
        f"{against_records(cost, known):.1f} times that, with half of its threads, evaluations and "
        "other jobs beside them.",
    ]
    whole = Table(table, COLUMNS, notes, significant=4)
    write_text(out / "forecast.csv", whole.csv())
    write_text(out / "forecast.md", whole.markdown())
