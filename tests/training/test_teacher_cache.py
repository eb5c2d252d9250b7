"""The teacher's answers on disk: what is read back, who makes it, and what goes when it is full."""

import math
import multiprocessing
import os

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel

from spikebert.config.settings import Stage1Settings, TrainingSettings
from spikebert.training.distillation import Distillation
from spikebert.training.teacher_cache import Cache, ask, size_bytes

LENGTHS = (5, 3, 11, 7, 2)


def teacher(kind=BertForSequenceClassification, layers=3):
    torch.manual_seed(0)
    shape = {"hidden_size": 26, "num_hidden_layers": layers, "num_attention_heads": 2}
    return kind(BertConfig(vocab_size=37, intermediate_size=13, **shape)).eval()


def examples(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            "input_ids": torch.randint(1, 37, (n,), generator=generator).tolist(),
            "attention_mask": [1] * n,
        }
        for n in LENGTHS
    ]


def collate(rows):
    longest = max(len(row["input_ids"]) for row in rows)
    return {
        name: torch.tensor([row[name] + [0] * (longest - len(row[name])) for row in rows])
        for name in ("input_ids", "attention_mask")
    }


def entries(folder):
    return sorted(path.parent.name for path in folder.glob("*/taught.json"))


def asked(folder, encode=examples, kind=BertForSequenceClassification, limit=10**6, name="a"):
    module = Distillation(teacher(layers=2), teacher(kind), Stage1Settings())
    settings = TrainingSettings(precision="fp32")
    return ask(Cache(folder, limit), module, encode, collate, {"text": name}, settings)[0]


def test_states_and_logits_are_the_teachers(tmp_path):
    taught, rows, model = asked(tmp_path), examples(), teacher()
    assert taught.layers == [0, 2, 3]
    states = taught.states([2, 0], 11)
    assert states[1] is None
    with torch.no_grad():
        for place, row in enumerate((2, 0)):
            out = model(**collate([rows[row]]), output_hidden_states=True)
            n = LENGTHS[row]
            for layer in taught.layers:
                kept = states[layer]
                assert kept.dtype == torch.bfloat16
                expected = out.hidden_states[layer][0]
                # one rounding to eight bits
                torch.testing.assert_close(kept[place, :n].float(), expected, rtol=4e-3, atol=1e-5)
                assert not kept[place, n:].any()
            torch.testing.assert_close(taught.logits[row], out.logits[0], rtol=1e-5, atol=1e-6)


def test_a_batch_brings_what_was_said_of_its_rows(tmp_path):
    taught, rows = asked(tmp_path), examples()
    batch = taught.collator(collate)([taught[1], taught[3]])
    assert batch["input_ids"].shape == (2, 7)
    assert torch.equal(batch["teacher_logits"], taught.logits[[1, 3]])
    assert torch.equal(batch["states"][3], taught.states([1, 3], 7)[3])
    assert set(taught.collator(collate)(rows[:2])) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize("labels", [None, [0, -100, 2, 1, 0], [0.5, math.nan, 1.0, -3.25, 2.0]])
@pytest.mark.parametrize("pairs", [False, True])
def test_examples_are_kept_as_they_were(tmp_path, labels, pairs):
    made = examples()
    for row, example in enumerate(made):
        if pairs:
            example["token_type_ids"] = [0] + [1] * (LENGTHS[row] - 1)
        if labels:
            example["labels"] = labels[row]
    first = asked(tmp_path, lambda: made)
    again = asked(tmp_path, None)  # not encoded again
    for found in (first, again):
        assert len(found) == len(made)
        assert repr(list(found)) == repr([e | {"row": i} for i, e in enumerate(made)])
    with pytest.raises(IndexError):
        first[len(made)]


def test_an_entry_without_tokens_is_made_again(tmp_path):
    whole = list(asked(tmp_path))
    (entry,) = tmp_path.glob("*/taught.json")
    ids = entry.with_name("input_ids.npy")
    np.save(ids, np.load(ids)[:-1])
    assert list(asked(tmp_path)) == whole
    ids.unlink()
    assert list(asked(tmp_path)) == whole


def test_an_encoder_has_no_logits(tmp_path):
    assert asked(tmp_path, kind=BertModel).logits is None


def test_the_teacher_is_asked_once(tmp_path, monkeypatch):
    asked(tmp_path)
    monkeypatch.setattr(BertForSequenceClassification, "forward", None)
    assert asked(tmp_path).logits is not None
    assert len(entries(tmp_path)) == 1


def test_text_that_would_not_fit_is_not_kept(tmp_path):
    size = size_bytes(examples(), 3, 26)
    assert size == 2 * 3 * 26 * sum(LENGTHS)
    assert asked(tmp_path, limit=size - 1) == examples()
    assert not entries(tmp_path)


def test_the_entry_longest_out_of_use_goes(tmp_path):
    one = 3 * size_bytes(examples(), 3, 26) // 2 + 2000  # room for the files beside the features
    for age, name in enumerate("abc"):
        asked(tmp_path, limit=10 * one, name=name)
        for about in tmp_path.glob("*/taught.json"):
            past = about.stat().st_mtime - 100
            os.utime(about, (past, past))
        assert len(entries(tmp_path)) == age + 1
    kept = entries(tmp_path)
    asked(tmp_path, limit=10 * one, name="a")  # used again, so b is now the oldest
    oldest = min(tmp_path.glob("*/taught.json"), key=lambda p: p.stat().st_mtime).parent.name
    sizes = sum(f.stat().st_size for p in tmp_path.glob("*/") for f in p.iterdir())
    asked(tmp_path, limit=sizes - 1, name="a")
    assert entries(tmp_path) == sorted(set(kept) - {oldest})


def in_another_process(folder, barrier, results):
    barrier.wait()
    taught = asked(folder)
    results.put(taught.logits.tolist())


def test_two_jobs_make_one_entry(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    jobs = [
        context.Process(target=in_another_process, args=(tmp_path, barrier, results))
        for _ in range(2)
    ]
    for job in jobs:
        job.start()
    first, second = (results.get(timeout=120) for _ in jobs)
    for job in jobs:
        job.join()
        assert job.exitcode == 0
    assert first == second
    assert len(entries(tmp_path)) == 1
    assert not [path for path in tmp_path.glob(".*") if path.is_dir()]


def test_a_job_that_dies_leaves_nothing_that_looks_whole(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(BertForSequenceClassification, "forward", fail)
        with pytest.raises(KeyboardInterrupt):
            asked(tmp_path)
    assert not entries(tmp_path)
    assert asked(tmp_path).logits is not None
