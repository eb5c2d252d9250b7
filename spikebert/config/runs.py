"""The rows of `runs` multiplied out: every run with the settings that its weights depend on.

A *run* is one trained model, named `<dataset>.<model>.<variant>.s<seed>`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from ..errors import UserError
from ..utils.validation import nearest, validate
from .registry import BASE, MODELS, SHAPE, RunId
from .schema import SECTIONS, Configuration, Row, dotted, settings_by_name
from .settings import ALGORITHM, LATER, digest

Settings = Mapping[str, Mapping[str, Any]]
Place = tuple[str, str]  # a section and a key in it


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
        augment = {key: value for key, value in self.settings.items() if key == "augment"}
        return canonical({word: getattr(self, word) for word in words} | augment)

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
    def stage1(self) -> str:
        """Key of stage 1's student: runs that agree in it share the student."""
        return f"{self.language}.{digest(self.step(MODELS[self.model].stage1 or ''))}"

    @property
    def augmented(self) -> str:
        """Key of the augmented rows: runs that agree in it share the rows."""
        return f"{self.dataset}/{digest(self.step('augment'))}.s{self.seed}"

    @property
    def transfers(self) -> bool:
        """Whether unlabelled sentences stand among the augmented rows."""
        augment = self.settings.get("augment", {})
        return bool(augment.get("enabled") and augment["transfer_sentences"])

    def needs(self, teachers: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """The entries of the configuration, as (key, name), that it needs beside its set."""
        spec, teacher = MODELS[self.model], teachers.get(self.language, {})
        if spec.compressed:
            yield "compressed", self.model
        if spec.from_bert:
            yield "teachers", self.language
        pretrained = spec.from_bert and teacher.get("source") == "pretrain"
        if spec.stage1 or self.transfers or pretrained:
            yield "unlabelled", self.language


def canonical(value: Any) -> str:
    """JSON of one spelling, so that the workflow sees a change only where there is one."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def step_settings(step: str, settings: Settings, plugins: Mapping[str, str] | None = None) -> str:
    """JSON of the sections that `step` is given, without the `LATER` settings at their default;
    where there are plugins and it trains a network, of their digests as well."""
    trains = [spec for spec in MODELS.values() if step in spec.student_steps]
    told: dict[str, Any] = {}
    for section in ("model", step) if trains else (step,):
        default = dataclasses.asdict(SECTIONS[section]())
        late = {key for key in LATER.get(section, ()) if settings[section][key] == default[key]}
        told[section] = {key: v for key, v in settings[section].items() if key not in late}
    if any(spec.dense for spec in trains):
        told["model"] = {key: settings["model"][key] for key in SHAPE}
    if plugins and "learning_rate" in settings[step]:
        told["plugins"] = plugins
    return canonical({**told, "algorithm": ALGORITHM[step]})


def runs_of(config: Configuration, given: Settings, plugins: Mapping[str, str]) -> list[Run]:
    """Every run of every row once, base rows first.

    A row of another variant starts from the base rows of the same set and model, so that it
    differs from them in its own overrides alone. Where a model starts or learns from another's,
    that is a run, too: the base one, unless the row changes its settings.
    """
    rows = [(f"row {number} of runs", row) for number, row in enumerate(config.runs, 1)]
    named: dict[tuple[str, str, str], tuple[str, Settings]] = {}
    runs: dict[str, Run] = {}
    for where, row in sorted(rows, key=lambda numbered: numbered[1].variant != BASE):  # stable
        parents = [parent for model in row.models if (parent := MODELS[model].parent)]
        models = list(dict.fromkeys([*parents, *row.models]))
        own = _overrides(row, models, where)
        variants = {model: row.variant if own[model] else BASE for model in models}
        for dataset, model in product(row.datasets, models):
            spec, parent = config.datasets.get(dataset), MODELS[model].parent
            if spec is None:
                raise UserError(
                    f"set {dataset} in {where}",
                    expected=f"one of {', '.join(config.datasets)}",
                    got=dataset,
                    fix=nearest(dataset, config.datasets, "add it under datasets"),
                )
            base = named.get((dataset, model, BASE))
            start = base[1] if base and row.variant != BASE else given
            settings = {
                section: _changed(section, start[section], own[model], where)
                for section in MODELS[model].sections
            }
            _check_settings(settings, own[model], where, model)
            name = (dataset, model, variants[model])
            first, known = named.setdefault(name, (where, settings))
            _check_same(".".join(name), settings, known, f"{first} and {where}")
            for seed in row.seeds:
                run = Run(
                    dataset=dataset,
                    language=spec["language"],
                    source=spec["description"],
                    model=model,
                    variant=variants[model],
                    seed=seed,
                    settings=settings,
                    teacher=parent and str(RunId(dataset, parent, variants[parent], seed)),
                    plugins=plugins,
                )
                _check_needs(run, config, where)
                runs.setdefault(run.id, run)
    return list(runs.values())


def _overrides(row: Row, models: list[str], where: str) -> dict[str, dict[Place, Any]]:
    """The changed settings of a row that each model depends on; every one has to matter, and a
    variant has to differ."""
    known = {name: place for name, place in settings_by_name().items() if place[0] != "pretrain"}
    for name in row.overrides:
        if name not in known:
            raise UserError(
                f"unknown setting {name} in the overrides of {where}",
                expected="a dotted name below model, augment or steps (steps.pretrain excepted)",
                got=name,
                fix=nearest(name, known, "remove it"),
            )
    own: dict[str, dict[Place, Any]] = {model: {} for model in models}
    for model, (name, value) in product(models, row.overrides.items()):
        if MODELS[model].depends(*known[name]):
            own[model][known[name]] = value
    idle = [name for name in row.overrides if not any(known[name] in own[m] for m in models)]
    if idle:
        raise UserError(
            f"override of {', '.join(idle)} in {where}",
            expected=f"a setting that one of {', '.join(row.models)} depends on",
            got=", ".join(idle),
            fix="remove it, or add a model that it changes",
        )
    same = [model for model in row.models if not own[model]]
    if row.variant != BASE and same:
        raise UserError(
            f"variant {row.variant} in {where}",
            expected="overrides that change every model of the row",
            got=f"none for {', '.join(same)}",
            fix="leave these models out of the row, or add an override",
        )
    return own


def _changed(
    section: str, values: Mapping[str, Any], changes: Mapping[Place, Any], where: str
) -> Mapping[str, Any]:
    """A section with the changes that concern it; 3 and 3.0 come out the same."""
    own = {key: value for (place, key), value in changes.items() if place == section}
    if not own:
        return values
    made = validate(SECTIONS[section], {**values, **own}, where, under=dotted(section, ""))
    return dataclasses.asdict(made)


def _check_settings(settings: Settings, own: Mapping[Place, Any], where: str, model: str) -> None:
    """Where tau is set, it takes the place of beta; L_fea needs a block to align."""
    if ("model", "beta") in own and settings["model"]["tau"] is not None:
        raise UserError(
            f"override of model.beta in {where}",
            expected="no model.tau, which replaces beta",
            got=f"tau {settings['model']['tau']}",
            fix="override model.tau, or set it to null as well",
        )
    for stage in settings.keys() & {"stage1", "stage2"}:
        skipped, blocks = settings[stage]["ignored_layers"], settings["model"]["num_hidden_layers"]
        if skipped >= blocks:
            raise UserError(
                f"setting steps.{stage}.ignored_layers in {where}, {model}",
                expected=f"fewer than model.num_hidden_layers = {blocks}",
                got=skipped,
                fix="lower it",
            )


def _check_same(name: str, settings: Settings, known: Settings, where: str) -> None:
    """Refuse two sets of settings under one name: a mean over seeds would mix them."""
    differing = [
        dotted(section, key)
        for section, values in settings.items()
        for key, value in values.items()
        if known[section][key] != value
    ]
    if differing:
        raise UserError(
            f"{name} in {where}",
            expected="the same settings under one name",
            got=f"another {', '.join(differing)}",
            fix="give one of the rows a variant, or make the overrides equal",
        )


def _check_needs(run: Run, config: Configuration, where: str) -> None:
    """Refuse a run whose text or teacher is not there, or whose set does not suit it."""
    for kind, entry in run.needs(config.teachers):
        if entry not in getattr(config, kind):
            raise UserError(
                f"{kind}.{entry} in the configuration",
                expected=f"an entry, since {where} needs it",
                got="none",
                fix=f"add {entry} under {kind}",
            )
    if MODELS[run.model].compressed and run.language != "en":
        raise UserError(
            f"{run.model} on {run.dataset} in {where}",
            expected="an English set, since the model is English",
            got=run.language,
            fix="leave it out of the row",
        )
    if run.transfers and any("pair_column" in f for f in config.datasets[run.dataset]["files"]):
        raise UserError(
            f"setting augment.transfer_sentences of {run.id}",
            expected="0 for a set of pairs",
            got="a set of pairs",
            fix="leave the setting at 0 for this set",
        )
