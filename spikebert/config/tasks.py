"""What a labelled set asks for, classes or a score, and which metric judges it.

Nothing heavy is imported here: the workflow reads this module while it parses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UserError
from .specs import METRICS

CLASSIFICATION, REGRESSION = METRICS
ACCURACY = METRICS[CLASSIFICATION][0]

# The sets of GLUE, in the order of its table.
GLUE_SETS = (
    "glue_mnli",
    "glue_mnli_mm",
    "glue_qqp",
    "glue_qnli",
    "glue_sst2",
    "glue_cola",
    "glue_stsb",
    "glue_mrpc",
    "glue_rte",
)


def task_of(spec: Mapping[str, Any]) -> str:
    """The task of a set, by its specification or its stats: without class names it is a score."""
    return REGRESSION if spec["labels"] is None else CLASSIFICATION


def metric_of(spec: Mapping[str, Any]) -> str:
    """The metric that a set is selected by and reported in."""
    return str(spec.get("metric") or METRICS[task_of(spec)][0])


def check_task(name: str, spec: Mapping[str, Any]) -> None:
    """Refuse a range, a label or a metric that does not fit the task of a set.

    Raises:
        UserError: one of them does not fit.
    """
    task, metric = task_of(spec), metric_of(spec)
    if metric not in METRICS[task]:
        raise UserError(
            f"metric of data set {name}",
            expected=f"one of {', '.join(METRICS[task])}, since its labels are "
            + ("classes" if task == CLASSIFICATION else "scores"),
            got=metric,
            fix="choose one of them, or mend labels",
        )
    if metric == "f1" and len(spec["labels"]) != 2:
        raise UserError(
            f"metric of data set {name}",
            expected="two classes, since f1 is that of the second",
            got=f"{len(spec['labels'])} classes",
            fix="choose f1_macro",
        )
    low, high = spec.get("range", (0, 0))
    if (task == REGRESSION) != (low < high):
        raise UserError(
            f"range of data set {name}",
            expected="[lowest, highest] score" if task == REGRESSION else "none: it has classes",
            got=spec.get("range"),
            fix="give range: [0, 5], say" if task == REGRESSION else "remove it, or labels: null",
        )
    pairs = [file for file in spec["files"] if "pair_column" in file]
    if pairs and (len(pairs) < len(spec["files"]) or any(f.get("sentences") for f in pairs)):
        raise UserError(
            f"files of data set {name}",
            expected="pair_column in all of them or in none, and pairs that are not cut",
            got=f"{len(pairs)} of {len(spec['files'])} files with pair_column",
            fix="name the column in each file, and leave out sentences",
        )
    fixed = [file for file in spec["files"] if "label" in file]
    if task == REGRESSION and fixed:
        raise UserError(
            f"files of data set {name}",
            expected="label_column, since its labels are scores",
            got=f"label: {fixed[0]['label']}",
            fix="name the column of the score",
        )
