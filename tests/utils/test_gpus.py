"""GPUs are handed out once, by lock, without any at hand."""

import os
import subprocess
import sys

import pytest

from spikebert.errors import UserError
from spikebert.utils import gpus


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Three GPUs, of which the first is not to be used; no scheduler."""
    monkeypatch.setenv(gpus.VISIBLE, "1, GPU-8a,-1")
    for name in (*gpus.SCHEDULERS, gpus.SLOTS):
        monkeypatch.delenv(name, raising=False)


def test_the_visible_ones_and_no_other(tmp_path):
    with gpus.claimed(1, tmp_path) as first:
        assert first == ["1"]
        assert os.environ[gpus.VISIBLE] == "1"
    assert os.environ[gpus.VISIBLE] == "1, GPU-8a,-1"
    with gpus.claimed(2, tmp_path) as both:
        assert both == ["1", "GPU-8a"]
    with pytest.raises(UserError, match="3 of them"), gpus.claimed(3, tmp_path):
        pass


def held_by(folder, count=1):
    """A process that holds GPUs until it is ended, and their names."""
    code = (
        "import sys, time, pathlib; from spikebert.utils.gpus import claimed\n"
        f"with claimed({count}, pathlib.Path(sys.argv[1])) as found:\n"
        "    print(','.join(found), flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline().strip()


def test_another_process_gets_another_gpu_and_a_dead_one_holds_none(tmp_path, monkeypatch):
    process, theirs = held_by(tmp_path)
    try:
        assert theirs == "1"
        with gpus.claimed(1, tmp_path) as ours:
            assert ours == ["GPU-8a"]
        monkeypatch.setattr(gpus.time, "sleep", lambda _: process.kill() or process.wait())
        with gpus.claimed(2, tmp_path) as both:  # after a wait, which the kill ends
            assert both == ["1", "GPU-8a"]
    finally:
        process.kill()
        process.wait()


def test_slots_let_jobs_share(tmp_path, monkeypatch):
    monkeypatch.setenv(gpus.SLOTS, "2")
    process, theirs = held_by(tmp_path)
    try:
        with gpus.claimed(1, tmp_path) as ours:
            assert ours == [theirs] == ["1"]
    finally:
        process.kill()
        process.wait()
    monkeypatch.setenv(gpus.SLOTS, "none")
    with pytest.raises(UserError, match=gpus.SLOTS), gpus.claimed(1, tmp_path):
        pass


def test_a_scheduler_has_given_them_already(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with gpus.claimed(1, tmp_path) as given:
        assert given == ["1", "GPU-8a"]
    assert not list(tmp_path.iterdir())


def test_no_gpu_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setenv(gpus.VISIBLE, "")
    with gpus.claimed(4, tmp_path) as none:
        assert none == []
