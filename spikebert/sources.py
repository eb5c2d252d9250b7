"""Fetching and verifying files: a package, a pinned commit, a hub, or a local file.

Whatever is fetched is checked by its SHA-256 before a byte of it is read. Archives are read member
by member into memory, never unpacked by the paths they name, and never imported or executed.
"""

from __future__ import annotations

import fnmatch
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from . import hub
from .errors import UserError
from .specs import MEMBER
from .sums import sha256_of, verified

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
    name = spec["package"].split("==")[0]
    kind = "--no-binary" if spec.get("distribution") == "sdist" else "--only-binary"
    with _sibling(folder) as part:
        requirements = part / "requirements.txt"
        requirements.write_text(f"{spec['package']} --hash=sha256:{spec['sha256']}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
        command += ["--disable-pip-version-check", "--require-hashes", kind, name]
        command += ["--dest", str(part), "--requirement", str(requirements)]
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
        folder.mkdir(parents=True, exist_ok=True)
        for file in part.iterdir():
            file.replace(folder / file.name)
    cached = _cached(folder, spec["sha256"])
    assert cached, "pip has checked the hash"
    return cached


def _cached(folder: Path, sha256: str) -> Path | None:
    files = folder.iterdir() if folder.is_dir() else ()
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
    if target.is_file() and sha256_of(target) == spec["sha256"]:
        return target
    if mirror and (mirror / place).is_file():
        return verified(mirror / place, spec["sha256"], WAY_OUT)
    with _sibling(target) as part:
        download = part / target.name
        _download(f"{RAW_URL}/{place}", download)
        verified(download, spec["sha256"], WAY_OUT)
        download.replace(target)
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
            file.flush()
            os.fsync(file.fileno())
    except requests.RequestException as error:
        raise UserError(f"download {url}", expected="a file", got=error, fix=WAY_OUT) from None


@contextmanager
def _sibling(target: Path) -> Iterator[Path]:
    """An empty folder beside `target`, on the same file system, gone at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def complete_folder(out: Path, last: str) -> Iterator[Path]:
    """A folder to write into, whose files move to `out` when all are there, `last` after the rest.

    So `out/last` stands for a complete folder; an error leaves `out` as it was.
    """
    out = Path(out)
    with _sibling(out) as part:
        yield part
        out.mkdir(parents=True, exist_ok=True)
        (out / last).unlink(missing_ok=True)
        for file in sorted(part.iterdir(), key=lambda f: (f.name == last, f.name)):
            file.replace(out / file.name)


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


def _members(name: str, archive: Path | io.BytesIO, pattern: str) -> Iterator[Member]:
    """Regular files of a zip, wheel or tar archive that match `pattern`, sorted by name."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                for info in sorted(file.infolist(), key=lambda i: i.filename):
                    if fnmatch.fnmatchcase(info.filename, pattern) and not info.is_dir():
                        is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
                        _check_member(name, info.filename, info.file_size, is_link)
                        yield Member(info.filename, file.read(info))
            return
        content = archive.read_bytes() if isinstance(archive, Path) else archive.getvalue()
        with tarfile.open(mode="r:*", fileobj=io.BytesIO(content)) as tar:
            for entry in sorted(tar.getmembers(), key=lambda e: e.name):
                if fnmatch.fnmatchcase(entry.name, pattern) and not entry.isdir():
                    _check_member(name, entry.name, entry.size, not entry.isreg())
                    body = tar.extractfile(entry)
                    assert body is not None, "a regular file has content"
                    yield Member(entry.name, body.read())
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise UserError(
            f"archive {name}", expected="a zip or tar archive", got=error, fix="fetch it again"
        ) from None


def _check_member(archive: str, name: str, size: int, is_link: bool) -> None:
    path = PurePosixPath(name)
    reasons = {
        "a link or device": is_link,
        "a path that leaves the archive": path.is_absolute() or ".." in path.parts,
        f"{size} bytes": size > MAX_MEMBER_BYTES,
    }
    for reason, holds in reasons.items():
        if holds:
            raise UserError(
                f"member {name} of {archive}",
                expected=f"a regular file inside the archive, at most {MAX_MEMBER_BYTES} bytes",
                got=reason,
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
    with complete_folder(out, last="config.json") as part:
        if spec["source"] == "package":
            archive = fetch(spec, "", Path(cache))
            for member in _matching(archive.name, archive, [f"{spec['path'].rstrip('/')}/*"]):
                name = PurePosixPath(member.name).relative_to(spec["path"]).as_posix()
                if name in MODEL_FILES:
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
        value = json.loads(file.read_text(encoding="utf-8"))
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
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config.get("model_type") in types:
            return
        raise UserError(
            f"teacher {where}",
            expected=f"model_type {' or '.join(types)} in config.json",
            got=config.get("model_type"),
            fix="choose a BERT",
        )
    raise UserError(
        f"teacher {where}",
        expected="config.json, model.safetensors, and tokenizer.json or vocab.txt",
        got=", ".join(sorted(names)) or "no such folder",
        fix="choose a revision with safetensors; pickled weights are never read",
    )
