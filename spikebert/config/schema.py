"""The configuration file: its closed JSON schema, its defaults, and how it is read.

Words used: a *section* is `model`, `augment` or the name of a step; a *variant* is `base` or the
name of changed settings. `python -m spikebert.schema` prints the schema.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import UserError
from ..utils.strict_json import parse_json
from .registry import BASE, COMPRESSED, LANGUAGES, MODELS
from .registry import DISTILLED as DISTILLED
from .resources import resources_schema
from .settings import (
    CHECKPOINT_MINUTES,
    LARGEST_SEED,
    STEPS,
    AugmentSettings,
    ModelSettings,
    check,
    schema_of,
)
from .specs import COMPRESSED_SCHEMA, CORPUS_SCHEMA, TEACHER_SCHEMA, UNLABELLED_SCHEMA
from .tasks import check_task

SECTIONS: dict[str, type] = {"model": ModelSettings, "augment": AugmentSettings, **STEPS}

DEFAULTS: dict[str, Any] = {
    "work": "work",
    "mirror": None,
    "threads": 1,
    "gpu": 0,
    "retries": 1,
    "resources": {},
    "checkpoints": None,
    "teacher_cache_gib": 0,
    "checkpoint_minutes": CHECKPOINT_MINUTES,
    "energy_sentences": None,
    "unlabelled": {},
    "teachers": {},
    "compressed": {},
    "unavailable": {},
    "model": {},
    "augment": {},
    "steps": {},
}

# Names become files and folders, and several of them one name: results/<run>/records/<set>.<model>.
# <variant>.s<seed>.json. The first names are devices on Windows, where a clone would fail.
_NAME = {
    "type": "string",
    "pattern": "^(?!(con|prn|aux|nul|com[0-9]|lpt[0-9])$)[a-z0-9][a-z0-9_-]*$",
    "maxLength": 64,
}
_VARIANT = {"type": "string", "pattern": r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$", "maxLength": 64}


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
            "seeds": _several(
                {"type": "integer", "minimum": 0, "maximum": LARGEST_SEED}, "one run for each"
            ),
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
                "pattern": r"^[^-{}<>\\\x00-\x1f][^{}<>\\\x00-\x1f]*$",
                "maxLength": 1000,
                "description": "folder of all that is not published: corpora, weights, logs; "
                "not below results",
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
            "retries": {
                "type": "integer",
                "minimum": 0,
                "description": "how often a training job that ended early is started again; it "
                "goes on from its checkpoint",
            },
            "resources": resources_schema(),
            "checkpoints": {
                "type": ["string", "null"],
                "minLength": 1,
                "description": "folder of the checkpoints, where it is not below work; on a "
                "cluster without a shared file system, a mounted volume",
            },
            "teacher_cache_gib": {
                "type": "number",
                "minimum": 0,
                "description": "disk for the tokens of texts and the hidden states of teachers, "
                "which all runs on the same text then share; 0 asks the teacher anew in every run",
            },
            "checkpoint_minutes": {
                "type": "number",
                "minimum": 0,
                "description": "longest time between two checkpoints of a training job, beside "
                "those of its evaluations; 0 writes one after every update",
            },
            "energy_sentences": {
                "type": ["integer", "null"],
                "minimum": 1,
                "description": "test rows that the energy account runs, the first in the order of "
                "hashes, one at a time; null runs all of them",
            },
            "datasets": _mapping(
                _NAME, CORPUS_SCHEMA, "labelled sets; their order is that of the tables"
            ),
            "unavailable": _mapping(
                _NAME,
                {"type": "string", "minLength": 1},
                "sets of the paper, compressed models or (glue) all of GLUE that this run lacks, "
                "and why; the tables say so",
            ),
            "unlabelled": _mapping(languages, UNLABELLED_SCHEMA, "text of stage 1 by language"),
            "teachers": _mapping(languages, TEACHER_SCHEMA, "pre-trained BERT by language"),
            "compressed": _mapping(
                {"enum": list(COMPRESSED)},
                COMPRESSED_SCHEMA,
                "checkpoints of the compressed BERTs that a row of runs may ask for",
            ),
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
    schema = config_schema()
    _check_top_names(config, schema)
    values = _read_numbers(config)
    check(values, schema, "the configuration")
    full = {**DEFAULTS, **values}
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


def _check_top_names(config: Mapping[str, Any], schema: dict[str, Any]) -> None:
    """Refuse an unknown name at the top, and look for near ones at every depth."""
    known = [*schema["properties"], *(key for section in SECTIONS for key in kinds_of(section))]
    for name in config:
        if name in schema["properties"]:
            continue
        near = difflib.get_close_matches(name, known, 1)
        homes = [
            dotted(section, near[0])
            for section in SECTIONS
            if near and near[0] in kinds_of(section)
        ]
        raise UserError(
            f"unknown setting {name} in the configuration",
            expected=", ".join(schema["properties"]),
            got=name,
            fix=f"did you mean {' or '.join(homes or near)}?" if near else "remove it",
        )


def _read_numbers(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the numbers among the settings that came as text.

    YAML takes 1e-4 for text, and Snakemake every value inside `--config model='{beta: 0.8}'`.
    """

    def read(section: str, values: Any) -> Any:
        if section not in SECTIONS or not isinstance(values, Mapping):
            return values
        return {name: from_text(section, name, value) for name, value in values.items()}

    config = {name: read(name, value) for name, value in config.items()}
    if isinstance(config.get("steps"), Mapping):
        config["steps"] = {name: read(name, value) for name, value in config["steps"].items()}
    return config


def from_text(section: str, name: str, value: Any) -> Any:
    """The value of a setting; text becomes a number where the setting is one, 3.0 becomes 3."""
    if isinstance(value, list):
        return [from_text(section, name, item) for item in value]
    kind = kinds_of(section).get(name, "str")
    if isinstance(value, str) and kind != "str":
        try:
            value = parse_json(value)
        except ValueError:
            return value
    return int(value) if kind == "int" and _is_whole(value) else value


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()


def dotted(section: str, key: str) -> str:
    """The name of a setting in the configuration."""
    return f"steps.{section}.{key}" if section in STEPS else f"{section}.{key}"


def kinds_of(section: str) -> dict[str, str]:
    """The types of a section's settings, as they are written in its class."""
    return {f.name: str(f.type) for f in dataclasses.fields(SECTIONS[section])}


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
                near = difflib.get_close_matches(name, datasets, 1)
                raise UserError(
                    f"set {name} in {where}",
                    expected=f"one of {', '.join(datasets)}",
                    got=name,
                    fix=f"did you mean {near[0]}?" if near else "add it under datasets",
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
