"""From a configuration to the runs it asks for, all of it checked before anything starts.

The workflow reads this module while it parses, so nothing heavy is imported here. A *run*
is one trained model, named `<dataset>.<model>.<variant>.s<seed>`; other words are in schema.py.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..utils.validation import nearest, validate
from .datasets import ACCURACY, GLUE_SETS, MEMBER, metric_of
from .files import read_yaml, with_changes
from .registry import BASE, COMPRESSED, DENSE_STEPS, MODELS, SHAPE, STUDENT_STEPS, RunId
from .resources import Resources, resources_of
from .schema import SECTIONS, dotted, keys_of, read_config
from .settings import ALGORITHM, LATER, STEPS, digest

# Keys of a corpus, text or teacher that are words for people and change no row.
WORDS = ("description", "licence", "analogue", "compressed")

GLUE_KEY = "glue"  # under unavailable: why the run has no set of GLUE
NOT_CONFIGURED = "not configured in this run"

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
        return step_settings(step, self.settings)

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

    def notes(self) -> str:
        """JSON of what tables and figures say of each set, in their order."""
        used = {
            name: {
                "source": self.datasets[name]["description"],
                "analogue": is_analogue(self.datasets[name]),
            }
            for name in self.used_sets()
        }
        absent = {
            name: {"source": reason, "analogue": False} for name, reason in self.absent_sets()
        }
        return json.dumps({**used, **absent}, ensure_ascii=False)

    def about(self) -> list[str]:
        """Lines for captions: for each set with runs what it is, which models and seeds, how long
        and how large; then teachers, the text of stage 1, and the sets that are not there."""
        lines = []
        for name in self.used_sets():
            runs = [run for run in self.runs if run.dataset == name]
            models = ", ".join(dict.fromkeys(run.model for run in runs))
            seeds = ", ".join(map(str, sorted({run.seed for run in runs})))
            kind = "stand-in, not the published set: " if is_analogue(self.datasets[name]) else ""
            what = f"**{name}** ({kind}{self.datasets[name]['description']})"
            parts = [f"{models}; seeds {seeds}", *_how(runs, self.datasets[name].get("caps", {}))]
            lines.append(f"{what}: {'; '.join(parts)}.")
        for words, specs, languages in (
            ("teacher", self.teachers, self.used_teachers()),
            ("text of stage 1", self.unlabelled, self.used_texts()),
        ):
            for name in languages:
                described = specs[name].get("description", "without a description")
                lines.append(f"{words}, *{name}*: {described}.")
        lines += [f"**{name}**: {reason}." for name, reason in self.absent_sets()]
        return lines

    def absent_sets(self) -> list[tuple[str, str]]:
        """Sets of the paper's table 1 that the run lacks, and why."""
        others = (GLUE_KEY, *GLUE_SETS, *COMPRESSED)
        return [(name, reason) for name, reason in self.unavailable.items() if name not in others]

    def glue(self) -> str:
        """JSON of what the table of GLUE says of each of its sets: what it is and how it is judged
        and split or, where it has no runs, why."""
        used = self.used_sets()
        reason = self.unavailable.get(GLUE_KEY, NOT_CONFIGURED)
        notes: dict[str, dict[str, Any]] = {}
        for name in GLUE_SETS:
            notes[name] = {"reason": self.unavailable.get(name, reason)}
            if name in used:
                spec = self.datasets[name]
                tested = {f["hub_split"] for f in spec["files"] if f.get("split") == "test"
                          and "hub_split" in f}  # fmt: skip
                notes[name] = {
                    "metric": metric_of(spec),
                    "analogue": is_analogue(spec),
                    "test": ", ".join(sorted(tested)),
                }
        return json.dumps(notes, ensure_ascii=False)

    def compression(self) -> str:
        """JSON of what the table of compressed models says: of each set whether it is a stand-in,
        of each model its name or why the run lacks it."""
        teacher = self.teachers.get("en", {})
        itself = ", itself a compressed BERT" if teacher.get("compressed") else ""
        models = {"teacher": {"description": f"{teacher.get('description', 'BERT')}{itself}"}}
        for model in COMPRESSED:
            spec = self.compressed.get(model)
            reason = NOT_CONFIGURED if spec is None else "no runs on this set"
            models[model] = {
                "description": spec.get("description", model) if spec else model,
                "reason": self.unavailable.get(model, reason),
            }
        compared = self.compared_sets()
        students = [
            run.settings["model"]
            for run in self.of("spikebert").values()
            if run.variant == BASE and run.dataset in compared
        ]
        shapes = {(s["num_hidden_layers"], s["hidden_size"]) for s in students}
        words = " or ".join(f"{blocks} blocks of width {width}" for blocks, width in sorted(shapes))
        models["spikebert"] = {"description": f"spiking student, both stages ({words or 'none'})"}
        sets = {name: {"analogue": is_analogue(self.datasets[name])} for name in compared}
        return json.dumps({"datasets": sets, "models": models}, ensure_ascii=False)

    def compared_sets(self) -> list[str]:
        """The English sets judged by accuracy, GLUE apart, that the table of compressed models has
        rows for."""
        runs = self.of("spikebert", *COMPRESSED).values()
        mine = {run.dataset for run in runs if run.language == "en"} - set(GLUE_SETS)
        return [
            name
            for name in self.used_sets()
            if name in mine and metric_of(self.datasets[name]) == ACCURACY
        ]


