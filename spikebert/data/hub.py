"""The Hugging Face hub through its own clients: rows of a data set, files of a model, an upload.

What is fetched is pinned by a commit. Files that are kept (a model, or `data_files` of a set) lie
in the hub's own cache (HF_HUB_CACHE) and are read from there without a network; each is checked
against the sum that the hub names it by, and against the configuration's, if that gives one. Rows
that are streamed are kept nowhere. No script or pickle of a repository is ever run or loaded.
"""

from __future__ import annotations

import itertools
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ..errors import UserError
from ..utils.checksums import git_id_of, sha256_of, verified

TRIES = 3  # of a whole action; the clients repeat single requests themselves
FIRST_WAIT_S = 2.0  # doubled after each try
PASSING = (408, 429, 500, 502, 503, 504)  # statuses that may be gone next time
BUILDERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv"}
COMMIT = re.compile("[0-9a-f]{40}")
SUMS = {64: sha256_of, 40: git_id_of}  # by the length of a name in the hub's cache
KEPT = "use config/config.yaml (embedded), which needs no hub"

T = TypeVar("T")
log = logging.getLogger(__name__)


class DamagedError(ConnectionError):
    """A file that came with other bytes than the hub names it by."""


def pinned(spec: dict[str, Any]) -> dict[str, Any]:
    """A file of a corpus; one of the hub whose revision is no commit gets the one it stands for
    today as `commit`, and a warning."""
    if spec["source"] != "hub" or COMMIT.fullmatch(spec["revision"]):
        return spec
    commit = _commit_of(spec["repository"], spec["revision"], "dataset")
    return spec | {"commit": commit}


def _commit_of(repository: str, revision: str, kind: str) -> str:
    from huggingface_hub import HfApi

    if COMMIT.fullmatch(revision) or Path(repository).is_dir():
        return revision
    info = attempt(
        lambda: HfApi().repo_info(repository, revision=revision, repo_type=kind),
        f"hub {kind} {repository}",
        f"revision {revision}",
    )
    log.warning(
        "hub %s %s is not pinned: %s may move, and is %s now; write that commit as its revision",
        kind,
        repository,
        revision,
        info.sha,
    )
    return str(info.sha)


def rows(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of a hub data set (or a local folder of data files) at a pinned revision, in order.

    With `data_files`, these are downloaded whole, checked and kept; without, rows are streamed.
    """
    what = f"hub data set {spec['repository']}"
    expected = f"split {spec['hub_split']} at revision {spec['revision']}"
    make = _kept if "data_files" in spec else _streamed
    found = attempt(lambda: make(spec), what, expected)
    try:
        yield from itertools.islice(found, spec.get("max_rows"))
    except Exception as error:  # the hub's errors have no base class in common
        raise explained(error, what, expected) from None


def _streamed(spec: dict[str, Any]) -> Any:
    from datasets import load_dataset_builder
    from datasets.packaged_modules.cache.cache import Cache
    from huggingface_hub import HfApi

    repository, revision = spec["repository"], spec.get("commit", spec["revision"])
    if not Path(repository).is_dir():
        # Asked first, since load_dataset tells less of what is wrong.
        HfApi().auth_check(repository, repo_type="dataset")
        HfApi().dataset_info(repository, revision=revision)
    builder = load_dataset_builder(repository, spec.get("name"), revision=revision)
    if isinstance(builder, Cache):  # of whatever revision was prepared last
        raise ConnectionError("the hub could not be reached")
    return builder.as_streaming_dataset(split=spec["hub_split"])


def _kept(spec: dict[str, Any]) -> Any:
    from datasets import load_dataset
    from huggingface_hub import hf_hub_download

    builders = {BUILDERS.get(Path(name).suffix) for name in spec["data_files"]}
    if None in builders or len(builders) > 1:
        raise UserError(
            f"data_files of {spec['repository']}",
            expected=f"files of one kind: {', '.join(BUILDERS)}",
            got=", ".join(spec["data_files"]),
            fix="name data files of the repository",
        )
    paths = []
    for name, sha256 in spec["data_files"].items():
        file = hf_hub_download(
            spec["repository"],
            name,
            repo_type="dataset",
            revision=spec.get("commit", spec["revision"]),
        )
        paths.append(str(verified(_undamaged(Path(file)), sha256, KEPT)))
    return load_dataset(builders.pop(), data_files={"all": paths}, split="all", streaming=True)


def snapshot(repository: str, revision: str, names: list[str]) -> Path:
    """A folder with those files of a model that are there, each with the sum the hub gives it."""
    from huggingface_hub import snapshot_download

    commit = _commit_of(repository, revision, "model")

    def download() -> Path:
        folder = Path(snapshot_download(repository, revision=commit, allow_patterns=names))
        for name in names:
            if (folder / name).is_file():
                _undamaged(folder / name)
        return folder

    return attempt(download, f"hub model {repository}", f"its files at revision {revision}")


def _undamaged(file: Path) -> Path:
    """`file` of the hub's cache, if it has the sum that its name there is; else it is removed."""
    blob = file.resolve()
    if re.fullmatch("[0-9a-f]+", blob.name) and len(blob.name) in SUMS:
        got = SUMS[len(blob.name)](blob)
        if got != blob.name:
            file.unlink()
            blob.unlink(missing_ok=True)
            raise DamagedError(f"{file.name} came with the sum {got}, and the hub says {blob.name}")
    return file


def upload(folder: Path, repository: str, token: str, private: bool) -> str:
    """Put a folder into a model repository, made if it is not there; the URL of the commit."""
    from huggingface_hub import HfApi

    api = HfApi(token=token)

    def push() -> str:
        api.create_repo(repository, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repository, folder_path=folder).commit_url)

    expected = f"leave to write into it ({folder} is whole: `hf upload {repository} {folder}`)"
    return attempt(push, f"hub model {repository}", expected)


