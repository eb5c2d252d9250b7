"""Files and folders that are written whole or not at all, and JSON read and written.

Whatever ends the process or the machine, a reader finds the old content, the new one, or nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError


@contextlib.contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside `target`, on the same file system, gone at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{target.name}.", suffix=".part", dir=target.parent
    ) as folder:
        yield Path(folder)


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """A path to write to, whose file takes the place of `path` when the block succeeds."""
    path = Path(path)
    with scratch_folder(path) as scratch:
        part = scratch / path.name
        yield part
        _flush(part)
        part.replace(path)


@contextlib.contextmanager
def atomic_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `folder` when the block succeeds."""
    folder = Path(folder)
    with scratch_folder(folder) as scratch:
        part = scratch / folder.name
        part.mkdir()
        yield part
        for path in (*part.rglob("*"), part):
            _flush(path)
        if folder.exists():
            folder.replace(scratch / "before")
        part.replace(folder)
        _flush(folder.parent)


def _flush(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(folder: str | Path) -> None:
    """Raise a `UserError` unless files can be made in a folder, which need not be there yet."""
    place = Path(folder).absolute()
    there = next(path for path in (place, *place.parents) if path.exists())
    if not os.access(there, os.W_OK):
        raise UserError(
            f"folder {folder}",
            expected="a place that may be written to",
            got=f"{there}, which may only be read",
            fix="change its permissions, or run in a folder of yours: snakemake --directory FOLDER",
        )


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Write a file of UTF-8 text with the line ends that `text` has."""
    with atomic_file(path) as part:
        part.write_text(text, encoding="utf-8", newline="")


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as JSON; a ValueError if a number in it is not finite."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path, what: str = "file", fix: str = "make it again") -> Any:
    """The value in a JSON file; a `UserError` if it is missing, or no JSON."""
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{what} {path}", expected="JSON", got=error, fix=fix) from None


def parse_json(text: str) -> Any:
    """The value of a JSON text; NaN and Infinity pass, since a message can then name their place.

    Raises:
        ValueError: it is no JSON, nested too deeply to be read, has a number of more digits than
            Python reads, or an object with one key twice (the json module would keep the last).
    """
    try:
        return json.loads(text, object_pairs_hook=_distinct)
    except RecursionError:
        raise ValueError("brackets within brackets, too many to be read") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} twice")
    return value
