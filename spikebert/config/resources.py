"""What the jobs of each rule ask a scheduler for: memory and wall time.

The defaults are for the sizes of `config/config.yaml` and `config/small.yaml`, with room to spare;
a configuration of another size states its own under `resources`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field, Strict, create_model

from ..utils.validation import STRICT
from .registry import MODELS

SHARED = ("finetune", "stage1", "stage2", "direct")  # the rules whose training several may share
Amount = Annotated[int, Strict(), Field(ge=1)]


@dataclass(frozen=True)
class Job:
    """What one job asks for."""

    __pydantic_config__ = STRICT

    mem_mb: Amount = 8000
    """memory in MB at the first attempt, and as much again at the next two"""
    runtime: Amount = 720
    """wall time in minutes; training that runs out of it goes on"""


@dataclass(frozen=True)
class Resources(Job):
    """What one job asks for, where several processes may share it."""

    processes: Amount = 1
    """processes of one machine that share each batch, the threads, and have a GPU each where `gpu`
    is set"""


_SHORT = Resources(mem_mb=4000, runtime=60)

RULES: dict[str, Resources] = {
    **{spec.rule: Resources() for spec in MODELS.values()},
    "unlabelled": Resources(),
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


def resources_form() -> Any:
    """The form of `resources` in a configuration."""
    fields: dict[str, Any] = {
        rule: (
            Resources if rule in SHARED else Job,
            Field(default_factory=dict, description=f"of the jobs of rule {rule}"),
        )
        for rule in RULES
    }
    return create_model(
        "RulesResources", __config__=STRICT, __doc__="What the jobs of each rule ask for.", **fields
    )


def resources_of(given: Mapping[str, Mapping[str, int]]) -> dict[str, Resources]:
    """Every rule's resources: what the configuration gives, else the default."""
    return {rule: replace(default, **given.get(rule, {})) for rule, default in RULES.items()}