def _how(runs: list[Run], caps: Mapping[str, int]) -> list[str]:
    """Caps, size of the student, epochs and variants of a set's runs, in words."""
    base = [run for run in runs if run.variant == BASE] or runs
    sections = {name: values for run in base for name, values in run.settings.items()}
    words = []
    if caps:
        words.append(
            "at most " + ", ".join(f"{n:,} {split}" for split, n in caps.items()) + " rows"
        )
    if "model" in sections:
        model = sections["model"]
        size = f"{model['num_hidden_layers']} x {model['hidden_size']} (blocks x width)"
        words.append(f"student {size}, T = {model['timesteps']}")
    epochs = {
        step: sections[step]["epochs"] for step in STEPS if "epochs" in sections.get(step, {})
    }
    if epochs:
        words.append("epochs: " + ", ".join(f"{step} {n:g}" for step, n in epochs.items()))
    variants = dict.fromkeys(run.variant for run in runs if run.variant != BASE)
    if variants:
        words.append(f"variants: {', '.join(variants)}")
    return words


def is_analogue(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("analogue", False))


def canonical(value: Any) -> str:
    """JSON of one spelling, so that the workflow sees a change only where there is one."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def step_settings(step: str, settings: Settings) -> str:
    """JSON of the sections that `step` is given, without the `LATER` settings at their default."""
    names = ("model", step) if step in STUDENT_STEPS else (step,)
    sections = {section: _told(section, settings[section]) for section in names}
    if step in DENSE_STEPS:
        sections["model"] = {key: settings["model"][key] for key in SHAPE}
    return canonical({**sections, "algorithm": ALGORITHM[step]})


def _told(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    default = dataclasses.asdict(SECTIONS[section]())
    late = {name for name in LATER.get(section, ()) if values[name] == default[name]}
    return {name: value for name, value in values.items() if name not in late}


def content(spec: Mapping[str, Any]) -> str:
    """JSON of the part of a corpus, text or teacher that decides its content, but for what is done
    to its splits later."""
    parts = {k: v for k, v in spec.items() if k not in (*WORDS, "caps", "keep_dev")}
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
    runs = _runs(full, given)
    _check_transfer(runs, full)
    sets, models = list(full["datasets"]), list(MODELS)
    runs.sort(key=lambda run: (sets.index(run.dataset), models.index(run.model)))
    names = {f.name for f in dataclasses.fields(Plan)} - {"settings", "runs", "resources"}
    return Plan(
        **{name: full[name] for name in names},
        resources=resources_of(full["resources"]),
        settings={
            section: _resolve(section, given[section], "the configuration") for section in SECTIONS
        },
        runs=tuple(runs),
    )


def read_plan(path: str | Path, changes: Sequence[str] = ()) -> Plan:
    """The plan of a configuration file, with `key=value` changes such as `model.beta=0.8`."""
    return make_plan(with_changes(read_yaml(path), changes))


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


def _check_transfer(runs: list[Run], config: Mapping[str, Any]) -> None:
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


def _merge(
    section: str, given: Mapping[str, Any], overrides: Mapping[str, Any], where: str
) -> dict[str, Any]:
    own = {
        name.split(".")[1]: value
        for name, value in overrides.items()
        if name.split(".")[0] == section
    }
    return _resolve(section, {**given, **own}, where)


def _resolve(section: str, values: dict[str, Any], where: str) -> dict[str, Any]:
    """Every setting of a section, defaults filled in; 3 and 3.0 come out the same."""
    made = validate(SECTIONS[section], values, where, under=dotted(section, ""))
    return dataclasses.asdict(made)
