"""Fetching and verifying files: a package, a pinned commit, a hub, or a local file.

Whatever is fetched is checked by its SHA-256 before a byte of it is read. Archives are read member
by member into memory, never unpacked by the paths they name, and never imported or executed.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from ..config.datasets import MEMBER
from ..errors import UserError
from ..utils.checksums import sha256_of, verified
from ..utils.files import atomic_file, atomic_folder
from .archives import Member, matching

RAW_URL = "https://raw.githubusercontent.com"
MIRROR_VARIABLE = "SPIKEBERT_MIRROR"
MAX_DOWNLOAD_BYTES = 2**31
PIP_TIMEOUT_S = 900
HTTP_TIMEOUT_S = 60
WAY_OUT = "set mirror: to a folder that holds the file, or use config/config.yaml (embedded)"


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
    return list(matching(path.name, path, patterns)), sha256


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
        named = os.environ.get(MIRROR_VARIABLE)
        return _fetch_url(spec, path, cache, mirror or (Path(named) if named else None))
    return verified(Path(path), spec.get("sha256"), "give the path of a file that exists")


def _fetch_package(spec: dict[str, Any], cache: Path) -> Path:
    """Download a pinned distribution with pip, which checks its hash before it reads on.

    For a source distribution pip asks the package's build script for its metadata; the hash is
    checked before that, and nothing of the package is installed.
    """
    folder = cache / "packages" / spec["sha256"]

    def download() -> None:
        with atomic_folder(folder) as part:
            _pip_download(spec, part)

    return _once(folder, spec["sha256"], cache, download)


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


def _once(target: Path, sha256: str, cache: Path, download: Callable[[], None]) -> Path:
    """The file with this SHA-256, `target` or one in it: fetched where it is not there, by one
    process at a time. What a killed process left beside it goes."""
    locks = cache / ".locks"
    if found := _cached(target, sha256):
        return found
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"{sha256}.lock"):
        for leftover in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
            shutil.rmtree(leftover, ignore_errors=True)
        if not _cached(target, sha256):  # by another job, meanwhile
            download()
    found = _cached(target, sha256)
    assert found, "who downloads checks the hash"
    return found


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
    if mirror and not _cached(target, spec["sha256"]) and (mirror / place).is_file():
        return verified(mirror / place, spec["sha256"], WAY_OUT)

    def download() -> None:
        with atomic_file(target) as part:
            _download(f"{RAW_URL}/{place}", part)
            verified(part, spec["sha256"], WAY_OUT)

    return _once(target, spec["sha256"], cache, download)


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
