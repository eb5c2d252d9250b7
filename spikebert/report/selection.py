"""Which runs of a plan the tables and figures look at."""

from __future__ import annotations

from ..config.datasets import GLUE_SETS
from ..config.plan import Plan, Run
from ..config.registry import BASE, MODELS
from .captions import compared_sets


def measured(plan: Plan) -> dict[tuple[str, str], str]:
    """By set and model, the run whose energy is counted: the base run of the lowest seed. The paper
    gives no energy on GLUE."""
    found: dict[tuple[str, str], str] = {}
    for run in sorted(plan.runs, key=lambda run: run.seed):
        spec = MODELS[run.model]
        if run.variant == BASE and spec.neural and spec.measured and run.dataset not in GLUE_SETS:
            found.setdefault((run.dataset, run.model), run.id)
    return found


def probed(plan: Plan) -> dict[str, Run]:
    """By language, the run to look into: SpikeBERT on SST-2 or else the first set, lowest seed."""
    sets = list(plan.datasets)
    runs = [run for run in plan.of("spikebert").values() if run.variant == BASE]
    runs = [run for run in runs if plan.datasets[run.dataset]["labels"]]
    runs.sort(key=lambda run: (run.dataset != "sst2", sets.index(run.dataset), run.seed))
    return {run.language: run for run in reversed(runs)}


def on_glue(plan: Plan) -> list[str]:
    """The runs in the table of GLUE."""
    return _base_runs(plan, list(GLUE_SETS), ("teacher", "direct", "spikebert"))


def compared(plan: Plan) -> list[str]:
    """The runs in the table of compressed models."""
    small = (name for name, spec in MODELS.items() if spec.compressed)
    return _base_runs(plan, compared_sets(plan), ("teacher", *small, "spikebert"))


def _base_runs(plan: Plan, datasets: list[str], models: tuple[str, ...]) -> list[str]:
    runs = plan.of(*models).values()
    return [run.id for run in runs if run.dataset in datasets and run.variant == BASE]
