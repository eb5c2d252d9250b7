"""Members of archives: read one by one into memory, never unpacked by the paths they name."""

from __future__ import annotations

import fnmatch
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from ..errors import UserError

MAX_MEMBER_BYTES = 2**31
MAX_MEMBERS = 100_000  # of an archive, those that no pattern matches included
MAX_UNPACKED_BYTES = 2**33  # of an archive, those that are passed over in a tar included
MAX_GROWTH = 200  # times the size of the archive; text grows by 10 at most ...
ALWAYS_BYTES = 2**26  # ... unless it is short and repeats itself

# What the library raises at archives that are damaged, encrypted, or packed in unknown ways.
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)


class Member(NamedTuple):
    """One file's name and bytes, wherever they came from."""

    name: str
    data: bytes


class _Entry(NamedTuple):
    """What an archive says of one member."""

    name: str
    size: int
    is_folder: bool
    is_link: bool  # or a device
    passed: int  # bytes that are unpacked to get past it
    read: Callable[[], bytes]


def matching(name: str, archive: Path | io.BytesIO, patterns: list[str]) -> Iterator[Member]:
    """Regular files of a zip, wheel or tar archive that match the first pattern (`*` matches `/`,
    too), sorted by name; of these, if they are archives, those that match the next, and so on.

    Raises:
        UserError: no such archive or member, an archive that would fill the memory, or a member
            that is no regular file, stands twice, or has a path that leaves the archive.
    """
    found = _members(name, archive, patterns[0])
    if not found:
        raise UserError(
            f"archive {name}", expected=f"a member {patterns[0]}", got="none", fix="mend the path"
        )
    for member in found:
        if patterns[1:]:
            yield from matching(member.name, io.BytesIO(member.data), patterns[1:])
        else:
            yield member


def _members(name: str, archive: Path | io.BytesIO, pattern: str) -> list[Member]:
    try:
        with archive.open("rb") if isinstance(archive, Path) else archive as stream:
            entries = _zip_entries if zipfile.is_zipfile(stream) else _tar_entries
            size = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            return sorted(_wanted(name, entries(stream), size, pattern))
    except UserError:
        raise
    except _BROKEN as error:
        raise UserError(
            f"archive {name}", expected="a zip or tar archive", got=error, fix="fetch it again"
        ) from None


def _wanted(archive: str, entries: Iterator[_Entry], size: int, pattern: str) -> Iterator[Member]:
    most = min(max(ALWAYS_BYTES, MAX_GROWTH * size), MAX_UNPACKED_BYTES)
    names: set[str] = set()
    unpacked = 0
    for number, entry in enumerate(entries, 1):
        wanted = fnmatch.fnmatchcase(entry.name, pattern) and not entry.is_folder
        if wanted:
            _check(archive, entry, names)
        unpacked += entry.size if wanted else entry.passed
        if unpacked > most or number > MAX_MEMBERS:
            raise UserError(
                f"archive {archive}",
                expected=f"at most {MAX_MEMBERS} members, and unpacked at most {MAX_GROWTH} "
                f"times its size and {MAX_UNPACKED_BYTES} bytes",
                got=f"{number} members, {unpacked} bytes from {size}, and more",
                fix="do not use this archive",
            )
        if wanted:
            body = entry.read()
            if len(body) != entry.size:
                raise ValueError(f"{entry.name} has another size than it says")
            yield Member(entry.name, body)


def _check(archive: str, entry: _Entry, names: set[str]) -> None:
    path = PurePosixPath(entry.name.replace("\\", "/"))
    leaves = path.is_absolute() or ".." in path.parts or PureWindowsPath(entry.name).drive
    reasons = {
        "a link or device": entry.is_link,
        "a path that leaves the archive": leaves,
        "a name that stands twice": entry.name in names,
        f"{entry.size} bytes": entry.size > MAX_MEMBER_BYTES,
    }
    names.add(entry.name)
    for reason, holds in reasons.items():
        if holds:
            raise UserError(
                f"member {entry.name} of {archive}",
                expected=f"a regular file inside the archive, at most {MAX_MEMBER_BYTES} bytes",
                got=reason,
                fix="do not use this archive",
            )


def _zip_entries(data: IO[bytes]) -> Iterator[_Entry]:
    with zipfile.ZipFile(data) as file:
        for info in file.infolist():

            def read(info: zipfile.ZipInfo = info) -> bytes:
                with file.open(info) as stream:  # a size that is a lie must not be read past
                    return stream.read(info.file_size + 1)

            is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
            yield _Entry(info.filename, info.file_size, info.is_dir(), is_link, 0, read)


def _tar_entries(data: IO[bytes]) -> Iterator[_Entry]:
    with tarfile.open(mode="r:*", fileobj=data) as tar:
        for entry in tar:  # what is passed over is unpacked, too, before the next can be seen

            def read(entry: tarfile.TarInfo = entry) -> bytes:
                body = tar.extractfile(entry)
                assert body is not None, "a regular file has content"
                return body.read()

            is_link = not entry.isreg() or entry.issparse()
            yield _Entry(entry.name, entry.size, entry.isdir(), is_link, entry.size, read)
