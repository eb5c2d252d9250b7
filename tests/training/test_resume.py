"""Resume is exact: taken up after any update, training ends with the bits of one never stopped."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from faults import FILMS, comparable, run
from torch import nn
from transformers import DataCollatorForLanguageModeling

from spikebert.config.settings import TrainingSettings
from spikebert.data.corpus import write_rows
from spikebert.training.checkpoints import MINUTES_VARIABLE, Checkpoints, checkpoint_folder
from spikebert.training.loop import fit
from spikebert.training.steps.pretrain import train_tokenizer
from spikebert.training.tokenization import Stream, collator

WORDS = 30
# 5 updates an epoch, 13 in all: every checkpoint but two stands within an epoch, and lines of the
# log (every second update) and evaluations (every fourth) fall beside one another.
SETTINGS = TrainingSettings(
    epochs=2.6, batch_size=4, learning_rate=0.05, evaluations=4, precision="fp32", compile=False
)


def rows(count, seed):
    """Sentences of unequal length; the label says whether small words are more frequent."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        length = int(torch.randint(2, 12, (), generator=generator))
        ids = torch.randint(1, WORDS, (length,), generator=generator).tolist()
        label = int(sum(ids) / length < WORDS / 2)
        made.append({"input_ids": ids, "attention_mask": [1] * length, "labels": label})
    return made


def collate(examples):
    longest = max(len(row["input_ids"]) for row in examples)
    batch = {
        name: torch.tensor([row[name] + [0] * (longest - len(row[name])) for row in examples])
        for name in ("input_ids", "attention_mask")
    }
    return batch | {"labels": torch.tensor([row["labels"] for row in examples])}


class Small(nn.Module):
    """A bag of words with dropout, so that the generator matters at every update."""

    def __init__(self, words=WORDS, classes=2):
        super().__init__()
        self.words, self.out = nn.Embedding(words, 8), nn.Linear(8, classes)

    def forward(self, input_ids, attention_mask, labels):
        states = nn.functional.dropout(self.words(input_ids), 0.3, self.training)
        mask = attention_mask.unsqueeze(-1)
        logits = self.out((states * mask).sum(1) / mask.sum(1))
        loss = nn.functional.cross_entropy(logits, labels)
        named = {"loss_twice": 2 * loss} if self.training else {}
        return {"loss": loss, "logits": logits, **named}


class Masked(Small):
    """Says a word for every token, and learns from those that were masked."""

    def forward(self, input_ids, attention_mask, labels):  # noqa: ARG002
        logits = self.out(nn.functional.dropout(self.words(input_ids), 0.3, self.training))
        return {"loss": nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())}


class Streamed(Small):
    """Learns from text that brings no label."""

    def forward(self, input_ids, attention_mask, counted):
        assert counted.all()
        return super().forward(input_ids, attention_mask, input_ids[:, 1] % 2)


def streamed():
    folder = Path(tempfile.mkdtemp())
    sentences = film_sentences()
    tokenizer = train_tokenizer(sentences, 120)
    write_rows(folder / "text.jsonl", [{"id": str(i), "text": t} for i, t in enumerate(sentences)])
    stream = Stream(folder / "text.jsonl", tokenizer, 12, window=9, batch_size=4)
    assert (len(stream), stream.window) == (20, 8)
    return lambda: Streamed(len(tokenizer)), stream, None, lambda: collator(tokenizer)


def film_sentences():
    return [line.split("\t")[0] for line in FILMS.read_text("utf-8").splitlines()[1:21]]


def masked():
    sentences = film_sentences()
    tokenizer = train_tokenizer(sentences, 120)
    examples = [
        {"input_ids": ids, "attention_mask": [1] * len(ids)}
        for ids in tokenizer(sentences)["input_ids"]
    ]
    classes = len(tokenizer)

    def masking():
        return DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.4, seed=3)

    return lambda: Masked(classes, classes), examples, None, masking


KINDS = {
    "selected on dev": lambda: (Small, rows(20, 1), rows(10, 2), lambda: collate),
    "without dev": lambda: (Small, rows(20, 1), None, lambda: collate),
    "masked words": masked,
    "streamed": streamed,
}


def trained(kind, store):
    make, train, dev, join = kind
    torch.manual_seed(7)
    model = make()
    fitted = fit(model, train, dev, join(), SETTINGS, 7, store)
    about = {"steps": fitted.steps, "tokens": fitted.tokens, "history": fitted.history}
    return model.state_dict(), comparable(about)


def resumed(kind, checkpoints, root):
    """Trained from a copy of these checkpoints."""
    with checkpoint_folder(root, {}) as store:
        shutil.rmtree(store.folder)
        shutil.copytree(checkpoints, store.folder)
        return trained(kind, store)


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A checkpoint after every update, and a copy of the folder after each, until it is undone."""
    prune, moments = Checkpoints.prune, tmp_path / "moments"

    def prune_and_copy(self):
        prune(self)
        shutil.copytree(self.folder, moments / str(self.steps()[0]), dirs_exist_ok=True)

    monkeypatch.setenv(MINUTES_VARIABLE, "0")
    monkeypatch.setattr(Checkpoints, "prune", prune_and_copy)
    return moments


@pytest.mark.parametrize("name", KINDS)
def test_after_any_update_it_goes_on_to_the_same_bits(name, tmp_path, copied, monkeypatch):
    """From the checkpoints as they stand after each update, the last one included."""
    kind = KINDS[name]()
    with checkpoint_folder(tmp_path / "copied", {}) as store:
        weights, found = trained(kind, store)
    assert len(list(copied.iterdir())) == 13
    # Killed again: the second process, too, writes what a third can go on from.
    resumed(kind, copied / "5", tmp_path / "again")

    monkeypatch.undo()
    with checkpoint_folder(tmp_path / "whole", {}) as store:
        expected, about = trained(kind, store)
    assert about["steps"] == 13
    assert_same(weights, expected)  # how often it writes changes nothing
    assert found == about
    for step in range(1, 14):
        weights, found = resumed(kind, copied / str(step), tmp_path / f"from-{step}")
        assert_same(weights, expected)
        assert found == about, step


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.slow
def test_steps_killed_at_random_moments_make_the_same_files(tmp_path):
    """`make test-faults` kills more often, and every case."""
    names = ("pretrain", "finetune", "stage1", "stage2", "direct")
    assert run(tmp_path, kills=5, seed=1, rows=64, names=names) == 5


def test_a_vocabulary_is_the_same_every_time():
    """The library's own differs: it breaks ties in the order of a hash with a random key."""
    text = [f"{a}{b}{c}" for a in "abcdefgh" for b in "ijklmnop" for c in "qrstuvwx"]
    first, *others = (json.dumps(train_tokenizer(text, 150).get_vocab()) for _ in range(4))
    assert [sorted(json.loads(o).items()) for o in others] == [
        sorted(json.loads(first).items())
    ] * 3
