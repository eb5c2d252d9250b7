"""Text that does not fit in memory: every row once a pass, shuffled, within bounds."""

import json
import subprocess
import sys

import pytest
import torch
from toy import MODEL, QUICK, make_work, sentences, write_rows

from spikebert.config.settings import Stage1Settings
from spikebert.data.corpus import read_rows
from spikebert.data.unlabelled import make_unlabelled
from spikebert.errors import UserError
from spikebert.training.steps.distil import stage1
from spikebert.training.steps.pretrain import train_tokenizer
from spikebert.training.tokenization import Stream
from spikebert.utils.files import read_json

# Peak memory in MiB above that of the imports.
MEASURED = """
import resource, sys
from pathlib import Path
import spikebert.data.corpus, spikebert.data.sentence_store, torch
from spikebert.training.tokenization import Stream, load_tokenizer
now = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
"""


@pytest.fixture
def stream(tmp_path):
    rows = list(sentences(50, 3))
    write_rows(tmp_path / "text.jsonl", [{"id": r["id"], "text": r["text"]} for r in rows])
    tokenizer = train_tokenizer([row["text"] for row in rows], 120)

    def make(**changes):
        arguments = {"max_length": 16, "window": 20, "batch_size": 8} | changes
        return Stream(tmp_path / "text.jsonl", tokenizer, **arguments)

    return make


def test_every_row_once_a_pass_and_in_another_order_each_time(stream):
    torch.manual_seed(1)
    windows = stream().batches()
    passes = [list(windows) for _ in range(3)]
    for batches in passes:
        assert [len(batch) for batch in batches] == [8] * 6 + [2]
        assert len(windows) == 7
        assert sorted(sum(batches, [])) == list(range(50))  # noqa: RUF017
        for number, batch in enumerate(batches):  # of one window, 16 rows wide
            assert {row // 16 for row in batch} == {number // 2}
    assert passes[0] != passes[1] != passes[2]
    torch.manual_seed(1)
    assert list(windows) == passes[0]


def test_examples_are_those_of_the_rows(stream, tmp_path):
    made = stream()
    texts = [row["text"] for row in read_rows(tmp_path / "text.jsonl")]
    for number in (0, 49, 16, 3):
        assert made[number]["input_ids"] == made.tokenizer(texts[number])["input_ids"]
    assert len(stream(at_most=19)) == 19
    assert len(stream(at_most=19).batches()) == 3
    assert stream(window=1).window == 8  # never less than a batch


def test_a_row_that_is_none_is_named(stream, tmp_path):
    with (tmp_path / "text.jsonl").open("a") as file:
        file.write('{"id": 7}\n')
    with pytest.raises(UserError, match=r"text\.jsonl:51"):
        stream()[50]
    (tmp_path / "text.jsonl").write_text("")
    with pytest.raises(UserError, match="rows of text"):
        stream()


def test_stage_1_learns_from_a_stream_as_from_a_list(tmp_path):
    work = make_work(tmp_path / "work")
    losses = {}
    for name, window in {"all": None, "stream": 16}.items():
        settings = Stage1Settings(
            epochs=6, learning_rate=1e-2, evaluations=3, window_sentences=window, **QUICK
        )
        out = tmp_path / name
        stage1(MODEL, settings, work / "text.jsonl", work / "base", tmp_path / "checkpoints", out)
        about = read_json(out / "training.json")
        assert (about["steps"], about["samples"]) == (36, 288)
        losses[name] = [entry["loss"] for entry in about["history"]]
    assert losses["stream"][-1] < 0.7 * losses["stream"][0]
    assert losses["stream"][-1] == pytest.approx(losses["all"][-1], rel=0.25)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_text(tmp_path):
    """100 MB of text pass through a stream, and through the search for duplicates."""
    lines = [f"{i:x} " + f"word{i % 977} " * 60 for i in range(250_000)]
    text = tmp_path / "text.jsonl"
    with text.open("w") as file:
        for i, line in enumerate(lines):
            file.write(json.dumps({"id": f"{i:016x}", "text": line}) + "\n")
    assert text.stat().st_size > 100e6
    train_tokenizer(lines[:500], 2000).save_pretrained(tmp_path / "tokenizer")
    code = MEASURED + (
        "tokenizer = load_tokenizer(sys.argv[2])\n"
        "stream = Stream(Path(sys.argv[1]), tokenizer, 32, 4096, 32)\n"
        "stream[0]; before = now()\n"
        "seen = sum(len(stream.__getitems__(b)) for b in stream.batches() if not b[0] % 40)\n"
        "print(seen, now() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(text), str(tmp_path / "tokenizer")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seen, grown = map(float, done.stdout.split())
    assert seen > 1000
    assert grown < 40


def test_sentences_are_gathered_on_disk_as_they_would_be_in_memory(tmp_path):
    rows = list(sentences(60, 5))
    write_rows(tmp_path / "a.jsonl", rows[:40])
    write_rows(tmp_path / "b.jsonl", rows[20:])
    columns = {"source": "file", "format": "jsonl", "text_column": "text", "sentences": False}
    spec = {
        "description": "d",
        "files": [
            {**columns, "path": str(tmp_path / "a.jsonl"), "max_sentences": 30},
            {**columns, "path": str(tmp_path / "b.jsonl")},
        ],
    }
    stats = make_unlabelled("en", spec, [], tmp_path / "out", tmp_path)
    made = read_rows(tmp_path / "out/text.jsonl")
    assert [row["id"] for row in made] == sorted({row["id"] for row in made})
    distinct = {row["text"] for row in rows}
    kept = stats["files"][0]["sentences"]
    assert kept == min(30, len({row["text"] for row in rows[:40]}))
    assert len(made) == kept + stats["files"][1]["sentences"] == stats["rows"]
    assert {row["text"] for row in made} <= distinct
    assert not list((tmp_path / "out").glob("*.sqlite*"))
