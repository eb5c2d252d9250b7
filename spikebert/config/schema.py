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
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, GetPydanticSchema, Strict, create_model
from pydantic_core.core_schema import no_info_wrap_validator_function

from ..errors import UserError
from ..utils.validation import STRICT, json_schema, one_of, validate
from . import datasets as sets
from . import settings
from .datasets import DIFFERENT, CompressedName, LanguageName, Text, words
from .datasets import Rows as Count
from .plugins import load_plugins
from .registry import BASE, MODELS, ModelSpec
from .settings import ALGORITHM, STEPS, AugmentSettings, Json, ModelSettings

SECTIONS: dict[str, type] = {"model": ModelSettings, "augment": AugmentSettings, **STEPS}


def given(kind: Any) -> Any:
    """Checked as `kind`, and handed on as it was given."""

    def checked(value: Any, check: Any) -> Any:
        check(value)
        return value

    return GetPydanticSchema(
        lambda _, schema_of: no_info_wrap_validator_function(checked, schema_of(kind))
    )


def _no_device(name: str) -> str:
    """Some names are devices on Windows, where a clone with such a file would fail."""
    if re.fullmatch(r"con|prn|aux|nul|(com|lpt)\d", name):
        raise ValueError("a device on Windows")
    return name


def _unpublished(folder: str) -> str:
    if posixpath.normpath(folder).split("/")[0] == "results":
        raise ValueError("its files are published")
    return folder


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
        "a path beside results/, without {}<>\\, that does not begin with -",
        max_length=1000,
    ),
    AfterValidator(_unpublished),
]
ModelName = Annotated[str, *one_of(lambda: MODELS)]
Amount = Annotated[float, Strict(), Field(ge=0)]
Seed = Annotated[int, Strict(), Field(ge=0, le=settings.LARGEST_SEED)]


class Form(BaseModel):
    """What a configuration and its parts have in common."""

    model_config = STRICT


class Job(Form):
    """What one job asks a scheduler for."""

    mem_mb: Count = 8000
    """memory in MB at the first attempt, and as much again at the next two"""
    runtime: Count = 720
    """wall time in minutes; training that runs out of it goes on"""


class Resources(Job):
    """What one job asks for, where several processes may share it."""

    processes: Count = 1
    """processes of one machine that share each batch, the threads, and have a GPU each where `gpu`
    is set"""


# The defaults are for the sizes of config/config.yaml and config/small.yaml, with room to spare.
_SHORT = Resources(mem_mb=4000, runtime=60)
_MEDIUM = Resources(mem_mb=4000, runtime=120)
RULES: dict[str, Resources] = {
    **{spec.rule: Resources() for spec in MODELS.values()},
    **dict.fromkeys(("pretrain", "unlabelled"), Resources()),
    "stage1": Resources(runtime=1440),
    **dict.fromkeys(("augment", "tfidf", "probe", "cka", "calibration"), _SHORT),
    **dict.fromkeys(("measure_energy", "textcnn"), _MEDIUM),
}
SHARED = ("finetune", "stage1", "stage2", "direct")  # the rules whose training several may share


class Row(Form):
    """Runs: every dataset with every model and every seed."""

    datasets: Annotated[list[Name], Field(min_length=1), *DIFFERENT]
    """names of sets under datasets"""
    models: Annotated[list[ModelName], Field(min_length=1), *DIFFERENT]
    """what to train on each of them"""
    seeds: Annotated[list[Seed], Field(min_length=1), *DIFFERENT]
    """one run for each"""
    variant: Variant = BASE
    """name of the changed settings, or base"""
    overrides: dict[str, Json] = {}
    """dotted names of settings and their values in this row"""


class Common(Form):
    """What a configuration says and its plan repeats."""

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
    retries: Annotated[int, Strict(), Field(ge=0)] = 1
    """how often a training job that ended early is started again; it goes on from its
    checkpoint"""
    checkpoints: Text | None = None
    """folder of the checkpoints, where it is not below work; on a cluster without a shared file
    system, a mounted volume"""
    teacher_cache_gib: Amount = 0
    """disk for the tokens of texts and the hidden states of teachers, which all runs on the same
    text then share; 0 asks the teacher anew in every run"""
    checkpoint_minutes: Amount = settings.CHECKPOINT_MINUTES
    """longest time between two checkpoints of a training job, beside those of its evaluations; 0
    writes one after every update"""
    energy_sentences: Count | None = None
    """test rows that the energy account runs, the first in the order of hashes, one at a time;
    null runs all of them"""
    datasets: dict[Name, Annotated[dict[str, Any], given(sets.Corpus)]]
    """labelled sets; their order is that of the tables"""
    unavailable: dict[Name, Text] = {}
    """sets of the paper, compressed models or (glue) all of GLUE that this run lacks, and why; the
    tables say so"""
    unlabelled: dict[LanguageName, Annotated[dict[str, Any], given(sets.UnlabelledText)]] = {}
    """text of stage 1 by language"""
    teachers: dict[LanguageName, Annotated[dict[str, Any], given(sets.Teacher)]] = {}
    """pre-trained BERT by language"""
    compressed: dict[CompressedName, Annotated[dict[str, Any], given(sets.Checkpoint)]] = {}
    """checkpoints of the compressed BERTs that a row of runs may ask for"""


