"""The rows of `runs` multiplied out: every run with the settings that its weights depend on.

A *run* is one trained model, named `<dataset>.<model>.<variant>.s<seed>`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError
from ..utils.validation import nearest, validate
from .plugins import PARTS, check_part
from .registry import BASE, DENSE_STEPS, MODELS, SHAPE, STUDENT_STEPS, RunId
from .schema import SECTIONS, dotted, keys_of
from .settings import ALGORITHM, LATER, digest

Settings = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Run:
    """One model to train. `settings` holds every value of the sections its weights depend on;
    `teacher` is the run whose model it starts or learns from."""

    dataset: str
    language: str
    source: str
    model: str
    variant: str
    seed: int
    settings: Settings
    teacher: str | None = None
    plugins: Mapping[str, str] = field(default_factory=dict)  # the SHA-256 of each file

    @property
    def id(self) -> str:
        return str(RunId(self.dataset, self.model, self.variant, self.seed))

    @property
    def name(self) -> str:
        """JSON of what its record says that no other input of its last step does; nothing in it
        changes the weights but the seed."""
        words = ("id", "dataset", "source", "model", "variant", "seed", "teacher")
        told = {word: getattr(self, word) for word in words}
        if "augment" in self.settings:
            told["augment"] = self.settings["augment"]
        return canonical(told)

    def step(self, step: str) -> str:
        """JSON of the settings that matter to `step`, and the version of its algorithm."""
        return step_settings(step, self.settings, self.plugins)

    @property
    def last_step(self) -> str:
        """JSON of the settings of the step that makes its weights."""
        return self.step(MODELS[self.model].step)

    @property
    def max_length(self) -> int:
        """Tokens at which its rows are cut, dev and test rows, too. Only of networks."""
        return int(self.settings[MODELS[self.model].step]["max_length"])

    @property
    def first_step(self) -> str:
        """The same of its stage 1. Only where it has one."""
        section = MODELS[self.model].stage1
        assert section, self.model
        return self.step(section)

    @property
    def stage1(self) -> str:
        """Key of stage 1's student: runs that agree in it share the student."""
        return f"{self.language}.{digest(self.first_step)}"

    @property
    def augmented(self) -> str:
        """Key of the augmented rows: runs that agree in it share the rows."""
        return f"{self.dataset}/{digest(self.step('augment'))}.s{self.seed}"

    @property
    def transfers(self) -> bool:
        """Whether unlabelled sentences stand among the augmented rows."""
        augment = self.settings.get("augment", {})
        return bool(augment.get("enabled") and augment["transfer_sentences"])


