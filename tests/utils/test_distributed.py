"""Several processes are one training: the same rows once each, the same gradient."""

import json
import os
import socket
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import pytest
import torch
from configured import configure, layout_of
from safetensors.torch import load_file
from torch.utils.data import BatchSampler
from toy import make_work

from spikebert.config.plan import read_plan
from spikebert.training.jobs import jobs_of
from spikebert.utils.distributed import Shares
from spikebert.utils.files import read_json

HERE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The toy corpus and a BERT without dropout, whose draws would differ from share to share."""
    root = make_work(tmp_path_factory.mktemp("work"))
    about = read_json(root / "base/config.json")
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (root / "base/config.json").write_text(json.dumps(about | none), encoding="utf-8")
    return root


def go(step, work, out, processes, **variables):
    """What each process of a step saw."""
    out.mkdir(parents=True, exist_ok=True)
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(["-m", *launcher] if processes > 1 else [])]
    done = subprocess.run(
        [*command, str(HERE / "distributed_worker.py"), step, str(work), str(out)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(HERE.parent)} | variables,
        timeout=300,
        check=False,
    )
    assert not done.returncode, done.stderr[-3000:]
    return [torch.load(out / f"seen_{i}.pt", weights_only=True) for i in range(processes)]


@pytest.mark.slow
@pytest.mark.parametrize("step", ["finetune", "stage1", "stage1 streamed", "stage2"])
def test_two_processes_are_one(step, work, tmp_path):
    (alone,) = go(step, work, tmp_path / "one", 1)
    first, second = go(step, work, tmp_path / "two", 2)

    assert len(alone["updates"]) == len(first["updates"]) == len(second["updates"])
    for whole, *shares in zip(
        alone["updates"], first["updates"], second["updates"], strict=True
    ):  # each row of the batch once, whether it divides by two or not
        assert sorted(whole) == sorted(chain(*shares))
        assert len(shares[0]) - len(shares[1]) in (0, 1)
    last = 1 if step == "stage2" else 6  # of a pass over 64 rows, where a share is empty, or 48
    assert {len(whole) for whole in alone["updates"]} == {7, last}

    assert alone["gradients"]
    for name, gradient in alone["gradients"].items():
        for share in (first, second):
            torch.testing.assert_close(share["gradients"][name], gradient, rtol=1e-5, atol=1e-6)

    if step == "finetune":  # a dense model: rounding does not grow over spikes
        one, two = (load_file(tmp_path / n / "model/model.safetensors") for n in ("one", "two"))
        for name, weight in one.items():
            torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=1e-5)
    if not step.startswith("stage1"):
        records = [read_json(tmp_path / n / "model.json") for n in ("one", "two")]
        for name in ("steps", "tokens", "n_train", "settings_digest"):
            assert records[0][name] == records[1][name]
        losses = [[entry["loss"] for entry in r["history"] if "loss" in entry] for r in records]
        exact = 1 if step == "stage2" else len(losses[0])  # a spike that flips is no rounding
        assert losses[0][:exact] == pytest.approx(losses[1][:exact], abs=1e-3)


@pytest.mark.slow
def test_a_checkpoint_is_taken_up_by_any_number_of_processes(work, tmp_path):
    (alone,) = go("finetune", work, tmp_path / "never", 1)
    assert alone["updates"]
    never = load_file(tmp_path / "never/model/model.safetensors")
    for first, then in ((2, 1), (1, 2), (2, 2)):
        out = tmp_path / f"{first}{then}"
        go("finetune", work, out, first, STOP_AFTER="4", SPIKEBERT_CHECKPOINT_MINUTES="0")
        assert not (out / "model").exists()
        rest = go("finetune", work, out, then)
        assert [len(seen["updates"]) for seen in rest] == [len(alone["updates"]) - 4] * then
        for number, whole in enumerate(alone["updates"][4:]):
            assert sorted(whole) == sorted(chain(*(seen["updates"][number] for seen in rest)))
        for name, weight in load_file(out / "model/model.safetensors").items():
            torch.testing.assert_close(weight, never[name], rtol=1e-3, atol=1e-5)
        assert not list((out / "checkpoints/model").glob("*/checkpoint-*"))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_shares_are_the_batches_without_gap_or_repeat(world):
    rows = list(range(23))
    batches = BatchSampler(rows, 5, drop_last=False)
    shares = [list(Shares(batches, rank, world)) for rank in range(world)]
    assert {len(share) for share in shares} == {len(Shares(batches, 0, world))} == {5}
    for number, parts in enumerate(zip(*shares, strict=True)):
        assert len({len(part) for part in parts}) == 1
        real = sorted(row for part in parts for row in part if row >= 0)
        assert real == rows[5 * number : 5 * number + 5]


def stage1_of(folder):
    """Where the stage 1 of the configuration in a folder writes, and its checkpoints."""
    jobs = jobs_of(read_plan(folder / "mine.yaml"), layout_of(folder))
    return next(job for name, job in jobs.items() if name.startswith("stage1/"))


def launcher(work, out, *more, epochs=1, nodes=()):
    """The command that distils in two processes, or in one on each of several machines."""
    stage1 = {"max_length": 16, "batch_size": 8, "compile": False, "epochs": epochs}
    options, _ = configure(
        out,
        ("spikebert",),
        unlabelled={"en": {"description": "d", "files": []}},
        teachers={"en": {"source": "folder", "path": str(work / "base")}},
        model={"hidden_size": 26, "num_attention_heads": 2, "num_hidden_layers": 2},
        steps={"stage1": stage1},
    )
    job = stage1_of(out)
    for place, source in (("text", "text.jsonl"), ("bert", "base")):
        path = Path(job.inputs[place])
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.symlink_to(work / source)
    where = nodes or ("--processes=2",)
    command = [sys.executable, "-m", "spikebert", "launch", *where, "run", job.name, *options]
    return [*command, "--threads=2", *more]


def finish(process):
    """Its status, and what it said."""
    said = process.communicate(timeout=300)[1]
    return process.returncode, said


def started(command, **variables):
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | variables,
    )


@pytest.mark.slow
def test_launch_starts_a_verb_in_several_processes(work, tmp_path):
    status, said = finish(started(launcher(work, tmp_path)))
    assert not status, said[-3000:]
    out = Path(stage1_of(tmp_path).outputs["out"])
    about = read_json(out / "training.json")
    assert (about["steps"], about["samples"]) == (6, 48)
    assert (out / "model.safetensors").is_file()

    command = launcher(work, tmp_path, "--force")
    Path(stage1_of(tmp_path).inputs["bert"]).unlink()
    status, said = finish(started(command))
    assert status == 2
    assert "expected" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_launch_that_is_told_to_go_saves_and_goes_on(work, tmp_path):
    command = launcher(work, tmp_path, epochs=60)
    job = stage1_of(tmp_path)
    out, checkpoints = Path(job.outputs["out"]), Path(job.checkpoints)
    process = started(command, SPIKEBERT_CHECKPOINT_MINUTES="0")
    deadline = time.monotonic() + 240
    while not list(checkpoints.glob("*/checkpoint-*/manifest.json")):
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    status, said = finish(process)
    assert status == 75, said[-3000:]
    assert not out.exists()
    last = max(int(p.name.split("-")[1]) for p in checkpoints.glob("*/checkpoint-*"))
    assert 0 < last < 360
    status, said = finish(started(command))
    assert not status, said[-3000:]
    assert read_json(out / "training.json")["steps"] == 360


@pytest.mark.slow
def test_two_machines_of_one_process_are_one_training(work, tmp_path):
    """Two launchers that know of each other only what the network tells them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = ("--processes=1", "--nodes=2", f"--rendezvous=127.0.0.1:{port}", "--job=test")
    processes = [started(launcher(work, tmp_path, nodes=nodes)) for _ in range(2)]
    for process in processes:
        status, said = finish(process)
        assert not status, said[-3000:]
    out = Path(stage1_of(tmp_path).outputs["out"])
    assert read_json(out / "training.json")["steps"] == 6
