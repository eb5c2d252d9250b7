"""From a configuration to the runs it asks for, all of it checked before anything starts.

The workflow reads this module while it parses, so nothing heavy is imported here. Words used:
a *section* is `model`, `augment` or the name of a step; a *run* is one trained model, named
`<dataset>.<model>.<variant>.s<seed>`; a *variant* is `base` or the name of changed settings.

`python -m spikebert.plan` prints the JSON schema of a configuration.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import UserError
from .settings import (
    ALGORITHM,
    STEPS,
    AugmentSettings,
    ModelSettings,
    build,
    check,
    digest,
    schema_of,
)
from .specs import (
    CORPUS_SCHEMA,
    LANGUAGES,
    MEMBER,
    TEACHER_SCHEMA,
    UNLABELLED_SCHEMA,
)

BASE = "base"
SECTIONS: dict[str, type] = {"model": ModelSettings, "augment": AugmentSettings, **STEPS}

# The sections that a model's weights depend on, its teacher's included. Order: that of tables.
MODELS: dict[str, tuple[str, ...]] = {
    "tfidf": ("tfidf",),
    "teacher": ("finetune",),
    "direct": ("model", "direct"),
    "stage2_only": ("finetune", "augment", "model", "stage2"),
    "spikebert": ("finetune", "augment", "model", "stage1", "stage2"),
}
DISTILLED = ("stage2_only", "spikebert")

# The sections that each step is given.
STEP_SECTIONS: dict[str, tuple[str, ...]] = {
    "augment": ("augment",),
    "pretrain": ("pretrain",),
    "tfidf": ("tfidf",),
    "finetune": ("finetune",),
    "stage1": ("model", "stage1"),
    "stage2": ("model", "stage2"),
    "direct": ("model", "direct"),
}

# Keys of a corpus, text or teacher that are words for people and change no row.
WORDS = ("description", "licence", "analogue")

DEFAULTS: dict[str, Any] = {
    "work": "work",
    "mirror": None,
    "threads": 1,
    "gpu": 0,
    "unlabelled": {},
    "teachers": {},
    "unavailable": {},
    "model": {},
    "augment": {},
    "steps": {},
}

_NAME = {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"}
_VARIANT = {"type": "string", "pattern": r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$"}

Settings = Mapping[str, Mapping[str, Any]]


def _closed(properties: dict[str, Any], **schema: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties, **schema}


def _mapping(names: dict[str, Any], values: dict[str, Any], description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "propertyNames": names,
        "additionalProperties": values,
    }


def _several(items: dict[str, Any], description: str) -> dict[str, Any]:
    return {
        "type": "array",
        "items": items,
        "minItems": 1,
        "uniqueItems": True,
        "description": description,
    }


def config_schema() -> dict[str, Any]:
    """The closed JSON schema of a configuration file."""
    languages = {"enum": list(LANGUAGES)}
    row = _closed(
        {
            "datasets": _several(_NAME, "names of sets under datasets"),
            "models": _several({"enum": list(MODELS)}, "what to train on each of them"),
            "seeds": _several({"type": "integer", "minimum": 0}, "one run for each"),
            "variant": {**_VARIANT, "description": f"name of the changed settings, or {BASE}"},
            "overrides": {
                "type": "object",
                "description": "dotted names of settings and their values in this row",
            },
        },
        description="runs: every dataset with every model and every seed",
        required=["datasets", "models", "seeds"],
    )
    return _closed(
        {
            "run": {**_NAME, "description": "name of the folder below results/"},
            "work": {
                "type": "string",
                "minLength": 1,
                "description": "folder of all that is not published: corpora, weights, logs",
            },
            "mirror": {
                "type": ["string", "null"],
                "description": "folder laid out owner/repository/commit/path, tried before the "
                "network for files of source url",
            },
            "threads": {"type": "integer", "minimum": 1, "description": "per training job"},
            "gpu": {
                "type": "integer",
                "minimum": 0,
                "maximum": 1,
                "description": "GPUs that a training job asks for; the profile sets the limit",
            },
            "datasets": _mapping(
                _NAME, CORPUS_SCHEMA, "labelled sets; their order is that of the tables"
            ),
            "unavailable": _mapping(
                _NAME,
                {"type": "string", "minLength": 1},
                "sets of the paper that this run lacks, and why; the tables say so",
            ),
            "unlabelled": _mapping(languages, UNLABELLED_SCHEMA, "text of stage 1 by language"),
            "teachers": _mapping(languages, TEACHER_SCHEMA, "pre-trained BERT by language"),
            "model": schema_of(ModelSettings),
            "augment": schema_of(AugmentSettings),
            "steps": _closed({step: schema_of(cls) for step, cls in STEPS.items()}),
            "runs": {"type": "array", "items": row, "minItems": 1},
        },
        title="Configuration of spikebert",
        description="What to train, on what, and how. What is left out of model, augment and "
        "steps takes the default of the class in spikebert/settings.py.",
        required=["run", "datasets", "runs"],
    )


@dataclass(frozen=True)
class Run:
    """One model to train. `settings` holds every value of the sections its weights depend on."""

    dataset: str
    language: str
    source: str
    model: str
    variant: str
    seed: int
    settings: Settings
    teacher: str | None = None

    @property
    def id(self) -> str:
        return f"{self.dataset}.{self.model}.{self.variant}.s{self.seed}"

    @property
    def name(self) -> str:
        """JSON that names the run in its record; nothing in it changes the weights but the seed."""
        words = ("id", "dataset", "source", "model", "variant", "seed", "teacher")
        return canonical({word: getattr(self, word) for word in words})

    def step(self, step: str) -> str:
        """JSON of the settings that matter to `step`, and the version of its algorithm."""
        return step_settings(step, self.settings)

    @property
    def stage1(self) -> str:
        """Key of stage 1's student: runs that agree in it share the student."""
        return f"{self.language}.{digest(self.step('stage1'))}"

    @property
    def augmented(self) -> str:
        """Key of the augmented rows: runs that agree in it share the rows."""
        return f"{self.dataset}/{digest(self.step('augment'))}.s{self.seed}"


