"""The C++ of this folder built once for this processor and kept between processes."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import filelock

SOURCES = tuple(sorted(Path(__file__).with_name("csrc").glob("*.cpp")))
# The membrane's sums are not contracted, so that fp32 spikes are bitwise the plain neuron's.
FLAGS = ("-O3", "-ffp-contract=off", "-fno-math-errno", "-std=c++17", "-shared", "-fPIC")
# Best first; compilers differ in what they know.
OPTIONAL = (("-march=native", "-fopenmp"), ("-march=native",), ())


def compiler() -> str | None:
    """The C++ compiler: $CXX, or g++, or clang++; None where there is none."""
    found = map(shutil.which, (os.environ.get("CXX", ""), "g++", "clang++"))
    return next(filter(None, found), None)


def _processor(command: str) -> str:
    """What -march=native means here, as the compiler says that asks the processor; a home folder
    may serve unlike machines."""
    words = [command, "-march=native", "-###", "-E", "-xc++", "-"]
    asked = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return f"{platform.machine()} {asked.stderr!r}"


def _folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spikebert"
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
    return cache if os.access(cache, os.W_OK) else Path(tempfile.mkdtemp(prefix="spikebert-"))


def _build(command: str, target: Path) -> bool:
    """Compile to `target`, whole or not at all, with the most that the compiler knows.

    The caller holds the lock; what a killed one left goes.
    """
    prefix = f".{target.stem}-"
    for leftover in target.parent.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=prefix) as folder:
        part = Path(folder) / target.name
        for optional in OPTIONAL:
            words = [command, *FLAGS, *optional, *map(str, SOURCES), "-o", str(part)]
            if subprocess.run(words, capture_output=True, check=False).returncode == 0:
                part.replace(target)
                return True
    return False


@functools.cache
def library() -> ctypes.CDLL | None:
    """The built kernel, or None where nothing can build it."""
    command = compiler()
    if command is None:
        return None
    sources = [source.read_text(encoding="utf-8") for source in SOURCES]
    parts = (*sources, command, *FLAGS, *map(str, OPTIONAL), _processor(command))
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    target = _folder() / f"kernel-{digest}.so"
    if not target.exists():
        with filelock.FileLock(target.with_suffix(".lock")):
            if not target.exists() and not _build(command, target):
                return None
    built = ctypes.CDLL(str(target))
    built.has_tiles()  # asks the system for the tiles' registers: without it their use is fatal
    return built
