"""The model card of a trained folder: what it is, what it was trained on, and how far to trust it.

Every number comes from a record, an account of energy or the statistics of a corpus; what none of
them says is said to be missing. Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .._version import __version__
from ..config.settings import ModelSettings
from ..records.energy import DENSE, EnergyRecord
from ..records.metrics import summarise
from ..records.records import Record
from . import accuracy_table, energy_table

CARD = "README.md"
PAPER_SIZE = "12 blocks x 768"
STAND_IN = "a stand-in, not the published set"
CITATION = """@article{lv2026spikebert,
  title   = {{SpikeBERT}: A Language Spikformer Learned from {BERT} with Knowledge Distillation},
  author  = {Lv, Changze and Li, Tianlong and Xu, Jianhan and Gu, Chenxi and Ling, Zixuan and
             Zhang, Cenyuan and Zheng, Xiaoqing and Huang, Xuanjing},
  journal = {Neural Networks},
  volume  = {197},
  pages   = {108482},
  year    = {2026},
  doi     = {10.1016/j.neunet.2025.108482}
}"""
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
    def analogues(self) -> set[str]:
        return {name for name, note in self.notes.items() if note["analogue"]}


def write_card(facts: Facts) -> str:
    """The text of the card, its metadata read back by the hub's own class."""
    from huggingface_hub import ModelCard

    sections = {
        "How to load": loading(facts),
        "Accuracy": accuracy(facts),
        "Energy": energy(facts),
        "Data": data(facts),
        "Settings": settings(facts),
        "Limits": limits(facts),
        "Licence": licence(facts),
        "Citation": f"```bibtex\n{CITATION}\n```",
    }
    body = "\n\n".join(f"## {title}\n{text.strip()}" for title, text in sections.items() if text)
    text = f"---\n{metadata(facts).to_yaml()}\n---\n\n# {facts.name}\n{opening(facts)}\n\n{body}\n"
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

    record = facts.record
    if record is None:
        return []
    peers = of_same_name(facts)
    values = {f"test {record.metric}, seed {record.seed}": record.score}
    if len(peers) > 1:
        mean = summarise([peer.score for peer in peers]).mean
        values[f"test {record.metric}, mean of {len(peers)} seeds"] = round(mean, 6)
    stand_in = f" ({STAND_IN})" if facts.analogues else ""
    return [
        EvalResult(
            task_type="text-classification",
            dataset_type=record.dataset,
            dataset_name=record.source + stand_in,
            dataset_split="test",
            metric_type=record.metric,
            metric_name=name,
            metric_value=value,
        )
        for name, value in values.items()
    ]


def of_same_name(facts: Facts) -> list[Record]:
    """The records of this model and variant, one for each seed."""
    own = facts.record
    assert own is not None
    return [r for r in facts.records if (r.model, r.variant) == (own.model, own.variant)]


def opening(facts: Facts) -> str:
    record = facts.record
    kind = KINDS.get(record.model if record else "", "a classifier of sentences")
    version = record.versions.get("spikebert", "of unknown version") if record else __version__
    lines = [
        f"This is {kind}, made by `spikebert` {version}, a reproduction of "
        "[SpikeBERT](https://arxiv.org/abs/2308.15122)."
    ]
    if facts.spiking:
        lines.append(f"It has {facts.size}, {facts.config['timesteps']} time steps and")
    else:
        lines.append("It has")
    lines.append(f"{facts.parameters:,} parameters, and tells {', '.join(facts.labels)} apart.")
    if record:
        teacher = record.upstream.get("teacher")
        lines.append(f"Its teacher was the run `{teacher}`." if teacher else "")
        lines.append(f"Commit of the source: `{record.commit or 'not stated'}`.")
    return " ".join(filter(None, lines))


def loading(facts: Facts) -> str:
    first = (
        "import spikebert  # the Auto classes now know the model type\n" if facts.spiking else ""
    )
    neuron = facts.config.get("neuron", "lif")
    need = "`transformers` alone does not know this model: it needs the package `spikebert`"
    need += f", with a neuron `{neuron}`.\n\n" if neuron != "lif" else ".\n\n"
    return f"""{need if facts.spiking else ""}```python
{first}from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "."  # this folder, or the name of its repository
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
inputs = tokenizer("a warm and funny film", return_tensors="pt", return_token_type_ids=False)
print(model.config.id2label[int(model(**inputs).logits.argmax())])
```"""


