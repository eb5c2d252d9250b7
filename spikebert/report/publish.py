"""A trained folder made ready for the hub: weights, configuration, tokenizer, card and record."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

from ..data.teachers import MODEL_FILES, WEIGHTS
from ..errors import UserError
from ..records.energy import read_energy
from ..records.records import Record, read_records, write_record
from ..utils.files import atomic_folder, write_text
from .model_card import CARD, Facts, write_card

RECORD = "record.json"
TYPES = ("spikebert", "bert")


def publish(
    model: Path,
    out: Path,
    records: Sequence[Path] = (),
    energies: Sequence[Path] = (),
    data: Sequence[Path] = (),
    base_model: str | None = None,
    licence: str | None = None,
) -> list[str]:
    """Write the folder `out`, whole or not at all; the names of its files.

    Weights, configuration and tokenizer are the same bytes as in `model`.

    Raises:
        UserError: `model` is not a trained classifier, `out` holds something, or a record, account
            or statistic does not belong to the model.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(
            f"folder {out}",
            expected="a new or empty one",
            got="one that holds something",
            fix="remove it, or name another",
        )
    facts = gather(model, records, energies, data, base_model, licence)
    card = write_card(facts)
    with atomic_folder(out) as part:
        for name in MODEL_FILES:
            if (model / name).is_file():
                shutil.copyfile(model / name, part / name)
        if facts.record:
            write_record(part / RECORD, facts.record)
        write_text(part / CARD, card)
    return sorted(file.name for file in out.iterdir())


def gather(
    model: Path,
    records: Sequence[Path],
    energies: Sequence[Path],
    data: Sequence[Path],
    base_model: str | None = None,
    licence: str | None = None,
) -> Facts:
    """Read what a card needs, and check that it belongs together."""
    config = read_config(model)
    found = read_records(records)
    own = own_record(model, found)
    facts = Facts(
        name=model.resolve().name,
        config=config,
        parameters=count_parameters(model / WEIGHTS),
        record=own,
        records=[record for record in found if own and record.dataset == own.dataset],
        energies=[read_energy(path) for path in sorted(map(str, energies))],
        data=[read_stats(path) for path in data],
        base_model=base_model,
        licence=licence,
        labels=[config["id2label"][key] for key in sorted(config["id2label"], key=int)],
    )
    check_belonging(facts)
    return facts


def read_config(model: Path) -> dict[str, Any]:
    """config.json of a trained classifier with all the files it needs."""
    missing = [name for name in ("config.json", WEIGHTS) if not (model / name).is_file()]
    if not any((model / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        missing.append("tokenizer.json or vocab.txt")
    if missing:
        raise UserError(
            f"model {model}",
            expected="a folder with config.json, model.safetensors and a tokenizer",
            got=f"no {', no '.join(missing)}",
            fix="name a trained model, such as work/<run>/models/<id>",
        )
    try:
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        heads = [name for name in config["architectures"] if name.endswith("Classification")]
        fits = config["model_type"] in TYPES and bool(heads) and bool(config["id2label"])
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise UserError(
            f"model {model}",
            expected="a classifier of type " + " or ".join(TYPES) + ", with names of its classes",
            got="another config.json",
            fix="name a student of stage 2, a directly trained one or a fine-tuned teacher",
        )
    return dict(config)


def count_parameters(file: Path) -> int:
    """Numbers in a safetensors file, by its header."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            return sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"weights {file}", expected="safetensors", got=error, fix="train the model again"
        ) from None


def own_record(model: Path, records: Sequence[Record]) -> Record | None:
    """The record of this model: that of its name, or the only one."""
    name = model.resolve().name
    own = [record for record in records if record.id == name] or list(records)
    if len(own) > 1:
        raise UserError(
            "--record",
            expected=f"one of the id {name}, beside others",
            got=", ".join(record.id for record in records),
            fix="add the record of the model, or keep the name of its folder",
        )
    return own[0] if own else None


def read_stats(path: Path) -> dict[str, Any]:
    """stats.json of a corpus or an unlabelled text, or of the folder that holds it."""
    file = path / "stats.json" if path.is_dir() else path
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        kind = ("name", "analogue", "splits") if "labels" in value else ("rows",)
        missing = [key for key in ("language", "description", "files", *kind) if key not in value]
    except (OSError, ValueError, TypeError) as error:
        missing = [str(error)]
    if missing:
        raise UserError(
            f"--data {path}",
            expected="a folder made by `corpus` or `unlabelled`, or its stats.json",
            got=f"none, or one without {', '.join(missing)}",
            fix="name work/<run>/corpora/<set> or work/<run>/unlabelled/<language>",
        )
    return dict(value)


def check_belonging(facts: Facts) -> None:
    """Refuse a record, account or corpus of another model: a card would tell its numbers."""
    record, corpus = facts.record, facts.corpus
    if record:
        own = {
            "parameters": (record.parameters, facts.parameters),
            **{
                f"model.{name}": (value, facts.config[name])
                for name, value in record.settings.get("model", {}).items()
                if name in facts.config
            },
        }
        if other := {name: pair for name, pair in own.items() if pair[0] != pair[1]}:
            name, (expected, got) = next(iter(other.items()))
            raise UserError(
                f"record {record.id} of {facts.name}",
                expected=f"{name} {got}, as in the folder",
                got=expected,
                fix="give the record that was written with the model",
            )
    if corpus and corpus["labels"] != facts.labels:
        raise UserError(
            f"corpus {corpus['name']} of {facts.name}",
            expected=f"the classes {', '.join(facts.labels)}",
            got=", ".join(corpus["labels"]),
            fix="give the corpus that the model was trained on",
        )
    if facts.energies and facts.account is None:
        raise UserError(
            "--energy",
            expected=f"an account of {facts.name}, beside others",
            got=", ".join(energy.id for energy in facts.energies),
            fix="add the account of the model",
        )


def token_of(variable: str) -> str:
    """The hub's token in an environment variable."""
    token = os.environ.get(variable)
    if not token:
        raise UserError(
            "--push",
            expected=f"a token with leave to write, in the variable {variable}",
            got="no such variable",
            fix=f"make one on the hub and export {variable}",
        )
    return token
