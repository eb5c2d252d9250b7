"""The configuration file: its form, its defaults, and how it is read.

Words used: a *section* is `model`, `augment` or the name of a step; a *variant* is `base` or the
name of changed settings. `python -m spikebert.config.schema` prints the JSON schema.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import posixpath
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, Field, Strict, create_model

from ..errors import UserError
from ..utils.validation import STRICT, json_schema, nearest, one_of, validate
from .datasets import (
    DIFFERENT,
    Bert,
    Checkpoint,
    CompressedName,
    Corpus,
    InPackage,
    LanguageName,
    OnHub,
    Reading,
    Teacher,
    Text,
    UnlabelledText,
    check_task,
    words,
)
from .plugins import load_plugins
from .registry import BASE, COMPRESSED, MODELS, ModelSpec
from .resources import RULES, Job, Resources, resources_form
from .settings import (
    ALGORITHM,
    CHECKPOINT_MINUTES,
    LARGEST_SEED,
    STEPS,
    AugmentSettings,
    DistillSettings,
    ModelSettings,
    Stage1Settings,
    Stage2Settings,
    TrainingSettings,
)

SECTIONS: dict[str, type] = {"model": ModelSettings, "augment": AugmentSettings, **STEPS}


def _steps_form() -> Any:
    fields: dict[str, Any] = {
        step: (cls, Field(default_factory=dict, description=(cls.__doc__ or "").split("\n")[0]))
        for step, cls in STEPS.items()
    }
    return create_model("Steps", __config__=STRICT, __doc__="Settings of the steps.", **fields)


if TYPE_CHECKING:
    ModelName: TypeAlias = str
    Steps: TypeAlias = dict[str, Any]
    RulesResources: TypeAlias = dict[str, Any]
else:
    ModelName = Annotated[str, *one_of(lambda: tuple(MODELS))]
    Steps, RulesResources = _steps_form(), resources_form()


def _no_device(name: str) -> str:
    """Some names are devices on Windows, where a clone with such a file would fail."""
    if name in (
        "con",
        "prn",
        "aux",
        "nul",
        *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)),
    ):
        raise ValueError("a device on Windows")
    return name


# Names become files and folders, and several of them one name: results/<run>/records/<set>.<model>.
# <variant>.s<seed>.json.
Name = Annotated[
    str,
    words(
        "^[a-z0-9][a-z0-9_-]*$",
        "at most 64 small letters, digits, - and _, and no device of Windows such as con",
        max_length=64,
    ),
    AfterValidator(_no_device),
]
Variant = Annotated[
    str,
    words(
        "^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$",
        "at most 64 small letters, digits, ., - and _, the first and last a letter or digit",
        max_length=64,
    ),
]
Folder = Annotated[
    str,
    words(
        r"^[^-{}<>\\\x00-\x1f][^{}<>\\\x00-\x1f]*$",
        "a path without {}<>\\ that does not begin with -",
        max_length=1000,
    ),
]
# These are handed on as they were given, so that 3.0 and "3" are no whole numbers in them.
Whole = Annotated[int, Strict(), Field(ge=0)]
Count = Annotated[int, Strict(), Field(ge=1)]
Amount = Annotated[float, Strict(), Field(ge=0)]
Seed = Annotated[int, Strict(), Field(ge=0, le=LARGEST_SEED)]


class Row(BaseModel):
    """Runs: every dataset with every model and every seed."""

    model_config = STRICT

    datasets: Annotated[list[Name], Field(min_length=1), *DIFFERENT]
    """names of sets under datasets"""
    models: Annotated[list[ModelName], Field(min_length=1), *DIFFERENT]
    """what to train on each of them"""
    seeds: Annotated[list[Seed], Field(min_length=1), *DIFFERENT]
    """one run for each"""
    variant: Variant = BASE
    """name of the changed settings, or base"""
    overrides: dict[str, Any] = {}
    """dotted names of settings and their values in this row"""


class Configuration(BaseModel):
    """What to train, on what, and how. What is left out of model, augment and steps takes the
    default of the class in spikebert/config/settings.py."""

    model_config = STRICT

    run: Name
    """name of the folder below results/"""
    work: Folder = "work"
    """folder of all that is not published: corpora, weights, logs; not below results"""
    mirror: str | None = None
    """folder laid out owner/repository/commit/path, tried before the network for files of source
    url"""
    threads: Count = 1
    """threads of a training job"""
    gpu: Annotated[int, Strict(), Field(ge=0, le=1)] = 0
    """GPUs that a training job asks for; the profile sets the limit"""
    retries: Whole = 1
    """how often a training job that ended early is started again; it goes on from its
    checkpoint"""
    resources: RulesResources = {}
    """what the jobs of a rule ask a scheduler for; no job runs again because of it, and
    --set-resources of Snakemake overrides it"""
    checkpoints: Text | None = None
    """folder of the checkpoints, where it is not below work; on a cluster without a shared file
    system, a mounted volume"""
    teacher_cache_gib: Amount = 0
    """disk for the tokens of texts and the hidden states of teachers, which all runs on the same
    text then share; 0 asks the teacher anew in every run"""
    checkpoint_minutes: Amount = CHECKPOINT_MINUTES
    """longest time between two checkpoints of a training job, beside those of its evaluations; 0
    writes one after every update"""
    energy_sentences: Count | None = None
    """test rows that the energy account runs, the first in the order of hashes, one at a time;
    null runs all of them"""
    plugins: Annotated[list[Text], *DIFFERENT] = []
    """Python files outside the package that enter neurons, surrogates and other parts, relative to
    the folder where the workflow runs"""
    datasets: dict[Name, Corpus]
    """labelled sets; their order is that of the tables"""
    unavailable: dict[Name, Text] = {}
    """sets of the paper, compressed models or (glue) all of GLUE that this run lacks, and why; the
    tables say so"""
    unlabelled: dict[LanguageName, UnlabelledText] = {}
    """text of stage 1 by language"""
    teachers: dict[LanguageName, Teacher] = {}
    """pre-trained BERT by language"""
    compressed: dict[CompressedName, Checkpoint] = {}
    """checkpoints of the compressed BERTs that a row of runs may ask for"""
    model: ModelSettings = ModelSettings()
    """the spiking student"""
    augment: AugmentSettings = AugmentSettings()
    """how the training rows are multiplied"""
    steps: Steps = {}
    """settings of the steps"""
    runs: Annotated[list[Row], Field(min_length=1)]
    """what to train: rows of data sets, models and seeds"""


DEFAULTS: dict[str, Any] = {
    name: field.default
    for name, field in Configuration.model_fields.items()
    if not field.is_required()
} | {"model": {}, "augment": {}}


def add_model(name: str, spec: ModelSpec, settings: type[TrainingSettings]) -> None:
    """Let rows of `runs` ask for a model, with settings at `steps.<name>`."""
    MODELS[name] = spec
    STEPS[name] = SECTIONS[name] = settings
    ALGORITHM[name] = 1
    RULES[name] = Resources()
    _form.cache_clear()


@functools.cache
def _form() -> type[Configuration]:
    """The form of a configuration, with the steps and rules of models that were added."""
    added: dict[str, Any] = {"steps": (_steps_form(), {}), "resources": (resources_form(), {})}
    return create_model("Configuration", __base__=Configuration, **added)


def config_schema() -> dict[str, Any]:
    """The closed JSON schema of a configuration file, with a description for every key."""
    schema = {"title": "Configuration of spikebert", **json_schema(Configuration)}
    above = (Stage1Settings, Stage2Settings, DistillSettings, TrainingSettings)
    meanings: dict[str, str] = {}  # of inherited keys; their own classes alone hold the words
    for base in (*above, Reading, InPackage, OnHub, Bert, Job):
        for key, value in json_schema(base)["properties"].items():
            if "description" in value:
                meanings.setdefault(key, value["description"])
    for definition in schema["$defs"].values():
        for key, value in definition["properties"].items():
            if "$ref" not in value:
                value.setdefault("description", meanings.get(key))
    return schema


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Check a configuration, and fill in what was left out.

    Raises:
        UserError: a name, type or range is wrong, or a row of `runs` asks for a set, text or
            teacher that is not there.
    """
    try:
        _check_text(json.dumps(config, allow_nan=False, ensure_ascii=False))
        for name in _names(config):
            if not isinstance(name, str):
                raise TypeError(f"the name {name!r} of type {type(name).__name__}")
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(
            "the configuration",
            expected="names and values that are text or finite numbers",
            got=error,
            fix="mend the value, or put it into quotes",
        ) from None
    _check_top_names(config)
    plugins = config.get("plugins", [])
    if isinstance(plugins, list) and all(isinstance(path, str) for path in plugins):
        load_plugins(plugins)  # what else it may be is refused below
    validate(_form(), config, "the configuration")
    full = {**DEFAULTS, **config}
    _check_sets(full)
    return full