def accuracy(facts: Facts) -> str:
    record = facts.record
    if record is None:
        return "Not stated: no record was given."
    of = "of" if record.metric == "accuracy" else f"({record.metric}) on"
    about = (
        f"These weights (seed {record.seed}): {100 * record.score:.2f} % {of} "
        f"{record.n_test} test rows, {100 * record.score_dev:.2f} % {of} {record.n_dev} dev rows, "
        f"by which they were chosen. Trained on {record.n_train} rows."
    )
    unknown = ""
    if facts.corpus is None:
        unknown = (
            "Whether the rows are the published set or a stand-in is not stated here, so no "
            "comparison with published figures holds."
        )
    table = accuracy_table.rendered(
        accuracy_table.accuracy_table(facts.records, facts.notes), facts.notes
    ).markdown()
    return "\n\n".join(filter(None, [about, unknown, table]))


def energy(facts: Facts) -> str:
    own = facts.account
    if own is None:
        return "Not stated: no account of energy was given."
    line = "; ".join(
        f"{account.real.energy_pj / 1e6:.4g} microjoules ({name})"
        for name, account in own.accounts.items()
    )
    kinds = "convention" if DENSE in own.accounts else "conventions, which differ by design"
    about = (
        f"A sentence of the {own.split} split costs {line}, mean of {own.samples}, under the "
        f"{kinds}. Operations and spikes are counted, at 45 nm; nothing was measured on hardware."
    )
    energies = [one for one in facts.energies if one.dataset == own.dataset]
    table = energy_table.rendered(energy_table.energy_table(energies, facts.notes), facts.notes)
    return f"{about}\n\n{table.markdown()}"


def data(facts: Facts) -> str:
    if not facts.data:
        return "Not stated: no statistics of a corpus were given."
    return "\n\n".join(_described(one) for one in facts.data)


def _described(one: dict[str, Any]) -> str:
    labelled = "labels" in one
    name = one["name"] if labelled else f"unlabelled text ({one['language']})"
    size = (
        ", ".join(f"{split} {part['rows']}" for split, part in one["splits"].items())
        if labelled
        else f"{one['rows']} sentences"
    )
    stand_in = f" **This is {STAND_IN}.**" if one.get("analogue") else ""
    terms = one.get("licence") or "not stated"
    lines = [f"**{name}**: {one['description']}.{stand_in} Rows: {size}. Licence: {terms}."]
    return "\n".join([*lines, "", *(f"- {_source(file)}" for file in one["files"])])


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


def settings(facts: Facts) -> str:
    values = facts.record.settings if facts.record else {}
    if facts.spiking and "model" not in values:
        names = [f.name for f in dataclasses.fields(ModelSettings)]
        values = {"model": {name: facts.config.get(name) for name in names}, **values}
    if not values:
        return "Not stated: no record was given."
    text = json.dumps(values, indent=1, ensure_ascii=False)
    known = facts.record
    versions = (known and ", ".join(f"{k} {v}" for k, v in known.versions.items())) or "not stated"
    made = f"Versions: {versions}. Hardware: {(known and known.hardware) or 'not stated'}."
    return f"```json\n{text}\n```\n\n{made}"


def limits(facts: Facts) -> str:
    lines = []
    if facts.spiking:
        if facts.size != PAPER_SIZE:
            lines.append(
                f"The model has {facts.size}, the paper's {PAPER_SIZE}: orders of rows can be "
                "compared, figures cannot."
            )
        lines.append(
            "Energy is saved on hardware that skips zeros; on a processor or GPU the time steps "
            "make the model slower than a dense network of its size."
        )
    if facts.analogues:
        lines.append(f"Its set is {STAND_IN}.")
    if facts.record and len(of_same_name(facts)) < 2:
        lines.append("One seed alone stands behind its figures.")
    lines.append(
        "It knows the kind of text it was trained on; on other text its labels are guesses. Its "
        "probabilities are not calibrated."
    )
    return "\n".join(f"- {line}" for line in lines)


def licence(facts: Facts) -> str:
    chosen = (
        "No licence was given for the weights: whoever publishes them chooses one, after a look at "
        "the terms of the data above."
    )
    if facts.licence:
        chosen = f"Weights: {facts.licence}."
    return f"{chosen} The software is Apache-2.0. The data keep their own terms."
