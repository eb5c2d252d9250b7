"""Checkpoints that can be trusted: whole or not there, checked when read, one writer at a time.

    <root>/.lock, .holder            who trains here now
    <root>/<digest>/identity.json    the settings and the digests of the inputs, named by theirs
    <root>/<digest>/checkpoint-12/   after update 12: files of the trainer, and manifest.json

A manifest holds the SHA-256 of every file, the step whose weights this one also needs (the best on
dev so far), and what the numbers were computed with. Nothing here knows what the files mean.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
from safetensors import SafetensorError

from ..config.settings import CHECKPOINT_MINUTES, digest
from ..errors import UserError
from ..utils.checksums import sha256_of
from ..utils.distributed import barrier, is_main
from ..utils.files import atomic_folder, remove, write_json, write_text

log = logging.getLogger(__name__)

KEEP = 2  # the newest, beside the best that they need
MANIFEST = "manifest.json"
MINUTES_VARIABLE = "SPIKEBERT_CHECKPOINT_MINUTES"


class Damaged(Exception):  # noqa: N818
    """A checkpoint is not what was written; the message says why."""


def checkpoint_minutes() -> float:
    """The longest time between two checkpoints; 0 asks for one after every update."""
    text = os.environ.get(MINUTES_VARIABLE, str(CHECKPOINT_MINUTES))
    with contextlib.suppress(ValueError):
        if (minutes := float(text)) >= 0:
            return minutes
    raise UserError(
        MINUTES_VARIABLE, expected="minutes, 0 or more", got=text, fix="set it to a number"
    )


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one piece of work, in `folder`; the caller holds the lock."""

    folder: Path

    def path(self, step: int) -> Path:
        return self.folder / f"checkpoint-{step}"

    def steps(self) -> list[int]:
        """The steps that have a folder, newest first, trusted or not."""
        found = self.folder.glob("checkpoint-*")
        return sorted((int(path.name.rsplit("-", 1)[1]) for path in found), reverse=True)

    @contextlib.contextmanager
    def write(
        self, step: int, needs: Sequence[int] = (), environment: dict[str, Any] | None = None
    ) -> Iterator[Path]:
        """A folder for the files of a checkpoint, which is one when the block ends.

        A full disk is a `UserError`; the checkpoints before stay as they are.
        """
        try:
            with atomic_folder(self.path(step)) as part:
                yield part
                about = {
                    "identity": self.folder.name,
                    "step": step,
                    "needs": sorted(needs),
                    "environment": environment or {},
                    "files": {path.name: sha256_of(path) for path in sorted(part.iterdir())},
                }
                write_json(part / MANIFEST, {**about, "digest": digest(about)})
        except (OSError, SafetensorError, RuntimeError) as error:
            # torch's writer says no more of a failed write than where it stood.
            if isinstance(error, RuntimeError) and "inline_container" not in str(error):
                raise
            before = next((self.path(s) for s in self.steps() if s < step), "the beginning")
            free = shutil.disk_usage(self.folder).free
            raise UserError(
                f"checkpoint after update {step} in {self.folder}",
                expected="a disk that takes it",
                got=f"{error} ({free / 2**20:.0f} MiB are free)",
                fix=f"make room and run again; the training goes on from {before}",
            ) from error
        self.prune()

    def check(self, step: int) -> dict[str, Any]:
        """The manifest of a checkpoint that is what was written; `Damaged` for any other."""
        about = self._manifest(step)
        for name, expected in about["files"].items():
            file = self.path(step) / name
            if not file.is_file():
                raise Damaged(f"{name} is missing")
            if sha256_of(file) != expected:
                raise Damaged(f"{name} has another SHA-256 than when it was written")
        for other in about["needs"]:
            try:
                self.check(other)
            except Damaged as error:
                raise Damaged(f"{self.path(other).name}, which it needs: {error}") from None
        return about

    def _manifest(self, step: int) -> dict[str, Any]:
        try:
            about = json.loads((self.path(step) / MANIFEST).read_bytes())
            sealed = about.pop("digest")
        except (OSError, ValueError, AttributeError, KeyError) as error:
            raise Damaged(f"no readable {MANIFEST} ({type(error).__name__})") from None
        if digest(about) != sealed:
            raise Damaged(f"{MANIFEST} has changed since it was written")
        if (about["identity"], about["step"]) != (self.folder.name, step):
            raise Damaged(f"it belongs to step {about['step']} of {about['identity']}")
        return about

    def latest(self, environment: dict[str, Any] | None = None) -> Path | None:
        """The newest checkpoint that can be trusted; newer ones are named and removed.

        Where it was written with another `environment`, a warning says what differs.
        """
        for step in self.steps():
            path = self.path(step)
            try:
                about = self.check(step)
            except Damaged as error:
                log.warning("%s is not used: %s", path, error)
                shutil.rmtree(path)
                continue
            now = environment or {}
            other = {k: (v, now.get(k)) for k, v in about["environment"].items() if v != now.get(k)}
            if other:
                changes = ", ".join(f"{name} {was} -> {now}" for name, (was, now) in other.items())
                log.warning("%s: %s; weights may differ in their last bits", path, changes)
            return path
        return None

    def prune(self) -> None:
        """Keep the newest `KEEP`, and what they need."""
        steps = self.steps()
        kept = set(steps[:KEEP])
        for step in steps[:KEEP]:
            with contextlib.suppress(Damaged):
                kept |= set(self._manifest(step)["needs"])
        for step in set(steps) - kept:
            shutil.rmtree(self.path(step))


@contextlib.contextmanager
def checkpoint_folder(root: Path, identity: dict[str, Any]) -> Iterator[Checkpoints]:
    """The locked checkpoints of exactly this work, removed when it succeeds.

    `identity` holds the settings and the digests of the inputs. Its digest names the folder, so
    that checkpoints of other settings or inputs are never taken up; leftovers of those go. Of
    several processes the first holds the lock, and the others wait for it.
    """
    if not is_main():
        barrier()
        yield Checkpoints(root / digest(identity))
        return
    root.mkdir(parents=True, exist_ok=True)
    with only_writer(root):
        folder = root / digest(identity)
        for other in root.iterdir():
            if other.is_dir() and other != folder:
                shutil.rmtree(other)
        folder.mkdir(exist_ok=True)
        for half_written in folder.glob(".*"):
            remove(half_written)
        write_json(folder / "identity.json", identity)
        barrier()
        yield Checkpoints(folder)
        shutil.rmtree(folder)


@contextlib.contextmanager
def only_writer(root: Path) -> Iterator[None]:
    """Hold the lock of `root`; the kernel lets it go when the process ends, however it ends.

    Another holder is a `UserError` that names it.
    """
    lock, holder = filelock.FileLock(root / ".lock", timeout=0), root / ".holder"
    try:
        lock.acquire()
    except filelock.Timeout:
        name = "it has just begun"
        with contextlib.suppress(OSError):
            name = holder.read_text(encoding="utf-8").strip()
        raise UserError(
            f"checkpoints in {root}",
            expected="one training process",
            got=f"another one holds the lock ({name})",
            fix="wait for it, or end it and run again",
        ) from None
    try:
        write_text(holder, f"process {os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
