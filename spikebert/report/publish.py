"""A trained folder made ready for the hub: weights, configuration, tokenizer, record and card.

Every number of the card comes from a record, an account of energy or the statistics of a corpus;
what none of them says is said to be missing. Its words stand in model_card.md.j2. Nothing here
imports torch.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from .._version import __version__
from ..config.settings import ModelSettings
from ..data.corpus import STATS
from ..data.teachers import MODEL_FILES, WEIGHTS
from ..errors import UserError
from ..records.energy import EnergyRecord, read_energy
from ..records.metrics import summarise
from ..records.records import Record, read_records, write_record
from ..utils.files import atomic_folder, read_json, write_text
from . import accuracy_table, energy_table
from .pages import TEMPLATES

CARD = "README.md"
PROXY = "a stand-in, not the published set"
TYPES = ("spikebert", "bert")


@dataclass(frozen=True)
class Facts:
    """What a card is made from; `data` are the stats.json of corpora and unlabelled texts."""

    name: str
    config: Mapping[str, Any]
    parameters: int
    given: Sequence[Record]  # other models and seeds included
    energies: Sequence[EnergyRecord]
    data: Sequence[Mapping[str, Any]]
    base_model: str | None
    licence: str | None

    @property
    def spiking(self) -> bool:
        return bool(self.config["model_type"] == "spikebert")

    @property
    def labels(self) -> list[str]:
        return [
            name for _, name in sorted(self.config["id2label"].items(), key=lambda i: int(i[0]))
        ]

    @cached_property
    def record(self) -> Record | None:
        """That of these very weights: the one of their name, or the only one.

        Raises:
            UserError: there are others alone.
        """
        own = [record for record in self.given if record.id == self.name] or self.given
        if len(own) > 1:
            raise UserError(
                "--record",
                expected=f"one of the id {self.name}, beside others",
                got=", ".join(record.id for record in self.given),
                fix="add the record of the model, or keep the name of its folder",
            )
        return next(iter(own), None)

    @property
    def same_set(self) -> list[Record]:
        return [one for one in self.given if self.record and one.dataset == self.record.dataset]

    @property
    def peers(self) -> list[Record]:
        """The records of this model and variant, one for each seed."""
        own = (self.record.model, self.record.variant) if self.record else None
        return [one for one in self.same_set if (one.model, one.variant) == own]

    @property
    def account(self) -> EnergyRecord | None:
        """The account of this very model, which bears its folder's name or its record's."""
        names = {self.name, self.record.id if self.record else self.name}
        return next((energy for energy in self.energies if energy.id in names), None)

    @property
    def corpus(self) -> Mapping[str, Any] | None:
        """The statistics of the labelled set that the record was made on."""
        sets = [one for one in self.data if "labels" in one]
        if self.record is None:
            return sets[0] if len(sets) == 1 else None
        return next((one for one in sets if one["name"] == self.record.dataset), None)


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
    facts = Facts(
        model.resolve().name,
        read_config(model),
        count_parameters(model / WEIGHTS),
        read_records(records),
        [read_energy(path) for path in sorted(map(str, energies))],
        [read_stats(path) for path in data],
        base_model,
        licence,
    )
    check_belonging(facts)
    card = write_card(facts)
    with atomic_folder(out) as part:
        for name in MODEL_FILES:
            if (model / name).is_file():
                shutil.copyfile(model / name, part / name)
        if facts.record:
            write_record(part / "record.json", facts.record)
        write_text(part / CARD, card)
    return sorted(file.name for file in out.iterdir())


def read_config(model: Path) -> dict[str, Any]:
    """config.json of a trained classifier with all the files it needs."""
    names = {file.name for file in model.glob("*")}
    got = [f"no {name}" for name in ("config.json", WEIGHTS) if name not in names]
    got += [] if names & {"tokenizer.json", "vocab.txt"} else ["no tokenizer.json or vocab.txt"]
    try:
        config = dict(read_json(model / "config.json"))
        heads = [name for name in config["architectures"] if name.endswith("Classification")]
        fits = config["model_type"] in TYPES and heads and config["id2label"]
    except (ValueError, KeyError, TypeError):
        fits = False
    if got or not fits:
        raise UserError(
            f"model {model}",
            expected="model.safetensors, a tokenizer, and config.json of a classifier of type "
            f"{' or '.join(TYPES)}, with names of its classes",
            got=", ".join(got) or "another config.json",
            fix="name a student of stage 2, a directly trained one or a fine-tuned teacher, such "
            "as work/<run>/models/<id>",
        )
    return config


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


def read_stats(path: Path) -> dict[str, Any]:
    """stats.json of a corpus or an unlabelled text, or of the folder that holds it."""
    try:
        value = dict(read_json(path / STATS if path.is_dir() else path))
        kind = ("name", "analogue", "splits") if "labels" in value else ("rows",)
        missing = [key for key in ("language", "description", "files", *kind) if key not in value]
    except (ValueError, TypeError) as error:
        missing = [str(error)]
    if missing:
        raise UserError(
            f"--data {path}",
            expected="a folder made by `corpus` or `unlabelled`, or its stats.json",
            got=f"none, or one without {', '.join(missing)}",
            fix="name work/<run>/corpora/<set> or work/<run>/unlabelled/<language>",
        )
    return value


def check_belonging(facts: Facts) -> None:
    """Refuse a record, account or corpus of another model: a card would tell its numbers."""
    record, corpus = facts.record, facts.corpus
    if record:
        told = {f"model.{name}": value for name, value in record.settings.get("model", {}).items()}
        own = {f"model.{name}": value for name, value in facts.config.items()}
        told["parameters"], own["parameters"] = record.parameters, facts.parameters
        for name in ("parameters", *told):
            if name in own and own[name] != told[name]:
                raise UserError(
                    f"record {record.id} of {facts.name}",
                    expected=f"{name} {own[name]}, as in the folder",
                    got=told[name],
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


def write_card(facts: Facts) -> str:
    """The text of the card, its metadata read back by the hub's own class."""
    from huggingface_hub import ModelCard

    record, account, corpus = facts.record, facts.account, facts.corpus
    words = {"source": corpus["description"], "analogue": corpus["analogue"]} if corpus else {}
    notes = {corpus["name"]: words} if corpus else {}
    accuracies = accuracy_table.accuracy_table(facts.same_set, notes)
    beside = [one for one in facts.energies if account and one.dataset == account.dataset]
    energies = energy_table.energy_table(beside, notes)
    settings = record.settings if record else {}
    if facts.spiking and "model" not in settings:
        names = [field.name for field in dataclasses.fields(ModelSettings)]
        settings = {"model": {name: facts.config.get(name) for name in names}, **settings}
    text = TEMPLATES.get_template("model_card.md.j2").render(
        facts=facts,
        record=record,
        account=account,
        metadata=metadata(facts).to_yaml(),
        version=record.versions.get("spikebert", "of unknown version") if record else __version__,
        accuracy=accuracy_table.rendered(accuracies, notes).markdown().strip(),
        energy=energy_table.rendered(energies, notes).markdown().strip(),
        settings=json.dumps(settings, indent=1, ensure_ascii=False) if settings else "",
        proxy=PROXY,
    )
    ModelCard(text)
    return text


