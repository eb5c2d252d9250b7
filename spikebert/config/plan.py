"""From a configuration file to the runs it asks for, all of it checked before anything starts, and
to where their files lie."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from ..utils.validation import nearest
from .datasets import MEMBER
from .plugins import digests, needed
from .registry import MODELS
from .runs import Run, Settings, canonical, runs_of
from .schema import RULES, SECTIONS, Common, Resources, read_config
from .settings import ALGORITHM

# Keys of a corpus, text or teacher that are words for people and change no row.
WORDS = ("description", "licence", "analogue", "compressed")


class Plan(Common):
    """A checked configuration: every default filled in, every row of `runs` multiplied out."""

    resources: dict[str, Resources]
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

    def language_sets(self, language: str) -> list[str]:
        """Every configured set of a language, whether it has runs or not."""
        return [name for name, spec in self.datasets.items() if spec["language"] == language]

    def used_sets(self) -> list[str]:
        """The sets with runs, in the order of the configuration."""
        used = {run.dataset for run in self.runs}
        return [name for name in self.datasets if name in used]

    def used_teachers(self) -> list[str]:
        """The languages whose base teacher a run needs."""
        return self._needed("teachers")

    def used_texts(self) -> list[str]:
        """The languages whose unlabelled text a run needs."""
        return self._needed("unlabelled")

    def _needed(self, kind: str) -> list[str]:
        needs = {need for run in self.runs for need in run.needs(self.teachers)}
        return sorted(name for key, name in needs if key == kind)


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

    Raises:
        UserError: what `read_config` refuses, an override that is unknown, out of range or without
            effect, or two rows that give the same runs different settings.
    """
    full = read_config(config)
    sections = {"model": full.model, "augment": full.augment, **dict(full.steps)}
    given = {section: dataclasses.asdict(sections[section]) for section in SECTIONS}
    plugins = digests(full.plugins)
    runs = runs_of(full, given, plugins)
    sets, models = list(full.datasets), list(MODELS)
    runs.sort(key=lambda run: (sets.index(run.dataset), models.index(run.model)))
    asked = config.get("resources", {})
    return Plan.model_construct(
        **{name: getattr(full, name) for name in Common.model_fields},
        resources={rule: job.model_copy(update=asked.get(rule, {})) for rule, job in RULES.items()},
        plugins=plugins,
        settings=given,
        runs=tuple(runs),
    )


class Below:
    """A path below a folder of the layout: a function of the name that stands in the braces."""

    def __init__(self, folder: str, path: str):
        self.folder, self.path = folder, path

    def __get__(self, layout: object, _: type) -> Callable[[str], str]:
        return lambda name: f"{getattr(layout, self.folder)}/{self.path.format(name)}"


@dataclass(frozen=True)
class Layout:
    """Paths by the names of what they hold; a wildcard of Snakemake will do as a name."""

    work: str  # what is not published
    results: str  # what is
    downloads: str  # shared by all configurations with this `work`
    teacher_cache: str
    bench: str
    # What interrupted jobs go on from; no output, or Snakemake would remove it.
    checkpoints_of_run: str

    splits = Below("work", "splits/{}")  # of a set, as are its
    corpus = Below("work", "corpora/{}")
    text = Below("work", "unlabelled/{}/text.jsonl")  # of a language, as are its
    text_stats = Below("work", "unlabelled/{}/stats.json")
    bert = Below("work", "teachers/{}")  # pre-trained
    compressed = Below("work", "compressed/{}")  # of a model
    augmented = Below("work", "augmented/{}.jsonl")  # of a key, as is
    stage1 = Below("work", "stage1/{}")
    configuration = Below("work", "configs/{}.json")  # that jobs read, of a digest
    model = Below("work", "models/{}")  # of a run, as are
    checkpoints = Below("checkpoints_of_run", "{}")
    record = Below("results", "records/{}.json")
    predictions = Below("results", "predictions/{}.csv")
    energy = Below("results", "energy/{}.json")
    probe = Below("results", "probes/{}.npz")
    calibration = Below("results", "probes/calibration.{}.json")
    cka = Below("results", "probes/cka.{}.npz")  # of a language
    table = Below("results", "tables/{}.csv")
    figure = Below("results", "figures/{}.svg")

    @classmethod
    def of(cls, plan: Plan, root: str = "") -> Layout:
        """The paths of a plan, all below `root` where it is given."""

        def below(path: str) -> str:
            return f"{root.rstrip('/')}/{path.lstrip('/')}" if root else path

        work, results = below(f"{plan.work}/{plan.run}"), below(f"results/{plan.run}")
        # A mounted volume, where it is not below `work`.
        checkpoints = f"{plan.checkpoints}/{plan.run}" if plan.checkpoints else work
        return cls(
            work=work,
            results=results,
            downloads=below(f"{plan.work}/downloads"),
            teacher_cache=f"{work}/taught",
            bench=f"{results}/bench.json",
            checkpoints_of_run=f"{checkpoints}/checkpoints",
        )


def read_plan(path: str | Path, changes: Sequence[str] = ()) -> Plan:
    """The plan of a configuration file, with `key=value` changes such as `model.beta=0.8`."""
    return make_plan(with_changes(read_yaml(path), changes))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: there is no such file, it is no YAML (with the line), or it holds no mapping.
    """
    path = Path(path)
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = map(str, sorted(path.parent.glob("*.y*ml")))
        raise UserError(
            f"configuration {path}",
            expected="a YAML file",
            got="no such file" if isinstance(error, FileNotFoundError) else error.strerror,
            fix=nearest(str(path), known, "check the path"),
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        raise UserError(
            f"configuration {path}" + (f", line {mark.line + 1}" if mark else ""),
            expected="valid YAML",
            got=getattr(error, "problem", None) or error,
            fix="check indentation, quotes and brackets there and in the line before",
        ) from None
    if not isinstance(value, dict):
        raise UserError(
            f"configuration {path}",
            expected="a mapping of names to values, such as run: mine",
            got="an empty file" if value is None else f"a {type(value).__name__}",
            fix="see config/README.md, or start from a copy of config/config.yaml",
        )
    return value


def with_changes(config: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A copy of a configuration in which each `key=value` of a command line is set; keys have dots,
    values are YAML.

    >>> with_changes({"run": "mine", "model": {"beta": 0.9}}, ["model.beta=0.8"])
    {'run': 'mine', 'model': {'beta': 0.8}}

    Raises:
        UserError: a text is no `key=value`, its value no YAML, or its key leads through a value.
    """
    config = copy.deepcopy(config)
    for text in changes:
        key, sign, value = text.partition("=")
        *above, last = key.strip().split(".")
        place: Any = config
        for name in above:
            place = place.setdefault(name, {}) if isinstance(place, dict) else None
        try:
            if not sign or not last or not isinstance(place, dict):
                raise ValueError("a name within a value" if sign and last else text)
            place[last] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:
            raise UserError(
                f"--set {text}",
                expected="the dotted name of a setting and its value",
                got=error,
                fix="write it as model.beta=0.8",
            ) from None
    return config
