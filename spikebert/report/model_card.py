"""The model card of a trained folder: what it is, what it was trained on, and how far to trust it.

Every number comes from a record, an account of energy or the statistics of a corpus; what none of
them says is said to be missing. The words stand in model_card.md.j2. Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .._version import __version__
from ..config.settings import ModelSettings
from ..records.energy import EnergyRecord
from ..records.metrics import summarise
from ..records.records import Record
from . import accuracy_table, energy_table, filled
from .published import is_proxy

CARD = "README.md"
PAPER_SIZE = "12 blocks x 768"
PROXY = "a stand-in, not the published set"
KINDS = {
    "spikebert": "a spiking student, distilled from BERT on unlabelled text and then on the task",
    "stage2_only": "a spiking student, distilled from a fine-tuned BERT on the task alone",
    "direct": "a spiking student, trained on the labels alone",
    "teacher": "a BERT, fine-tuned as the teacher of spiking students",
}


@dataclass(frozen=True)
class Facts:
    """What a card is made from; `data` are the stats.json of corpora and unlabelled texts."""

    name: str
    config: dict[str, Any]
    parameters: int
    record: Record | None = None  # of these very weights
    records: Sequence[Record] = ()  # of the same set, other models and seeds included
    energies: Sequence[EnergyRecord] = ()
    data: Sequence[dict[str, Any]] = ()
    base_model: str | None = None
    licence: str | None = None
    labels: list[str] = field(default_factory=list)

    @property
    def spiking(self) -> bool:
        return bool(self.config["model_type"] == "spikebert")

    @property
    def size(self) -> str:
        return f"{self.config['num_hidden_layers']} blocks x {self.config['hidden_size']}"

    @property
    def account(self) -> EnergyRecord | None:
        """The account of this very model, which bears its folder's name or its record's."""
        names = {self.name, self.record.id if self.record else self.name}
        return next((energy for energy in self.energies if energy.id in names), None)

    @property
    def corpus(self) -> dict[str, Any] | None:
        """The statistics of the labelled set that the record was made on."""
        sets = [one for one in self.data if "labels" in one]
        if self.record is None:
            return sets[0] if len(sets) == 1 else None
        return next((one for one in sets if one["name"] == self.record.dataset), None)

    @property
    def notes(self) -> dict[str, dict[str, Any]]:
        """What the tables say of the set."""
        if self.corpus is None:
            return {}
        words = {"source": self.corpus["description"], "analogue": self.corpus["analogue"]}
        return {self.corpus["name"]: words}

    @property
    def is_proxy(self) -> bool:
        """Whether its set stands for a published one."""
        return any(is_proxy(self.notes, name) for name in self.notes)

    @property
    def peers(self) -> list[Record]:
        """The records of this model and variant, one for each seed."""
        own = self.record
        same = (own.model, own.variant) if own else None
        return [record for record in self.records if (record.model, record.variant) == same]

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the record; of a student without one those of its model."""
        values = self.record.settings if self.record else {}
        if self.spiking and "model" not in values:
            names = [f.name for f in dataclasses.fields(ModelSettings)]
            values = {"model": {name: self.config.get(name) for name in names}, **values}
        return values


def write_card(facts: Facts) -> str:
    """The text of the card, its metadata read back by the hub's own class."""
    from huggingface_hub import ModelCard

    record, account = facts.record, facts.account
    accuracies = accuracy_table.accuracy_table(facts.records, facts.notes)
    same_set = [one for one in facts.energies if account and one.dataset == account.dataset]
    energies = energy_table.energy_table(same_set, facts.notes)
    text = filled(
        "model_card.md.j2",
        facts=facts,
        metadata=metadata(facts).to_yaml(),
        record=record,
        kind=KINDS.get(record.model if record else "", "a classifier of sentences"),
        version=record.versions.get("spikebert", "of unknown version") if record else __version__,
        accuracy=accuracy_table.rendered(accuracies, facts.notes).markdown().strip(),
        account=account,
        energy=energy_table.rendered(energies, facts.notes).markdown().strip(),
        settings=json.dumps(facts.settings, indent=1, ensure_ascii=False) if facts.settings else "",
        paper_size=PAPER_SIZE,
        proxy=PROXY,
        source=_source,
    )
    ModelCard(text)
    return text


def metadata(facts: Facts) -> Any:
    """`ModelCardData`: what the hub filters and shows a model by."""
    from huggingface_hub import ModelCardData

    told = facts.licence is not None
    sources = [file for one in facts.data for file in one["files"]]
    hub = sorted({file["repository"] for file in sources if file["source"] == "hub"})
    languages = sorted({one["language"] for one in facts.data})
    spiking = ["spiking-neural-network", "knowledge-distillation"] if facts.spiking else []
    return ModelCardData(
        model_name=facts.name,
        language=languages or None,
        library_name="spikebert" if facts.spiking else "transformers",
        pipeline_tag="text-classification",
        tags=["spikebert", *spiking],
        base_model=facts.base_model,
        datasets=hub or None,
        metrics=["accuracy"] if facts.record else None,
        eval_results=results(facts) or None,
        license=facts.licence if told else "other",
        license_name=None if told else "see-the-card",
        license_link=None if told else CARD,
    )


def results(facts: Facts) -> list[Any]:
    """The model-index: test accuracy of these weights and, where there are more, over seeds."""
    from huggingface_hub import EvalResult

    record, peers = facts.record, facts.peers
    if record is None:
        return []
    values = {f"test {record.metric}, seed {record.seed}": record.score}
    if len(peers) > 1:
        mean = summarise([peer.score for peer in peers]).mean
        values[f"test {record.metric}, mean of {len(peers)} seeds"] = round(mean, 6)
    return [
        EvalResult(
            task_type="text-classification",
            dataset_type=record.dataset,
            dataset_name=record.source + f" ({PROXY})" * facts.is_proxy,
            dataset_split="test",
            metric_type=record.metric,
            metric_name=name,
            metric_value=value,
        )
        for name, value in values.items()
    ]


def _source(file: dict[str, Any]) -> str:
    """One file that rows were read from, pinned as it was."""
    place = file.get("package") or file.get("repository") or ""
    pin = file.get("commit") or file.get("revision")
    parts = [f"{file['source']} {place}".strip()]
    parts += [f"at `{pin}`"] if pin else []
    parts += [f"`{file['path']}`"] if "path" in file and file["source"] != "file" else []
    parts += [f"split {file['hub_split']}"] if "hub_split" in file else []
    parts += [f"SHA-256 `{file['sha256']}`"] if file.get("sha256") else []
    parts += [f"`{name}` SHA-256 `{sha}`" for name, sha in file.get("data_files", {}).items()]
    return ", ".join(parts)