def _check_text(text: str) -> None:
    """Raise a ValueError at half of a surrogate pair or a NUL: no command can hold them."""
    text.encode()
    if r"\u0000" in text:
        raise ValueError("a NUL character")


def _names(value: Any) -> Iterator[Any]:
    """Every key at any depth."""
    if isinstance(value, Mapping):
        yield from value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _names(part)


def _check_top_names(config: Mapping[str, Any]) -> None:
    """Refuse an unknown name at the top, and look for near ones at every depth."""
    top = Configuration.model_fields
    places: dict[str, list[str]] = {name: [name] for name in top}
    for section in SECTIONS:
        for key in keys_of(section):
            places.setdefault(key, []).append(dotted(section, key))
    for name in config.keys() - top.keys():
        near = [
            place for key in difflib.get_close_matches(name, places, 1) for place in places[key]
        ]
        raise UserError(
            f"unknown setting {name} in the configuration",
            expected=", ".join(top),
            got=name,
            fix=f"did you mean {' or '.join(near)}?" if near else "remove it",
        )


def dotted(section: str, key: str) -> str:
    """The name of a setting in the configuration."""
    return f"steps.{section}.{key}" if section in STEPS else f"{section}.{key}"


def keys_of(section: str) -> list[str]:
    """The names of a section's settings."""
    return [f.name for f in dataclasses.fields(SECTIONS[section])]