def attempt(action: Callable[[], T], what: str, expected: str) -> T:
    """The result of `action`, which is tried `TRIES` times while its error may pass.

    Raises:
        UserError: the last error, in words, with the way out.
    """
    number = 0
    while True:
        number += 1
        try:
            return action()
        except UserError:
            raise
        except Exception as error:  # the hub's errors have no base class in common
            if not may_pass(error) or number == TRIES:
                raise explained(error, what, expected, number) from None
            wait = FIRST_WAIT_S * 2 ** (number - 1)
            log.warning("%s: %s; again in %g s", what, _line(error), wait)
            time.sleep(wait)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came from, each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _telling(error: BaseException) -> tuple[BaseException, int | None]:
    """The first error of a chain that names an HTTP status, and that; else itself."""
    for each in _chain(error):
        if (answer := getattr(each, "response", None)) is not None:
            return each, answer.status_code
    return error, None


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later: the server or the connection broke."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    errors = list(_chain(error))
    if any(isinstance(e, OfflineModeIsEnabled) for e in errors):
        return False
    if (status := _telling(error)[1]) is not None:
        return status in PASSING
    # The clients' own errors of transport are told by name: which library they use has changed.
    names = {base.__name__ for e in errors for base in type(e).__mro__}
    return bool(names & {"TransportError", "ConnectionError", "TimeoutError"})


def explained(error: Exception, what: str, expected: str, tries: int = 1) -> UserError:
    """The way out of an error of the hub's clients, in words."""
    from huggingface_hub import constants, errors

    reasons: dict[type[BaseException], tuple[str, str]] = {
        errors.OfflineModeIsEnabled: (
            "offline mode (HF_HUB_OFFLINE is set), and it is not in the hub's cache",
            f"fetch it once with the network (kept are models, and the data_files of sets; cache: "
            f"{constants.HF_HUB_CACHE}), or {KEPT}",
        ),
        errors.GatedRepoError: (
            "a gate: its owners let in who has accepted their terms",
            f"accept them on its page at {constants.ENDPOINT}, then log in with `hf auth login` or "
            "set HF_TOKEN",
        ),
        errors.RepositoryNotFoundError: (
            "no repository of this name, or a private one",
            "check owner/name; for a private one log in with `hf auth login` or set HF_TOKEN",
        ),
        errors.RevisionNotFoundError: (
            "no such revision",
            f"take a commit from its history at {constants.ENDPOINT}",
        ),
    }
    for kind, (got, fix) in reasons.items():
        if any(isinstance(e, kind) for e in _chain(error)):
            return UserError(what, expected=expected, got=got, fix=fix)
    fix = f"check the network and the revision, or {KEPT}"
    if _telling(error)[1] in (401, 403):
        fix = (
            "the token is not valid here, or gives no leave: make another (HF_TOKEN, hf auth login)"
        )
    elif "scripts are no longer supported" in str(error):
        fix = "its script is never run: name a revision with data files (refs/convert/parquet)"
    elif may_pass(error):
        fix = f"try again later, or {KEPT}"
    again = f" (tried {tries} times)" if tries > 1 else ""
    return UserError(what, expected=expected, got=_line(error) + again, fix=fix)


def _line(error: Exception) -> str:
    chosen, _ = _telling(error)
    return f"{type(chosen).__name__}: {' '.join(str(chosen).split())}"[:300]
