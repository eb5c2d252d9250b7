"""What the jobs of each rule ask a scheduler for: memory and wall time.

The defaults are for the sizes of `config/config.yaml` and `config/small.yaml`, with room to spare;
a configuration of another size states its own under `resources`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .registry import MODELS
from .settings import positive, schema_of

SHARED = ("finetune", "stage1", "stage2", "direct")  # the rules whose training several may share


@dataclass(frozen=True)
class Resources:
    """What one job asks for."""

    mem_mb: int = positive(
        8000, "memory in MB at the first attempt, and as much again at the next two"
    )
    runtime: int = positive(720, "wall time in minutes; training that runs out of it goes on")
    processes: int = positive(
        1,
        "processes of one machine that share each batch, the threads, and have a GPU each where "
        f"`gpu` is set; for {', '.join(SHARED)} alone",
    )


_SHORT = Resources(mem_mb=4000, runtime=60)

RULES: dict[str, Resources] = {
    **{spec.rule: Resources() for spec in MODELS.values()},
    "augment": _SHORT,
    "tfidf": _SHORT,
    "pretrain": Resources(),
    "stage1": Resources(runtime=1440),
    "measure_energy": Resources(mem_mb=4000, runtime=120),
    "probe": _SHORT,
    "cka": _SHORT,
    "calibration": _SHORT,
    "textcnn": Resources(mem_mb=4000, runtime=120),
}


def resources_schema() -> dict[str, Any]:
    """The closed JSON schema of `resources` in a configuration."""
    shared = schema_of(Resources)
    properties = {k: v for k, v in shared["properties"].items() if k != "processes"}
    alone = {**shared, "properties": properties}
    return {
        "type": "object",
        "description": "what the jobs of a rule ask a scheduler for; no job runs again because of "
        "it, and --set-resources of Snakemake overrides it",
        "additionalProperties": False,
        "properties": {rule: shared if rule in SHARED else alone for rule in RULES},
    }


def resources_of(given: Mapping[str, Mapping[str, int]]) -> dict[str, Resources]:
    """Every rule's resources: what the configuration gives, else the default."""
    return {rule: replace(default, **given.get(rule, {})) for rule, default in RULES.items()}
