"""The training steps on a few rows: selection, resume, refusals, records."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from configured import configure, layout_of
from safetensors.torch import load_file
from toy import MODEL, QUICK, make_work, outputs, run, sentences, write_rows
from transformers import BertConfig, BertForMaskedLM

from spikebert.analysis.predict import predict
from spikebert.config.settings import DirectSettings, ModelSettings, Stage1Settings, Stage2Settings
from spikebert.errors import UserError
from spikebert.records.records import read_predictions, read_record
from spikebert.training.checkpoints import checkpoint_folder
from spikebert.training.distillation import MaskedWords
from spikebert.training.loop import use_bf16
from spikebert.training.steps.direct import direct
from spikebert.training.steps.distil import stage1, stage2
from spikebert.training.teacher_cache import Cache
from spikebert.training.tokenization import load_tokenizer
from spikebert.utils.files import write_json
from spikebert.utils.provenance import commit


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return make_work(tmp_path_factory.mktemp("work"))


def direct_settings(**settings):
    return DirectSettings(
        **{"epochs": 4, "learning_rate": 3e-3, "evaluations": 4} | QUICK | settings
    )


def test_record_and_predictions_agree(work):
    record = read_record(work / "teacher.json")
    rows = read_predictions(work / "teacher.csv")
    right = sum(row["label"] == row["prediction"] for row in rows) / len(rows)
    assert record.accuracy_test == pytest.approx(right)
    assert (record.n_train, record.n_dev, record.n_test, len(rows)) == (48, 16, 20, 20)
    assert record.steps == 36
    best = max(entry.get("accuracy_dev", 0) for entry in record.history)
    assert record.accuracy_dev == pytest.approx(best)
    assert not list((work / "checkpoints" / "teacher").glob("*/"))


def test_tokens_are_counted_without_padding(work):
    out = outputs(work, "counted")
    record = direct(
        MODEL, direct_settings(epochs=1), work / "corpus", work / "base", run("direct"), out
    )
    tokenizer = load_tokenizer(work / "base")
    texts = [row["text"] for row in sentences(48, 1)]
    expected = sum(min(len(ids), 16) for ids in tokenizer(texts)["input_ids"])
    assert record.tokens == expected


def test_two_stages(work):
    first = work / "stage1"
    stage1(
        MODEL, Stage1Settings(epochs=1, embedding_init="teacher", **QUICK),
        work / "text.jsonl", work / "base", work / "checkpoints" / "stage1", first,
    )  # fmt: skip
    record = stage2(
        MODEL, Stage2Settings(epochs=2, learning_rate=3e-3, **QUICK), work / "corpus",
        work / "augmented.jsonl", work / "teacher", first, run("spikebert"),
        outputs(work, "spikebert"),
    )  # fmt: skip
    assert record.n_train == 64
    assert record.upstream["stage1"]["steps"] == 6
    saved = load_file(work / "spikebert" / "model.safetensors")
    assert not [name for name in saved if "alignment" in name or "teacher" in name]
    (result,) = predict(work / "spikebert", ["a warm and funny film"])
    assert result["label"] in ("negative", "positive")
    assert sum(result["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert 0 < result["spike_rate"] < 1
    assert predict(work / "teacher", ["a dull film"])[0]["spike_rate"] is None


def test_a_kept_teacher_teaches_the_same(work, tmp_path):
    """Stage 1 and 2 with the cache and without: the same run but for the rounding of features."""
    histories = []
    for name, cache in (("live", None), ("kept", Cache(tmp_path / "cache", 10**7))):
        root = tmp_path / name
        stage1(
            MODEL, Stage1Settings(epochs=2, evaluations=4, **QUICK), work / "text.jsonl",
            work / "base", root / "checkpoints", root / "first", cache,
        )  # fmt: skip
        record = stage2(
            MODEL, Stage2Settings(epochs=1, evaluations=4, **QUICK), work / "corpus",
            work / "augmented.jsonl", work / "teacher", root / "first", run("spikebert"),
            outputs(root, "second"), cache,
        )  # fmt: skip
        history = json.loads((root / "first" / "training.json").read_text())["history"]
        histories.append([entry["loss"] for entry in history + record.history if "loss" in entry])
    assert len(list((tmp_path / "cache").glob("*/taught.json"))) == 2
    live, kept = histories
    assert live != kept  # the cache was used: its features are rounded to eight bits
    assert kept == pytest.approx(live, rel=0.02)


@pytest.mark.parametrize("cached", [False, True])
def test_stage1_stops_at_its_cap_of_sentences(work, tmp_path, cached):
    """The first rows alone: the same as a text that holds no others, with kept answers or not."""
    text = work / "text.jsonl"
    few = tmp_path / "few.jsonl"
    lines = text.read_text("utf-8").splitlines(keepends=True)
    few.write_text("".join(lines[:16]), encoding="utf-8")
    cache = Cache(tmp_path / "taught", 2**20) if cached else None

    def learn(name, source, **settings):
        chosen = Stage1Settings(**QUICK, epochs=1, **settings)
        out = tmp_path / name
        stage1(MODEL, chosen, source, work / "base", tmp_path / f"c{name}", out, cache)
        return out

    whole = learn("whole", text)
    capped = learn("capped", text, max_sentences=16)
    short = learn("short", few)
    training = [json.loads((d / "training.json").read_text("utf-8")) for d in (whole, capped)]
    assert [t["samples"] for t in training] == [len(lines), 16]
    assert training[1]["stage1"]["max_sentences"] == 16
    weights = [load_file(d / "model.safetensors") for d in (capped, short)]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_stage1_of_another_model_is_refused(work):
    first = work / "stage1_other"
    stage1(
        MODEL, Stage1Settings(epochs=0.1, **QUICK), work / "text.jsonl", work / "base",
        work / "checkpoints" / "other", first,
    )  # fmt: skip
    other = ModelSettings(**{**vars(MODEL), "beta": 0.5})
    with pytest.raises(UserError, match=r"(?s)expected: {'beta': 0.5}.*got:\s+{'beta': 0.9}"):
        stage2(
            other, Stage2Settings(epochs=1, **QUICK), work / "corpus", work / "augmented.jsonl",
            work / "teacher", first, run("spikebert"), outputs(work, "refused"),
        )  # fmt: skip
    assert not (work / "refused").exists()
    assert not (work / "refused.json").exists()


def test_teacher_of_another_set_is_refused(work, tmp_path):
    for split in ("train", "dev", "test"):
        write_rows(tmp_path / "corpus" / f"{split}.jsonl", sentences(8, 3))
    write_json(tmp_path / "corpus" / "stats.json", {"labels": ["bad", "middling", "good"]})
    with pytest.raises(UserError, match="expected: 3 classes"):
        stage2(
            MODEL, Stage2Settings(epochs=1, **QUICK), tmp_path / "corpus",
            work / "augmented.jsonl", work / "teacher", None, run("stage2_only"),
            outputs(tmp_path, "refused"),
        )  # fmt: skip


def test_non_finite_loss_names_the_update(work, tmp_path):
    with pytest.raises(UserError, match=r"loss at update \d+"):
        direct(
            MODEL, direct_settings(learning_rate=1e38, clip_norm=1e30, warmup_ratio=0),
            work / "corpus", work / "base", run("direct"), outputs(tmp_path, "broken"),
        )  # fmt: skip
    assert not (tmp_path / "broken").exists()
    assert not (tmp_path / "broken.json").exists()


def test_checkpoints_have_one_writer_and_one_identity(tmp_path):
    with checkpoint_folder(tmp_path / "run", {"beta": 0.9}) as store:
        store.path(1).mkdir()
        with (
            pytest.raises(UserError, match="another one holds the lock"),
            checkpoint_folder(tmp_path / "run", {"beta": 0.9}),
        ):
            pass
        folder = store.folder
    assert not folder.exists()
    with (
        pytest.raises(ZeroDivisionError),
        checkpoint_folder(tmp_path / "run", {"beta": 0.9}) as old,
    ):
        raise ZeroDivisionError
    assert old.folder.exists()
    with checkpoint_folder(tmp_path / "run", {"beta": 0.8}) as new:
        assert new != old
        assert not old.folder.exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_training_goes_on_to_the_same_bits(work, tmp_path, number):
    """Stopped in the middle, by a request or by force, and run again: the same files."""
    settings = direct_settings(epochs=40, evaluations=20)
    options, _ = configure(
        tmp_path, ("direct",), teachers={"en": {"source": "folder", "path": "base"}},
        model={k: v for k, v in vars(MODEL).items() if v is not None},
        steps={"direct": vars(settings)},
    )  # fmt: skip
    layout, name = layout_of(tmp_path), "mine.direct.base.s1"
    for place, source in ((layout.corpus("mine"), "corpus"), (layout.bert("en"), "base")):
        shutil.copytree(work / source, place)
    whole = direct(
        MODEL, settings, work / "corpus", work / "base", run("direct"), outputs(tmp_path, "whole")
    )
    record, checkpoints = Path(layout.record(name)), Path(layout.checkpoints(name))
    command = [sys.executable, "-m", "spikebert", "run", name, *options]
    command += ["--threads", str(torch.get_num_threads())]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: list(checkpoints.glob("*/checkpoint-*")), process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (75 if number == signal.SIGTERM else -signal.SIGKILL)
    if number == signal.SIGTERM:
        assert "run again to go on from there" in errors
    assert not record.exists()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    again = read_record(record)
    for field in ("accuracy_dev", "accuracy_test", "steps", "tokens"):
        assert getattr(again, field) == getattr(whole, field), field
    weights = Path(layout.model(name)) / "model.safetensors"
    for made, file in ((layout.predictions(name), "whole.csv"), (weights, "whole/" + weights.name)):
        assert Path(made).read_bytes() == (tmp_path / file).read_bytes()


def wait_for(condition, process, seconds=120):
    limit = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < limit, "no checkpoint in time"
        time.sleep(0.05)


def test_precision_is_a_choice():
    assert use_bf16("bf16")
    assert not use_bf16("fp32")
    assert isinstance(use_bf16("auto"), bool)


def test_predict_refuses_an_empty_text(work):
    with pytest.raises(UserError, match="at least one word"):
        predict(work / "teacher", ["  "])


def test_predict_refuses_a_folder_without_a_model(tmp_path):
    with pytest.raises(UserError, match=r"config\.json"):
        predict(tmp_path, ["a film"])


def test_commit_names_changed_sources_but_not_the_records_of_the_run_itself(tmp_path):
    def git(*arguments):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)

    assert commit(tmp_path) == "unknown"
    for name in ("package/code.py", "results/record.json"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("1\n")
    git("init")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-m", "first")
    clean = commit(tmp_path / "package")
    assert re.fullmatch("[0-9a-f]{40}", clean)
    (tmp_path / "results/record.json").write_text("2\n")
    assert commit(tmp_path / "package") == clean
    (tmp_path / "package/code.py").write_text("2\n")
    assert commit(tmp_path / "package") == clean + "+"


def test_masked_words_alone_give_the_loss_and_gradients_of_all():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=50, intermediate_size=32, **sizes)
    ours, theirs = MaskedWords(config).eval(), BertForMaskedLM(config).eval()
    theirs.load_state_dict(ours.state_dict())
    batch = {"input_ids": torch.randint(5, 50, (3, 7)), "attention_mask": torch.ones(3, 7).long()}
    labels = torch.where(torch.rand(3, 7) < 0.3, torch.randint(5, 50, (3, 7)), -100)
    found = []
    for model in (ours, theirs):
        loss = model(**batch, labels=labels)["loss"]
        loss.backward()
        named = model.named_parameters()
        found.append((loss.detach(), {n: p.grad.clone() for n, p in named if p.grad is not None}))
    torch.testing.assert_close(*found)
    assert ours(**batch, labels=torch.full((3, 7), -100))["loss"] == 0
