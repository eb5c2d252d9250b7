"""A tiny corpus and the teachers that the tests of training need."""

import json

import torch
from transformers import BertTokenizer

from spikebert import SpikeBertConfig, SpikeBertForSequenceClassification
from spikebert.config.plan import Run
from spikebert.config.settings import FineTuneSettings, ModelSettings, PretrainSettings
from spikebert.training.steps.common import Outputs
from spikebert.training.steps.direct import finetune
from spikebert.training.steps.pretrain import pretrain
from spikebert.utils.files import write_json

GOOD = ["a", "warm", "and", "funny", "film", ",", "full", "of", "wit", "and", "grace"]
BAD = ["a", "dull", "and", "clumsy", "film", ",", "empty", "of", "wit", "or", "sense"]
MODEL = ModelSettings(hidden_size=26, num_hidden_layers=2, num_attention_heads=2, timesteps=2)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "warm", "dull", "film"]
QUICK = {"batch_size": 8, "max_length": 16, "compile": False, "precision": "fp32"}


def sentences(count, seed):
    generator = torch.Generator().manual_seed(seed)
    for i in range(count):
        words = (BAD, GOOD)[i % 2]
        order = torch.randperm(len(words), generator=generator)[:7].tolist()
        yield {
            "id": f"{seed:08x}{i:08x}",
            "text": " ".join(words[k] for k in order),
            "label": i % 2,
        }


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def run(model, dataset="toy", **fields):
    """A run as the steps take it; its settings are those that a test gives them."""
    fields = {"source": "toy sentences", "variant": "base", "seed": 1, "settings": {}} | fields
    return Run(dataset=dataset, language="en", model=model, **fields)


def student(**settings):
    """A spiking classifier of WORDS at random."""
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = SpikeBertConfig(vocab_size=len(WORDS), **shape | settings)
    return SpikeBertForSequenceClassification(config).eval()


def save_student(folder):
    """Its folder, with a tokenizer."""
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer(str(folder / "vocab.txt"), model_max_length=512).save_pretrained(folder)
    student().save_pretrained(folder)
    return folder


def outputs(root, name):
    return Outputs(
        root / "checkpoints" / name, root / name, root / f"{name}.json", root / f"{name}.csv"
    )


def make_work(root):
    """A corpus, its text, a pre-trained BERT and a fine-tuned teacher, all tiny, in `root`."""
    for seed, (split, count) in enumerate({"train": 48, "dev": 16, "test": 20}.items(), 1):
        write_rows(root / "corpus" / f"{split}.jsonl", sentences(count, seed))
    write_json(root / "corpus" / "stats.json", {"labels": ["negative", "positive"]})
    text = [{"id": r["id"], "text": r["text"]} for r in sentences(48, 9)]
    write_rows(root / "text.jsonl", text)
    rows = list(sentences(48, 1))
    write_rows(root / "augmented.jsonl", rows + [r | {"label": None} for r in sentences(16, 7)])
    pretrain(
        PretrainSettings(
            hidden_size=16, num_hidden_layers=3, num_attention_heads=2, vocab_size=120, epochs=1,
            **QUICK,
        ),
        root / "text.jsonl", root / "checkpoints" / "pretrain", root / "base",
    )  # fmt: skip
    finetune(
        FineTuneSettings(epochs=6, learning_rate=3e-3, evaluations=3, **QUICK),
        root / "corpus", root / "base", run("teacher"), outputs(root, "teacher"),
    )  # fmt: skip
    return root