def metadata(facts: Facts) -> Any:
    """`ModelCardData`: what the hub filters and shows a model by; its results are the test score of
    these weights and, where there are more, the mean over seeds."""
    from huggingface_hub import EvalResult, ModelCardData

    record, peers = facts.record, facts.peers
    scores = {}
    if record:
        scores[f"test {record.metric}, seed {record.seed}"] = record.score
    if record and len(peers) > 1:
        mean = round(summarise([peer.score for peer in peers]).mean, 6)
        scores[f"test {record.metric}, mean of {len(peers)} seeds"] = mean
    proxy = f" ({PROXY})" if facts.corpus and facts.corpus["analogue"] else ""
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type=record.dataset,
            dataset_name=record.source + proxy,
            dataset_split="test",
            metric_type=record.metric,
            metric_name=name,
            metric_value=value,
        )
        for name, value in scores.items()
        if record
    ]
    sources = [file for one in facts.data for file in one["files"]]
    hub = sorted({file["repository"] for file in sources if file["source"] == "hub"})
    spiking = ["spiking-neural-network", "knowledge-distillation"] if facts.spiking else []
    licence: dict[str, Any] = {"license": facts.licence}
    if facts.licence is None:
        licence = {"license": "other", "license_name": "see-the-card", "license_link": CARD}
    return ModelCardData(
        model_name=facts.name,
        language=sorted({one["language"] for one in facts.data}) or None,
        library_name="spikebert" if facts.spiking else "transformers",
        pipeline_tag="text-classification",
        tags=["spikebert", *spiking],
        base_model=facts.base_model,
        datasets=hub or None,
        metrics=["accuracy"] if record else None,
        eval_results=results or None,
        **licence,
    )
