"""Fetching and verifying files: a package, a pinned commit, a hub, or a local file.

Whatever is fetched is checked by its SHA-256 before a byte of it is read. Archives are read member
by member into memory, never unpacked by the paths they name, and never imported or executed.
"""

from __future__ import annotations

import fnmatch
import glob
import io
import json
import lzma
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, NamedTuple

from filelock import FileLock

from ..config.specs import MEMBER
from ..errors import UserError
from ..utils.checksums import sha256_of, verified
from ..utils.files import atomic_file, atomic_folder
from ..utils.strict_json import parse_json
from . import hub

RAW_URL = "https://raw.githubusercontent.com"
MIRROR_VARIABLE = "SPIKEBERT_MIRROR"
WEIGHTS = "model.safetensors"
MODEL_FILES = (
    WEIGHTS,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "config.json",
)
MAX_MEMBER_BYTES = 2**31
MAX_MEMBERS = 100_000  # of an archive, those that no pattern matches included
MAX_UNPACKED_BYTES = 2**33  # of an archive, those that are passed over in a tar included
MAX_GROWTH = 200  # times the size of the archive; text grows by 10 at most ...
ALWAYS_BYTES = 2**26  # ... unless it is short and repeats itself
MAX_DOWNLOAD_BYTES = 2**31
PIP_TIMEOUT_S = 900
HTTP_TIMEOUT_S = 60
WAY_OUT = "set mirror: to a folder that holds the file, or use config/config.yaml (embedded)"


class Member(NamedTuple):
    """One file's name and bytes, wherever they came from."""

    name: str
    data: bytes


def read_members(
    spec: dict[str, Any], cache: Path, mirror: Path | None = None
) -> tuple[list[Member], str]:
    """The verified files that `spec` (package, url or file) names, and the SHA-256 of their source.

    A path `a.zip!/b/*.txt` gives every regular file of the archive that matches, sorted by name
    (`*` matches `/`, too).
    """
    outer, patterns = archive_path(spec)
    path = fetch(spec, outer, Path(cache), mirror)
    sha256 = spec.get("sha256") or sha256_of(path)
    if not patterns:
        return [Member(path.name, path.read_bytes())], sha256
    return list(_matching(path.name, path, patterns)), sha256


def archive_path(spec: dict[str, Any]) -> tuple[str, list[str]]:
    """The file to fetch and the patterns to follow into it.

    >>> archive_path({"source": "url", "path": "a/b.zip!/c/*.txt"})
    ('a/b.zip', ['c/*.txt'])
    """
    parts = spec["path"].split(MEMBER)
    return ("", parts) if spec["source"] == "package" else (parts[0], parts[1:])


def fetch(spec: dict[str, Any], path: str, cache: Path, mirror: Path | None = None) -> Path:
    """A verified local file: the distribution of a package, a file of a repository, or a file."""
    if spec["source"] == "package":
        return _fetch_package(spec, cache)
    if spec["source"] == "url":
        return _fetch_url(spec, path, cache, mirror or _default_mirror())
    return verified(Path(path), spec.get("sha256"), "give the path of a file that exists")


def _default_mirror() -> Path | None:
    folder = os.environ.get(MIRROR_VARIABLE)
    return Path(folder) if folder else None


def _fetch_package(spec: dict[str, Any], cache: Path) -> Path:
    """Download a pinned distribution with pip, which checks its hash before it reads on.

    For a source distribution pip asks the package's build script for its metadata; the hash is
    checked before that, and nothing of the package is installed.
    """
    folder = cache / "packages" / spec["sha256"]
    if cached := _cached(folder, spec["sha256"]):
        return cached
    with _only_fetch(folder, cache, spec["sha256"]):
        if not _cached(folder, spec["sha256"]):  # by another job, meanwhile
            with atomic_folder(folder) as part:
                _pip_download(spec, part)
    cached = _cached(folder, spec["sha256"])
    assert cached, "pip has checked the hash"
    return cached


def _pip_download(spec: dict[str, Any], folder: Path) -> None:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{spec['package']} --hash=sha256:{spec['sha256']}\n")
    kind = "--no-binary" if spec.get("distribution") == "sdist" else "--only-binary"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += ["--disable-pip-version-check", "--require-hashes"]
    command += [kind, spec["package"].split("==")[0]]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False
        )
        failure = run.stderr.strip() if run.returncode else ""
    except subprocess.TimeoutExpired:
        failure = f"no answer within {PIP_TIMEOUT_S} s"
    requirements.unlink()
    if failure:
        fixes = {
            "No module named pip": f"install pip for {sys.executable}",
            "DO NOT MATCH THE HASHES": "it is not the pinned file: do not use it",
        }
        found = (fix for sign, fix in fixes.items() if sign in failure)
        raise UserError(
            f"package {spec['package']}",
            expected=f"{spec.get('distribution', 'wheel')} with SHA-256 {spec['sha256']}",
            got=failure[-600:],
            fix=next(found, "reach a package index"),
        )