class Configuration(Common):
    """What to train, on what, and how. What is left out of model, augment and steps takes the
    default of the class in spikebert/config/settings.py."""

    plugins: Annotated[list[Text], *DIFFERENT] = []
    """Python files outside the package that enter neurons, surrogates and other parts, relative to
    the folder where the workflow runs"""
    model: ModelSettings = Field(default_factory=ModelSettings)
    """the spiking student"""
    augment: AugmentSettings = Field(default_factory=AugmentSettings)
    """how the training rows are multiplied"""
    steps: Any  # a section for every step, and
    resources: Any  # what the jobs of every rule ask for, of those known when it is read
    runs: Annotated[list[Row], Field(min_length=1)]
    """what to train: rows of data sets, models and seeds"""


def add_model(name: str, spec: ModelSpec, kind: type[settings.TrainingSettings]) -> None:
    """Let rows of `runs` ask for a model, with settings at `steps.<name>`."""
    MODELS[name] = spec
    STEPS[name] = SECTIONS[name] = kind
    ALGORITHM[name] = 1
    RULES[name] = Resources()
    form.cache_clear()


@functools.cache
def form() -> type[Configuration]:
    """The form of a configuration, with the steps and rules of models that were added."""

    def group(name: str, base: type[BaseModel], words: str, kinds: Mapping[str, Any]) -> Any:
        fields: dict[str, Any] = {
            key: (kind, Field(default_factory=kind)) for key, kind in kinds.items()
        }
        return create_model(name, __base__=base, __doc__=words, **fields)

    steps = group("Steps", Form, "Settings of the steps.", STEPS)
    asked = "What the jobs of each rule ask a scheduler for; no job runs again because of it, and "
    asked += "--set-resources of Snakemake overrides it."
    jobs = {rule: Resources if rule in SHARED else Job for rule in RULES}
    added = {"steps": steps, "resources": group("RulesResources", Form, asked, jobs)}
    return group("Configuration", Configuration, Configuration.__doc__ or "", added)


def config_schema() -> dict[str, Any]:
    """The closed JSON schema of a configuration file, with a description for every key."""
    schema = {"title": "Configuration of spikebert", **json_schema(form())}
    meanings: dict[str, str] = {}  # of inherited keys; their own classes alone hold the words
    steps = settings.Stage1Settings, settings.Stage2Settings, settings.DistillSettings
    files = sets.Reading, sets.InPackage, sets.OnHub, sets.Bert
    for base in (*steps, settings.TrainingSettings, *files):
        for key, value in json_schema(base)["properties"].items():
            if "description" in value:
                meanings.setdefault(key, value["description"])
    for definition in schema["$defs"].values():
        for key, value in definition["properties"].items():
            if "$ref" not in value:
                value.setdefault("description", meanings.get(key))
    return schema


def read_config(config: Mapping[str, Any]) -> Configuration:
    """Check a configuration, and fill in what was left out.

    Raises:
        UserError: a name, type or range is wrong.
    """
    try:
        text = json.dumps(config, allow_nan=False, ensure_ascii=False)
        text.encode()  # half of a surrogate pair
        if r"\u0000" in text:
            raise ValueError("a NUL character, which no command can hold")
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
    full: Configuration = validate(form(), config, "the configuration")
    for name, spec in full.datasets.items():
        sets.check_task(name, spec)
        if name in full.unavailable:
            raise UserError(
                f"set {name}",
                expected="a place under datasets or under unavailable",
                got="both",
                fix="remove one",
            )
    return full


def settings_by_name() -> dict[str, tuple[str, str]]:
    """The section and the key of every setting, by its dotted name in a configuration."""
    return {
        dotted(section, field.name): (section, field.name)
        for section, kind in SECTIONS.items()
        for field in dataclasses.fields(kind)
    }


def dotted(section: str, key: str) -> str:
    """The name of a setting in the configuration."""
    return f"steps.{section}.{key}" if section in STEPS else f"{section}.{key}"


def _check_top_names(config: Mapping[str, Any]) -> None:
    """Refuse an unknown name at the top, and look for near ones at every depth."""
    top = Configuration.model_fields
    ends = {name: name.split(".")[-1] for name in (*top, *settings_by_name())}
    for name in config.keys() - top.keys():
        close = difflib.get_close_matches(str(name), ends.values(), 1)
        near = [place for place, end in ends.items() if end in close]
        raise UserError(
            f"unknown setting {name} in the configuration",
            expected=", ".join(top),
            got=name,
            fix=f"did you mean {' or '.join(near)}?" if near else "remove it",
        )


if __name__ == "__main__":
    print(json.dumps(config_schema(), indent=2, ensure_ascii=False))