@dataclass(frozen=True)
class Plan:
    """A checked configuration: every default filled in, every row of `runs` multiplied out."""

    run: str
    work: str
    mirror: str | None
    threads: int
    gpu: int
    datasets: dict[str, dict[str, Any]]
    unlabelled: dict[str, dict[str, Any]]
    teachers: dict[str, dict[str, Any]]
    unavailable: dict[str, str]
    settings: Settings
    runs: tuple[Run, ...]

    def of(self, *models: str) -> dict[str, Run]:
        """The runs of these models by id."""
        return {run.id: run for run in self.runs if run.model in models}

    def language_sets(self, language: str) -> list[str]:
        """Every configured set of a language, whether it has runs or not."""
        return [name for name, spec in self.datasets.items() if spec["language"] == language]

    def used_sets(self) -> list[str]:
        """The sets with runs, in the order of the configuration."""
        used = {run.dataset for run in self.runs}
        return [name for name in self.datasets if name in used]

    def used_teachers(self) -> list[str]:
        """The languages whose base teacher a run needs."""
        return sorted({run.language for run in self.runs if run.model != "tfidf"})

    def used_texts(self) -> list[str]:
        """The languages whose unlabelled text a run needs."""
        stage1 = {run.language for run in self.of("spikebert").values()}
        pretrain = {
            language
            for language in self.used_teachers()
            if self.teachers[language]["source"] == "pretrain"
        }
        return sorted(stage1 | pretrain)

    def notes(self) -> str:
        """JSON of what tables and figures say of each set, in their order."""
        used = {
            name: {
                "source": self.datasets[name]["description"],
                "analogue": self.datasets[name].get("analogue", False),
            }
            for name in self.used_sets()
        }
        absent = {
            name: {"source": reason, "analogue": False} for name, reason in self.unavailable.items()
        }
        return json.dumps({**used, **absent}, ensure_ascii=False)

    def about(self) -> list[str]:
        """One line for each set with runs, for captions: what it is, which models, which seeds."""
        lines = []
        for name in self.used_sets():
            runs = [run for run in self.runs if run.dataset == name]
            models = ", ".join(dict.fromkeys(run.model for run in runs))
            seeds = ", ".join(map(str, sorted({run.seed for run in runs})))
            kind = "stand-in, not the published set: " if is_analogue(self.datasets[name]) else ""
            lines.append(
                f"**{name}** ({kind}{self.datasets[name]['description']}): {models}; seeds {seeds}."
            )
        lines += [f"**{name}**: {reason}." for name, reason in self.unavailable.items()]
        return lines


def is_analogue(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("analogue", False))


