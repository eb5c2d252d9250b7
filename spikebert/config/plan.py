"""From a configuration to the runs it asks for, all of it checked before anything starts.

The workflow reads this module while it parses, so nothing heavy is imported here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..utils.validation import nearest
from .datasets import MEMBER
from .files import read_yaml, with_changes
from .plugins import digests, needed
from .registry import MODELS
from .resources import Resources, resources_of
from .runs import Run, Settings, canonical, check_transfer, resolve, runs_of
from .schema import SECTIONS, read_config
from .settings import ALGORITHM, STEPS

# Keys of a corpus, text or teacher that are words for people and change no row.
WORDS = ("description", "licence", "analogue", "compressed")


@dataclass(frozen=True)
class Plan:
    """A checked configuration: every default filled in, every row of `runs` multiplied out."""

    run: str
    work: str
    mirror: str | None
    threads: int
    gpu: int
    retries: int
    resources: dict[str, Resources]
    checkpoints: str | None
    teacher_cache_gib: float
    checkpoint_minutes: float
    energy_sentences: int | None
    datasets: dict[str, dict[str, Any]]
    unlabelled: dict[str, dict[str, Any]]
    teachers: dict[str, dict[str, Any]]
    compressed: dict[str, dict[str, Any]]
    unavailable: dict[str, str]
    plugins: dict[str, str]
    settings: Settings
    runs: tuple[Run, ...]

    def of(self, *models: str) -> dict[str, Run]:
        """The runs of these models by id."""
        return {run.id: run for run in self.runs if run.model in models}

    def run_of(self, name: str) -> Run:
        """The run of this id; a `UserError` with the nearest one where there is none."""
        for run in self.runs:
            if run.id == name:
                return run
        known = [run.id for run in self.runs]
        raise UserError(
            f"run {name}",
            expected=f"one of the {len(known)} runs of configuration {self.run}, "
            "<dataset>.<model>.<variant>.s<seed>",
            got=name,
            fix=nearest(name, known, f"choose one, such as {known[0]}"),
        )

    def two_staged(self) -> dict[str, Run]:
        """The runs that come from a stage 1, by id."""
        return {run.id: run for run in self.runs if MODELS[run.model].stage1}

    def language_sets(self, language: str) -> list[str]:
        """Every configured set of a language, whether it has runs or not."""
        return [name for name, spec in self.datasets.items() if spec["language"] == language]

    def used_sets(self) -> list[str]:
        """The sets with runs, in the order of the configuration."""
        used = {run.dataset for run in self.runs}
        return [name for name in self.datasets if name in used]

    def used_teachers(self) -> list[str]:
        """The languages whose base teacher a run needs."""
        return sorted({run.language for run in self.runs if MODELS[run.model].from_bert})

    def used_texts(self) -> list[str]:
        """The languages whose unlabelled text a run needs."""
        stage1 = {run.language for run in self.two_staged().values()}
        transfer = {run.language for run in self.runs if run.transfers}
        pretrain = {
            language
            for language in self.used_teachers()
            if self.teachers[language]["source"] == "pretrain"
        }
        return sorted(stage1 | transfer | pretrain)


def content(spec: Mapping[str, Any]) -> str:
    """JSON of the part of a corpus, text or teacher that decides its content, but for what is done
    to its splits later."""
    parts = {k: v for k, v in spec.items() if k not in (*WORDS, "caps", "keep_dev")}
    formats = [file.get("format") for file in spec.get("files", ())]
    if readers := needed("format", formats):
        parts["plugins"] = readers
    return canonical({**parts, "algorithm": ALGORITHM["corpus"]})


def local_files(spec: Mapping[str, Any]) -> list[str]:
    """The files and folders on this machine that a corpus, text or teacher is read from."""
    parts = spec.get("files", [spec])
    return [p["path"].split(MEMBER)[0] for p in parts if p["source"] in ("file", "folder")]


def make_plan(config: Mapping[str, Any]) -> Plan:
    """Check a configuration and multiply out its runs.

    A row of another variant starts from the base rows of the same set and model, so that it
    differs from them in its own overrides alone. Where a model starts or learns from another's,
    that is a run, too: the base one, unless the row changes its settings.

    Raises:
        UserError: what `read_config` refuses, an override that is unknown, out of range or without
            effect, or two rows that give the same runs different settings.
    """
    full = read_config(config)
    given = {"model": full["model"], "augment": full["augment"]}
    given |= {step: full["steps"].get(step, {}) for step in STEPS}
    full["plugins"] = plugins = digests(full["plugins"])
    runs = runs_of(full, given, plugins)
    check_transfer(runs, full)
    sets, models = list(full["datasets"]), list(MODELS)
    runs.sort(key=lambda run: (sets.index(run.dataset), models.index(run.model)))
    names = {f.name for f in dataclasses.fields(Plan)} - {"settings", "runs", "resources"}
    return Plan(
        **{name: full[name] for name in names},
        resources=resources_of(full["resources"]),
        settings={name: resolve(name, given[name], "the configuration") for name in SECTIONS},
        runs=tuple(runs),
    )


def read_plan(path: str | Path, changes: Sequence[str] = ()) -> Plan:
    """The plan of a configuration file, with `key=value` changes such as `model.beta=0.8`."""
    return make_plan(with_changes(read_yaml(path), changes))