def _check_sets(config: Mapping[str, Any]) -> None:
    """Refuse rows whose sets, teachers or texts are not configured."""
    datasets = config["datasets"]
    if posixpath.normpath(config["work"]).split("/")[0] == "results":
        raise UserError(
            "setting work",
            expected="a folder beside results/, whose files are published",
            got=config["work"],
            fix="name another, such as work",
        )
    for name, spec in datasets.items():
        check_task(name, spec)
        if sum(spec.get("split", {}).values()) >= 1:
            raise UserError(
                f"setting datasets.{name}.split",
                expected="shares of dev and test that leave rows for train: a sum below 1",
                got=spec["split"],
                fix="lower one of them",
            )
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
                raise UserError(
                    f"set {name} in {where}",
                    expected=f"one of {', '.join(datasets)}",
                    got=name,
                    fix=nearest(name, datasets, "add it under datasets"),
                )
            language = datasets[name]["language"]
            _check_compressed(set(row["models"]) & set(COMPRESSED), name, config, where)
            models = [MODELS[model] for model in row["models"]]
            from_bert = any(model.from_bert for model in models)
            teacher = config["teachers"].get(language)
            if teacher is None and from_bert:
                _raise_missing("teachers", language, where)
            pretrained = teacher is not None and teacher["source"] == "pretrain"
            if language not in config["unlabelled"] and (
                any(model.stage1 for model in models) or (pretrained and from_bert)
            ):
                _raise_missing("unlabelled", language, where)


def _check_compressed(
    models: set[str], dataset: str, config: Mapping[str, Any], where: str
) -> None:
    """Refuse compressed models without a checkpoint, or on a set that is not English."""
    for model in sorted(models - set(config["compressed"])):
        _raise_missing("compressed", model, where)
    language = config["datasets"][dataset]["language"]
    if models and language != "en":
        raise UserError(
            f"{', '.join(sorted(models))} on {dataset} in {where}",
            expected="an English set, since these models are English",
            got=language,
            fix="leave them out of the row",
        )


def _raise_missing(key: str, language: str, where: str) -> None:
    raise UserError(
        f"{key}.{language} in the configuration",
        expected=f"an entry, since {where} needs it",
        got="none",
        fix=f"add {language} under {key}",
    )


if __name__ == "__main__":
    print(json.dumps(config_schema(), indent=2, ensure_ascii=False))