def canonical(value: Any) -> str:
    """JSON of one spelling, so that the workflow sees a change only where there is one."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def step_settings(step: str, settings: Settings, plugins: Mapping[str, str] | None = None) -> str:
    """JSON of the sections that `step` is given, without the `LATER` settings at their default;
    where there are plugins and it trains a network, of their digests as well."""
    names = ("model", step) if step in STUDENT_STEPS else (step,)
    sections = {section: _told(section, settings[section]) for section in names}
    if step in DENSE_STEPS:
        sections["model"] = {key: settings["model"][key] for key in SHAPE}
    entered = {"plugins": plugins} if plugins and "learning_rate" in settings[step] else {}
    return canonical({**sections, **entered, "algorithm": ALGORITHM[step]})


def _told(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    default = dataclasses.asdict(SECTIONS[section]())
    late = {name for name in LATER.get(section, ()) if values[name] == default[name]}
    return {name: value for name, value in values.items() if name not in late}


@dataclass(frozen=True)
class _Row:
    """A row of `runs` for one set: its models, those that they start or learn from included."""

    where: str
    dataset: str
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    variant: str
    overrides: Mapping[str, Any]  # dotted names, the leading `steps.` left out

    def overrides_of(self, model: str) -> dict[str, Any]:
        return {name: v for name, v in self.overrides.items() if MODELS[model].depends(name)}


def _rows(config: Mapping[str, Any]) -> Iterator[_Row]:
    for number, row in enumerate(config["runs"], 1):
        where = f"row {number} of runs"
        asked = tuple(row["models"])
        implied = [parent for model in asked if (parent := MODELS[model].parent)]
        overrides = dict(_short(name, where, v) for name, v in row.get("overrides", {}).items())
        models = tuple(dict.fromkeys((*implied, *asked)))
        variant = row.get("variant", BASE)
        _check_overrides(where, models, asked, variant, overrides)
        for dataset in row["datasets"]:
            yield _Row(where, dataset, models, tuple(row["seeds"]), variant, overrides)


def _short(name: str, where: str, value: Any) -> tuple[str, Any]:
    """`steps.stage2.epochs` -> `stage2.epochs`, refused if there is no such setting."""
    settings = {
        dotted(section, key): (section, key)
        for section in SECTIONS
        if section != "pretrain"  # the base teacher is one for all rows
        for key in keys_of(section)
    }
    if name not in settings:
        raise UserError(
            f"unknown setting {name} in the overrides of {where}",
            expected="a dotted name below model, augment or steps (steps.pretrain excepted)",
            got=name,
            fix=nearest(name, settings, "remove it"),
        )
    section, key = settings[name]
    return f"{section}.{key}", value


def _check_overrides(
    where: str,
    models: tuple[str, ...],
    asked: tuple[str, ...],
    variant: str,
    overrides: Mapping[str, Any],
) -> None:
    """Every override has to matter, and a variant has to differ from the base."""
    idle = [name for name in overrides if not any(MODELS[model].depends(name) for model in models)]
    if idle:
        raise UserError(
            f"override of {', '.join(sorted(idle))} in {where}",
            expected=f"a setting that one of {', '.join(asked)} depends on",
            got=", ".join(sorted(idle)),
            fix="remove it, or add a model that it changes",
        )
    same = [model for model in asked if not any(MODELS[model].depends(name) for name in overrides)]
    if variant != BASE and same:
        raise UserError(
            f"variant {variant} in {where}",
            expected="overrides that change every model of the row",
            got=f"none for {', '.join(same)}",
            fix="leave these models out of the row, or add an override",
        )


def runs_of(config: Mapping[str, Any], given: Settings, plugins: Mapping[str, str]) -> list[Run]:
    """Every run of every row once, base rows first."""
    rows = sorted(_rows(config), key=lambda row: row.variant != BASE)  # stable
    base: dict[tuple[str, ...], dict[str, Any]] = {}
    named: dict[tuple[str, ...], tuple[str, Settings]] = {}
    runs: dict[str, Run] = {}
    for row in rows:
        spec = config["datasets"][row.dataset]
        for model in row.models:
            own = row.overrides_of(model)
            variant = row.variant if own else BASE
            start = base.get((row.dataset, model), {})
            if row.variant == BASE:
                base[row.dataset, model] = start = own
            overrides = {**start, **own}
            settings = {
                section: resolve(
                    section, {**given[section], **_part(overrides, section)}, row.where
                )
                for section in MODELS[model].sections
            }
            _check_layers(settings, f"{row.where}, {model}")
            name = (row.dataset, model, variant)
            first = named.setdefault(name, (row.where, settings))
            _check_same(".".join(name), first, row, settings)
            _check_decay(settings, own, row.where)
            for seed in row.seeds:
                run = Run(
                    dataset=row.dataset,
                    language=spec["language"],
                    source=spec["description"],
                    model=model,
                    variant=variant,
                    seed=seed,
                    settings=settings,
                    teacher=_parent(row, model, seed),
                    plugins=plugins,
                )
                runs.setdefault(run.id, run)
    return list(runs.values())


def _check_decay(settings: Settings, overrides: Mapping[str, Any], where: str) -> None:
    """Where tau is set, it takes the place of beta."""
    if "model.beta" in overrides and settings["model"]["tau"] is not None:
        raise UserError(
            f"override of model.beta in {where}",
            expected="no model.tau, which replaces beta",
            got=f"tau {settings['model']['tau']}",
            fix="override model.tau, or set it to null as well",
        )


def _check_layers(settings: Settings, where: str) -> None:
    """L_fea needs a block to align."""
    for stage in settings.keys() & {"stage1", "stage2"}:
        skipped, blocks = settings[stage]["ignored_layers"], settings["model"]["num_hidden_layers"]
        if skipped >= blocks:
            raise UserError(
                f"setting steps.{stage}.ignored_layers in {where}",
                expected=f"fewer than model.num_hidden_layers = {blocks}",
                got=skipped,
                fix="lower it",
            )


def check_transfer(runs: list[Run], config: Mapping[str, Any]) -> None:
    """Unlabelled sentences that are to be labelled have to be there, and to be like the set's."""
    for run in runs:
        if not run.transfers:
            continue
        files = config["datasets"][run.dataset]["files"]
        pairs = any("pair_column" in file for file in files)
        if pairs or run.language not in config["unlabelled"]:
            raise UserError(
                f"setting augment.transfer_sentences of {run.id}",
                expected="0 for a set of pairs"
                if pairs
                else f"text under unlabelled.{run.language}",
                got="a set of pairs" if pairs else "none",
                fix="leave the setting at 0 for this set",
            )


def _check_same(name: str, first: tuple[str, Settings], row: _Row, settings: Settings) -> None:
    """Refuse two sets of settings under one name: a mean over seeds would mix them."""
    where, known = first
    differing = [
        f"{section}.{key}"
        for section, values in settings.items()
        for key, value in values.items()
        if known[section][key] != value
    ]
    if differing:
        raise UserError(
            f"{name} in {where} and {row.where}",
            expected="the same settings under one name",
            got=f"another {', '.join(differing)}",
            fix="give one of the rows a variant, or make the overrides equal",
        )


def _parent(row: _Row, model: str, seed: int) -> str | None:
    """The id of the run that a model starts or learns from."""
    if (parent := MODELS[model].parent) is None:
        return None
    variant = row.variant if row.overrides_of(parent) else BASE
    return str(RunId(row.dataset, parent, variant, seed))


def _part(overrides: Mapping[str, Any], section: str) -> dict[str, Any]:
    named = ((*name.split("."), value) for name, value in overrides.items())
    return {key: value for place, key, value in named if place == section}


def resolve(section: str, values: dict[str, Any], where: str) -> dict[str, Any]:
    """Every setting of a section, defaults filled in; 3 and 3.0 come out the same."""
    made = dataclasses.asdict(validate(SECTIONS[section], values, where, under=dotted(section, "")))
    for kind in PARTS.keys() & made.keys():
        check_part(kind, made[kind], f"{dotted(section, kind)} in {where}")
    for name in made.get("losses", ()):
        check_part("loss", name, f"{dotted(section, 'losses')}.{name} in {where}")
    return made
