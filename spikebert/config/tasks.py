"""Names of `datasets` for who still imports them from here."""

from .datasets import (
    ACCURACY,
    CLASSIFICATION,
    GLUE_SETS,
    REGRESSION,
    check_task,
    metric_of,
    task_of,
)

__all__ = [
    "ACCURACY",
    "CLASSIFICATION",
    "GLUE_SETS",
    "REGRESSION",
    "check_task",
    "metric_of",
    "task_of",
]
