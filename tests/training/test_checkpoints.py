"""Checkpoints on disk: whole or not there, checked when read, one writer, what a full disk does."""

import json
import multiprocessing
import os
import resource
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from spikebert.config.settings import digest
from spikebert.errors import UserError
from spikebert.training.checkpoints import (
    MANIFEST,
    MINUTES_VARIABLE,
    Checkpoints,
    Damaged,
    checkpoint_folder,
    checkpoint_minutes,
)

FILES = {"model.safetensors": b"weights" * 99, "loop.pt": b"loop", "state.json": b"{}"}


def write(store, step, needs=(), environment=None):
    with store.write(step, needs, environment) as part:
        for name, data in FILES.items():
            (part / name).write_bytes(data + str(step).encode())


@pytest.fixture
def store(tmp_path):
    store = Checkpoints(tmp_path / "0123456789ab")
    store.folder.mkdir()
    for step in (3, 6):
        write(store, step)
    return store


def test_the_newest_that_is_whole_is_taken(store, caplog):
    assert store.latest() == store.path(6)
    assert not caplog.records


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize("damage", ["cut", "flip", "remove"])
def test_a_damaged_one_is_named_and_the_one_before_is_taken(store, caplog, name, damage):
    file = store.path(6) / name
    data = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    else:
        data[len(data) // 2] ^= 1
        file.write_bytes(data if damage == "flip" else data[: len(data) // 2])
    assert store.latest() == store.path(3)
    assert "checkpoint-6 is not used" in caplog.text
    assert name in caplog.text
    assert store.steps() == [3]


def test_every_bit_of_a_manifest_counts(store):
    file = store.path(6) / MANIFEST
    data = file.read_bytes()
    for place in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[place] ^= 4
        if json_or_none(flipped) == json.loads(data):
            continue  # white space that has become other white space
        file.write_bytes(flipped)
        with pytest.raises(Damaged):
            store.check(6)


def json_or_none(data):
    try:
        return json.loads(bytes(data))
    except ValueError:
        return None


def test_one_of_other_settings_or_of_another_step_is_refused(store, tmp_path):
    other = Checkpoints(tmp_path / "ba9876543210")
    other.folder.mkdir()
    write(other, 9)
    other.path(9).rename(store.path(9))
    with pytest.raises(Damaged, match="step 9 of ba9876543210"):
        store.check(9)
    store.path(6).rename(store.path(7))
    with pytest.raises(Damaged, match="step 6 of 0123456789ab"):
        store.check(7)
    assert store.latest() == store.path(3)


def test_nothing_that_can_be_trusted_is_the_beginning(store):
    for step in (3, 6):
        (store.path(step) / "loop.pt").write_bytes(b"")
    assert store.latest() is None
    assert Checkpoints(store.folder / "nothing").latest() is None


def test_the_newest_two_stay_and_the_best_that_they_need(store):
    write(store, 9, needs=[3])  # 6 is kept as the one before, 3 as the best
    assert store.steps() == [9, 6, 3]
    write(store, 12, needs=[3])
    assert store.steps() == [12, 9, 3]
    write(store, 15)  # itself the best now; 12 still needs 3
    assert store.steps() == [15, 12, 3]
    write(store, 18, needs=[15])
    assert store.steps() == [18, 15]


def test_without_the_best_a_checkpoint_is_no_use(store, caplog):
    write(store, 9, needs=[3])
    (store.path(3) / "model.safetensors").unlink()
    assert store.latest() == store.path(6)
    assert "checkpoint-3, which it needs: model.safetensors is missing" in caplog.text


def test_other_threads_are_said(store, caplog):
    write(store, 9, environment={"threads": 1, "bf16": True})
    store.latest({"threads": 1, "bf16": True})
    assert not caplog.records
    assert store.latest({"threads": 2, "bf16": True}) == store.path(9)
    assert "threads 1 -> 2; weights may differ" in caplog.text


def test_an_error_while_writing_leaves_nothing(store):
    def half(part):
        (part / "model.safetensors").write_bytes(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), store.write(9) as part:
        half(part)
    assert sorted(p.name for p in store.folder.iterdir()) == ["checkpoint-3", "checkpoint-6"]


def write_tensors(part):
    torch.save(torch.ones(2**19), part / "loop.pt")


def write_weights(part):
    save_file({"x": torch.ones(2**19)}, part / "model.safetensors")


def write_bytes(part):
    (part / "state.json").write_bytes(bytes(2**21))


@pytest.mark.parametrize("fill", [write_tensors, write_weights, write_bytes])
def test_a_full_disk_is_said_and_the_last_good_one_stays(store, fill):
    """A limit on the size of files stands for the disk; the writers are those of the trainer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        with (
            pytest.raises(UserError, match=r"a disk that takes it[\s\S]*MiB are free") as caught,
            store.write(9) as part,
        ):
            fill(part)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"goes on from {store.path(6)}" in str(caught.value)
    assert sorted(p.name for p in store.folder.iterdir()) == ["checkpoint-3", "checkpoint-6"]
    assert store.latest() == store.path(6)


def test_a_disk_that_is_really_full(tmp_path):
    """On a file system of 3 MiB, where this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        with checkpoint_folder(disk / "run", {}) as store:
            with store.write(1) as part:
                write_tensors(part)
            with pytest.raises(UserError, match="a disk that takes it"), store.write(2) as part:
                write_tensors(part)
            assert store.latest() == store.path(1)
            (store.path(1) / "loop.pt").unlink()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_other_errors_keep_their_names(store):
    with pytest.raises(RuntimeError, match="shapes"), store.write(9):
        raise RuntimeError("shapes do not fit")


def hold(root, ready):
    with checkpoint_folder(root, {"beta": 0.9}) as store:
        write(store, 1)
        ready.set()
        multiprocessing.Event().wait()


def test_a_second_process_is_told_who_holds_the_lock_until_it_dies(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready))
    process.start()
    try:
        assert ready.wait(60)
        with (
            pytest.raises(UserError, match=f"holds the lock .process {process.pid} on "),
            checkpoint_folder(tmp_path, {"beta": 0.9}),
        ):
            pass
    finally:
        process.kill()
        process.join()
    with checkpoint_folder(tmp_path, {"beta": 0.9}) as store:
        assert store.latest() == store.path(1)


def write_for_ever(root):
    with checkpoint_folder(root, {}) as store:
        step = max(store.steps(), default=0)
        while True:
            step += 1
            write(store, step)


def test_killed_while_it_writes(tmp_path):
    """SIGKILL at twelve moments of a process that does nothing but write checkpoints."""
    context = multiprocessing.get_context("fork")
    reached = 0
    for attempt in range(12):
        process = context.Process(target=write_for_ever, args=(tmp_path,))
        process.start()
        process.join(0.15 + 0.013 * attempt)
        process.kill()
        process.join()
        folder = tmp_path / digest({})
        store = Checkpoints(folder)
        newest = store.steps()
        # Nothing has to be refused: a checkpoint that has its name is whole.
        assert store.latest() == (store.path(newest[0]) if newest else None)
        reached = max([reached, *newest])
    assert reached > 2
    (folder / ".checkpoint-99.half").mkdir()
    with checkpoint_folder(tmp_path, {}) as store:
        assert not list(folder.glob(".*"))  # what the killed ones left


def test_minutes_come_from_the_environment(monkeypatch):
    monkeypatch.delenv(MINUTES_VARIABLE, raising=False)
    assert checkpoint_minutes() == 15
    monkeypatch.setenv(MINUTES_VARIABLE, "0.5")
    assert checkpoint_minutes() == 0.5
    for wrong in ("-1", "soon", "nan"):
        monkeypatch.setenv(MINUTES_VARIABLE, wrong)
        with pytest.raises(UserError, match="minutes, 0 or more"):
            checkpoint_minutes()
