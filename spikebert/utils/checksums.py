"""The checksums that files are known by, and the check of one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import UserError


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digest(path: str | Path) -> str:
    """SHA-256 of the SHA-256 of a file, or of those of a folder's files in the order of their
    names; the names are no part of it."""
    path = Path(path)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    total = hashlib.sha256()
    for file in files:
        total.update(bytes.fromhex(sha256_of(file)))
    return total.hexdigest()


def git_id_of(path: Path) -> str:
    """The name that git gives a file: SHA-1 of its header and its bytes."""
    data = path.read_bytes()
    header = b"blob %d\0" % len(data)
    return hashlib.sha1(header + data, usedforsecurity=False).hexdigest()


def verified(path: Path, sha256: str | None, fix: str) -> Path:
    """`path` itself, when it is a file with this SHA-256."""
    if not path.is_file():
        raise UserError(f"file {path}", expected="a file", got="none", fix=fix)
    if sha256 and (got := sha256_of(path)) != sha256:
        raise UserError(
            f"file {path}",
            expected=f"SHA-256 {sha256}",
            got=got,
            fix="it is not the pinned file: replace it, or pin the new checksum after a look at it",
        )
    return path