def canonical(value: Any) -> str:
    """JSON of one spelling, so that the workflow sees a change only where there is one."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def step_settings(step: str, settings: Settings) -> str:
    sections = {section: settings[section] for section in STEP_SECTIONS[step]}
    return canonical({**sections, "algorithm": ALGORITHM[step]})


def content(spec: Mapping[str, Any]) -> str:
    """JSON of the part of a corpus, text or teacher that decides its content."""
    return canonical({k: v for k, v in spec.items() if k not in (*WORDS, "caps")})


def local_files(spec: Mapping[str, Any]) -> list[str]:
    """The files and folders on this machine that a corpus, text or teacher is read from."""
    parts = spec.get("files", [spec])
    return [p["path"].split(MEMBER)[0] for p in parts if p["source"] in ("file", "folder")]


def make_plan(config: Mapping[str, Any]) -> Plan:
    """Check a configuration and multiply out its runs.

    A row of another variant starts from the base rows of the same set and model, so that it
    differs from them in its own overrides alone. Where a row asks for a distilled model, its
    fine-tuned teacher is a run, too: the base teacher, unless the row changes fine-tuning.

    Raises:
        UserError: a name, type or range is wrong; a set, text or teacher is missing; or two rows
            give the same runs different settings.
    """
    try:
        json.dumps(config, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(
            "the configuration", expected="text and finite numbers", got=error, fix="mend the value"
        ) from None
    schema = config_schema()
    _check_top_names(config, schema)
    check(dict(config), schema, "the configuration")
    full = {**DEFAULTS, **config}
    _check_sets(full)
    given = {"model": full["model"], "augment": full["augment"]}
    given |= {step: full["steps"].get(step, {}) for step in STEPS}
    runs = _runs(full, given)
    order = [list(full["datasets"]), list(MODELS)]
    runs.sort(key=lambda r: (order[0].index(r.dataset), order[1].index(r.model)))
    names = {f.name for f in dataclasses.fields(Plan)} - {"settings", "runs"}
    return Plan(
        **{name: full[name] for name in names},
        settings={section: _resolve(section, given[section], "base") for section in SECTIONS},
        runs=tuple(runs),
    )


def _check_top_names(config: Mapping[str, Any], schema: dict[str, Any]) -> None:
    """Refuse an unknown name at the top, and look for near ones at every depth."""
    leaves = {f.name: section for section, cls in SECTIONS.items() for f in dataclasses.fields(cls)}
    known = [*schema["properties"], *leaves]
    for name in config:
        if name in schema["properties"]:
            continue
        near = difflib.get_close_matches(name, known, 1)
        homes = [
            ".".join(([] if section not in STEPS else ["steps"]) + [section, near[0]])
            for section, cls in SECTIONS.items()
            if near and near[0] in {f.name for f in dataclasses.fields(cls)}
        ]
        raise UserError(
            f"unknown setting {name} in the configuration",
            expected=", ".join(schema["properties"]),
            got=name,
            fix=f"did you mean {' or '.join(homes or near)}?" if near else "remove it",
        )


def _check_sets(config: Mapping[str, Any]) -> None:
    """Refuse rows whose sets, teachers or texts are not configured."""
    datasets = config["datasets"]
    for name in set(datasets) & set(config["unavailable"]):
        raise UserError(
            f"set {name}",
            expected="a place under datasets or under unavailable",
            got="both",
            fix="remove one",
        )
    for number, row in enumerate(config["runs"], 1):
        where = f"row {number} of runs"
        for name in row["datasets"]:
            if name not in datasets:
                near = difflib.get_close_matches(name, datasets, 1)
                raise UserError(
                    f"set {name} in {where}",
                    expected=f"one of {', '.join(datasets)}",
                    got=name,
                    fix=f"did you mean {near[0]}?" if near else "add it under datasets",
                )
            language = datasets[name]["language"]
            teacher = config["teachers"].get(language)
            if teacher is None and set(row["models"]) != {"tfidf"}:
                _raise_missing("teachers", language, where)
            pretrained = teacher is not None and teacher["source"] == "pretrain"
            if language not in config["unlabelled"] and (
                "spikebert" in row["models"] or (pretrained and set(row["models"]) != {"tfidf"})
            ):
                _raise_missing("unlabelled", language, where)


def _raise_missing(key: str, language: str, where: str) -> None:
    raise UserError(
        f"{key}.{language} in the configuration",
        expected=f"an entry, since {where} needs it",
        got="none",
        fix=f"add {language} under {key}",
    )


@dataclass(frozen=True)
class _Row:
    """A row of `runs` for one set: its models, the implied teacher included."""

    where: str
    dataset: str
    models: tuple[str, ...]
    asked: tuple[str, ...]
    seeds: tuple[int, ...]
    variant: str
    overrides: Mapping[str, Any]  # dotted names, the leading `steps.` left out

    def overrides_of(self, model: str) -> dict[str, Any]:
        return {k: v for k, v in self.overrides.items() if k.split(".")[0] in MODELS[model]}


def _rows(config: Mapping[str, Any]) -> Iterator[_Row]:
    for number, row in enumerate(config["runs"], 1):
        where = f"row {number} of runs"
        asked = tuple(row["models"])
        implied = ("teacher",) if set(asked) & set(DISTILLED) else ()
        overrides = dict(_short(name, where, v) for name, v in row.get("overrides", {}).items())
        models = tuple(dict.fromkeys((*implied, *asked)))
        variant = row.get("variant", BASE)
        _check_overrides(where, models, asked, variant, overrides)
        for dataset in row["datasets"]:
            yield _Row(where, dataset, models, asked, tuple(row["seeds"]), variant, overrides)


def _short(name: str, where: str, value: Any) -> tuple[str, Any]:
    """`steps.stage2.epochs` -> `stage2.epochs`, refused if there is no such setting."""
    settings = {
        ".".join((["steps"] if section in STEPS else []) + [section, f.name]): (section, f.name)
        for section, cls in SECTIONS.items()
        if section != "pretrain"  # the base teacher is one for all rows
        for f in dataclasses.fields(cls)
    }
    if name not in settings:
        near = difflib.get_close_matches(name, settings, 1)
        raise UserError(
            f"unknown setting {name} in the overrides of {where}",
            expected="a dotted name below model, augment or steps (steps.pretrain excepted)",
            got=name,
            fix=f"did you mean {near[0]}?" if near else "remove it",
        )
    return ".".join(settings[name]), value


def _check_overrides(
    where: str,
    models: tuple[str, ...],
    asked: tuple[str, ...],
    variant: str,
    overrides: Mapping[str, Any],
) -> None:
    """Every override has to matter, and a variant has to differ from the base."""
    sections = {name.split(".")[0] for name in overrides}
    idle = sections - {section for model in models for section in MODELS[model]}
    if idle:
        raise UserError(
            f"override of {', '.join(sorted(idle))} in {where}",
            expected=f"a section that one of {', '.join(asked)} depends on",
            got=", ".join(sorted(idle)),
            fix="remove it, or add a model that it changes",
        )
    same = [model for model in asked if not sections & set(MODELS[model])]
    if variant != BASE and same:
        raise UserError(
            f"variant {variant} in {where}",
            expected="overrides that change every model of the row",
            got=f"none for {', '.join(same)}",
            fix="leave these models out of the row, or add an override",
        )


def _runs(config: Mapping[str, Any], given: Settings) -> list[Run]:
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
                section: _merge(section, given[section], overrides, row.where)
                for section in MODELS[model]
            }
            name = (row.dataset, model, variant)
            first = named.setdefault(name, (row.where, settings))
            _check_same(".".join(name), first, row, settings)
            for seed in row.seeds:
                run = Run(
                    dataset=row.dataset,
                    language=spec["language"],
                    source=spec["description"],
                    model=model,
                    variant=variant,
                    seed=seed,
                    settings=settings,
                    teacher=_teacher(row, seed) if model in DISTILLED else None,
                )
                runs.setdefault(run.id, run)
    return list(runs.values())


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


def _teacher(row: _Row, seed: int) -> str:
    variant = row.variant if row.overrides_of("teacher") else BASE
    return f"{row.dataset}.teacher.{variant}.s{seed}"


def _merge(
    section: str, given: Mapping[str, Any], overrides: Mapping[str, Any], where: str
) -> dict[str, Any]:
    own = {
        name.split(".")[1]: value
        for name, value in overrides.items()
        if name.split(".")[0] == section
    }
    return _resolve(section, {**given, **own}, where)


def _resolve(section: str, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Every setting of a section, defaults filled in; 3 and 3.0 come out the same."""
    cls = SECTIONS[section]
    check(dict(values), schema_of(cls), f"{section}, {where}")
    resolved = dataclasses.asdict(build(cls, dict(values)))
    kinds = {f.name: str(f.type) for f in dataclasses.fields(cls)}
    return {name: _number(kinds[name], value) for name, value in resolved.items()}


def _number(kind: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [float(v) for v in value]
    if value is None or not kind.startswith(("int", "float")):
        return value
    return int(value) if kind.startswith("int") else float(value)


if __name__ == "__main__":
    print(json.dumps(config_schema(), indent=2, ensure_ascii=False))