def _cached(folder: Path, sha256: str) -> Path | None:
    """The file with this SHA-256: `folder` itself, or one in it."""
    files = folder.iterdir() if folder.is_dir() else (folder,)
    return next((f for f in files if f.is_file() and sha256_of(f) == sha256), None)


def _fetch_url(spec: dict[str, Any], path: str, cache: Path, mirror: Path | None) -> Path:
    """A file of a repository at a pinned commit: from the cache, the mirror or the network."""
    place = PurePosixPath(spec["repository"], spec["commit"], path)
    if ".." in place.parts or place.is_absolute():
        raise UserError(
            f"path {place}",
            expected="a path in the repository",
            got="one that leaves it",
            fix="remove '..'",
        )
    target = cache / "repositories" / place
    if _cached(target, spec["sha256"]):
        return target
    if mirror and (mirror / place).is_file():
        return verified(mirror / place, spec["sha256"], WAY_OUT)
    with _only_fetch(target, cache, spec["sha256"]):
        if not _cached(target, spec["sha256"]):  # by another job, meanwhile
            with atomic_file(target) as part:
                _download(f"{RAW_URL}/{place}", part)
                verified(part, spec["sha256"], WAY_OUT)
    return target


def _download(url: str, target: Path) -> None:
    """Write the body of `url` to `target`, with retries on errors that may pass."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(total=4, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))
    size = 0
    try:
        with requests.Session() as session, target.open("wb") as file:
            session.mount("https://", HTTPAdapter(max_retries=retry))
            with session.get(url, stream=True, timeout=HTTP_TIMEOUT_S) as response:
                response.raise_for_status()
                for block in response.iter_content(1 << 20):
                    size += len(block)
                    if size > MAX_DOWNLOAD_BYTES:
                        raise requests.RequestException(f"more than {MAX_DOWNLOAD_BYTES} bytes")
                    file.write(block)
    except requests.RequestException as error:
        raise UserError(f"download {url}", expected="a file", got=error, fix=WAY_OUT) from None


@contextmanager
def _only_fetch(target: Path, cache: Path, sha256: str) -> Iterator[None]:
    """One process fetches this content at a time; what a killed one left beside it goes."""
    locks = cache / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"{sha256}.lock"):
        for leftover in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def _matching(name: str, archive: Path | io.BytesIO, patterns: list[str]) -> Iterator[Member]:
    """Members of an archive that match the first pattern, and of these the next, and so on."""
    found = False
    for member in _members(name, archive, patterns[0]):
        found = True
        if patterns[1:]:
            yield from _matching(member.name, io.BytesIO(member.data), patterns[1:])
        else:
            yield member
    if not found:
        raise UserError(
            f"archive {name}", expected=f"a member {patterns[0]}", got="none", fix="mend the path"
        )


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


def _members(name: str, archive: Path | io.BytesIO, pattern: str) -> Iterator[Member]:
    """Regular files of a zip, wheel or tar archive that match `pattern`, sorted by name.

    Raises:
        UserError: no such archive, one that would fill the memory, or a member that is no regular
            file, stands twice, or has a path that leaves the archive.
    """
    try:
        with archive.open("rb") if isinstance(archive, Path) else archive as stream:
            read = _zip_members if zipfile.is_zipfile(stream) else _tar_members
            size = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            found = read(name, stream, size, pattern)
    except UserError:
        raise
    except _BROKEN as error:
        raise UserError(
            f"archive {name}", expected="a zip or tar archive", got=error, fix="fetch it again"
        ) from None
    yield from sorted(found)


def _zip_members(archive: str, data: IO[bytes], size: int, pattern: str) -> list[Member]:
    found = []
    with zipfile.ZipFile(data) as file:
        budget = _Budget(archive, size)
        for info in file.infolist():
            if fnmatch.fnmatchcase(info.filename, pattern) and not info.is_dir():
                is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
                budget.take(info.filename, info.file_size, is_link)
                with file.open(info) as stream:  # a size that is a lie must not be read past
                    body = stream.read(info.file_size + 1)
                if len(body) != info.file_size:
                    raise zipfile.BadZipFile(f"{info.filename} is shorter than it says")
                found.append(Member(info.filename, body))
            else:
                budget.skip()
    return found


def _tar_members(archive: str, data: IO[bytes], size: int, pattern: str) -> list[Member]:
    found = []
    with tarfile.open(mode="r:*", fileobj=data) as tar:
        budget = _Budget(archive, size)
        for entry in tar:  # what is passed over is unpacked, too, before the next can be seen
            if fnmatch.fnmatchcase(entry.name, pattern) and not entry.isdir():
                budget.take(entry.name, entry.size, not entry.isreg() or entry.issparse())
                body = tar.extractfile(entry)
                assert body is not None, "a regular file has content"
                found.append(Member(entry.name, body.read()))
                if len(found[-1].data) != entry.size:
                    raise tarfile.ReadError(f"{entry.name} is cut short")
            else:
                budget.skip(entry.size)
    return found


class _Budget:
    """What may still be unpacked from an archive, and the names that were."""

    def __init__(self, archive: str, size: int):
        self.archive, self.size = archive, size
        self.members = self.unpacked = 0
        self.names: set[str] = set()

    def take(self, name: str, size: int, is_link: bool) -> None:
        """Count a member that is wanted, or refuse it."""
        path = PurePosixPath(name.replace("\\", "/"))
        leaves = path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive
        reasons = {
            "a link or device": is_link,
            "a path that leaves the archive": leaves,
            "a name that stands twice": name in self.names,
            f"{size} bytes": size > MAX_MEMBER_BYTES,
        }
        self.names.add(name)
        for reason, holds in reasons.items():
            if holds:
                raise UserError(
                    f"member {name} of {self.archive}",
                    expected=f"a regular file inside the archive, at most {MAX_MEMBER_BYTES} bytes",
                    got=reason,
                    fix="do not use this archive",
                )
        self.skip(size)

    def skip(self, size: int = 0) -> None:
        """Count a member that is not wanted, with what has to be unpacked to get past it."""
        self.members += 1
        self.unpacked += size
        most = min(max(ALWAYS_BYTES, MAX_GROWTH * self.size), MAX_UNPACKED_BYTES)
        if self.unpacked > most or self.members > MAX_MEMBERS:
            raise UserError(
                f"archive {self.archive}",
                expected=f"at most {MAX_MEMBERS} members, and unpacked at most {MAX_GROWTH} "
                f"times its size and {MAX_UNPACKED_BYTES} bytes",
                got=f"{self.members} members, {self.unpacked} bytes from {self.size}, and more",
                fix="do not use this archive",
            )


def fetch_model(
    spec: dict[str, Any], cache: Path, out: Path, types: Sequence[str] = ("bert",)
) -> None:
    """Put a pre-trained BERT (source package, hub or folder) into `out` as a Hugging Face folder.

    `types` are the values of model_type that will do. Copied are weights as safetensors,
    configuration and tokenizer, nothing else. Where these name code of the repository (`auto_map`),
    the copy does not.
    """
    with atomic_folder(out) as part:
        if spec["source"] == "package":
            archive = fetch(spec, "", Path(cache))
            for member in _matching(archive.name, archive, [f"{spec['path'].rstrip('/')}/*"]):
                folder_of, _, name = member.name.rpartition("/")
                if folder_of == spec["path"].rstrip("/") and name in MODEL_FILES:
                    (part / name).write_bytes(member.data)
            folder = part
        elif spec["source"] == "hub":
            folder = hub.snapshot(spec["repository"], spec["revision"], list(MODEL_FILES))
        else:
            folder = Path(spec["path"])
        _check_model(folder, spec, types)
        if spec["source"] == "hub":
            verified(folder / WEIGHTS, spec.get("sha256"), WAY_OUT)
        for name in MODEL_FILES:
            if folder != part and (folder / name).is_file():
                shutil.copyfile(folder / name, part / name)
            if (part / name).is_file() and name.endswith("config.json"):
                _forget_code(part / name)


def _forget_code(file: Path) -> None:
    """Take the names of classes in somebody's repository out of a configuration."""
    try:
        value = parse_json(file.read_text(encoding="utf-8"))
        named = value.pop("auto_map", None) is not None
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"file {file.name} of the teacher",
            expected="a JSON object",
            got=error,
            fix="fetch it again, or choose another revision",
        ) from None
    if named:
        file.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")


def _check_model(folder: Path, spec: dict[str, Any], types: Sequence[str]) -> None:
    where = spec.get("repository") or spec.get("package") or folder
    names = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    missing = {"config.json", WEIGHTS} - names
    if not missing and names & {"tokenizer.json", "vocab.txt"}:
        try:
            config = parse_json((folder / "config.json").read_text(encoding="utf-8"))
            got = config["model_type"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            got = f"{type(error).__name__} {error}"
        if got in types:
            return
        raise UserError(
            f"teacher {where}",
            expected=f"model_type {' or '.join(types)} in config.json",
            got=got,
            fix="choose a BERT",
        )
    raise UserError(
        f"teacher {where}",
        expected="config.json, model.safetensors, and tokenizer.json or vocab.txt",
        got=", ".join(sorted(names)) or "no such folder",
        fix="choose a revision with safetensors; pickled weights are never read",
    )
