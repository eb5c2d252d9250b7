"""Python files outside the package that enter neurons, losses, models and other parts of theirs.

A configuration names them under `plugins`. They are run when it is read, and may load torch then,
so that a part that none of them enters is refused before the first job.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ..errors import UserError
from ..utils.checksums import sha256_of
from ..utils.validation import nearest
from .registry import ATTENTIONS, ENCODERS, NEURONS, SURROGATES

# Settings whose value is the name of a part, and the parts of our own.
PARTS = {
    "neuron": NEURONS,
    "surrogate": SURROGATES,
    "encoder": ENCODERS,
    "attention": ATTENTIONS,
}


class Plugin(NamedTuple):
    """A file that registered something, by its name and SHA-256."""

    name: str
    sha256: str


# What has been registered, by kind and name, and the file that did it; None where it was no file.
_FILES: dict[tuple[str, str], Plugin | None] = {}


def digests(paths: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of each file, by its path; a `UserError` for one that is not there."""
    return {path: hashlib.sha256(_read(path)).hexdigest() for path in paths}


def load_plugins(paths: Iterable[str | Path]) -> list[ModuleType]:
    """The modules that the files are, each run once in a process.

    Raises:
        UserError: there is no such file, or an exception within it, named by its line.
    """
    return [_load(Path(path)) for path in paths]


def _load(path: Path) -> ModuleType:
    name = f"spikebert_plugin_{hashlib.sha256(_read(path)).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise _refused(path, "its name does not end in .py", "rename it")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        if isinstance(error, UserError):  # of a name that is taken; it names the file
            raise
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame.lineno for frame in frames if frame.filename == spec.origin]
        line = error.lineno if isinstance(error, SyntaxError) else (own or [None])[-1]
        raise _refused(f"{path}, line {line}", f"{type(error).__name__}: {error}") from error
    return module


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        fix = "check the path; it starts where the workflow is run"
        raise _refused(path, getattr(error, "strerror", None) or error, fix) from None


def _refused(path: object, got: object, fix: str = "mend the file") -> UserError:
    return UserError(f"plugin {path}", expected="a Python file that runs", got=got, fix=fix)


def register(
    kind: str,
    registry: dict[str, Any],
    name: str,
    thing: Any,
    taken: Collection[str] = (),
    depth: int = 2,
) -> None:
    """Enter `thing` in `registry`, where `model.<kind>: <name>` or the like finds it, and note the
    file that calls, `depth` calls up.

    Raises:
        UserError: another thing has that name, or it is one of those that are `taken`.
    """
    file = Path(sys._getframe(depth).f_code.co_filename)
    plugin = Plugin(file.name, sha256_of(file)) if file.is_file() else None
    known = _FILES.get((kind, name))
    own = known is not None and plugin is not None and known.name == plugin.name
    if name.startswith("sj.") or name in taken or (name in registry and not own):
        names = ", ".join(dict.fromkeys((*taken, *registry)))
        raise UserError(
            f"{kind} {name} of {file}",
            expected=f"a name besides {names}, and none that begins with sj.",
            got=name,
            fix="give it another name",
        )
    registry[name] = thing
    _FILES[kind, name] = plugin


def entered(kind: str) -> list[str]:
    """The names of this kind that files outside the package have registered."""
    return [name for known, name in _FILES if known == kind]


def needed(kind: str, names: Collection[str]) -> dict[str, str]:
    """The files that registered these names of a kind, each with its SHA-256."""
    found = (plugin for key, plugin in _FILES.items() if key[0] == kind and key[1] in names)
    return dict(sorted(filter(None, found)))


def check_part(kind: str, name: str, key: str) -> None:
    """Refuse the name of a part that is neither ours nor a plugin's nor, of a neuron or surrogate,
    one of spikingjelly's.

    Raises:
        UserError: it is none of these.
    """
    theirs = kind in ("neuron", "surrogate")
    known = [*PARTS.get(kind, ()), *entered(kind)]
    if name in known or (theirs and re.fullmatch(r"sj\.[A-Za-z_]\w*", name)):
        return
    choices = [*known, *(["sj.<class> of spikingjelly"] if theirs else [])]
    raise UserError(
        f"setting {key}",
        expected=", ".join([*choices, "or a name that a plugin enters"]),
        got=name,
        fix=nearest(name, known, "name one of these, or the file that enters it under plugins"),
    )


def part(kind: str, name: str, parts: Mapping[str, Any]) -> Any:
    """Of the parts of a kind that are loaded the one that `model.<kind>` names, or a `UserError`
    as of `check_part`."""
    if name not in parts:
        check_part(kind, name, f"model.{kind}")
    return parts[name]


def check_loaded(plugins: Mapping[str, str] | None) -> None:
    """Refuse a model, which needs these files by their SHA-256, unless they are loaded.

    Raises:
        UserError: one is missing, or is not the file that the model was trained with.
    """
    loaded = dict(filter(None, _FILES.values()))
    for name, sha256 in (plugins or {}).items():
        if loaded.get(name) != sha256:
            found = f"one with SHA-256 {loaded[name][:12]}" if name in loaded else "none loaded"
            raise UserError(
                f"plugin {name}, which this model needs",
                expected=f"the file that it was trained with, SHA-256 {sha256[:12]}",
                got=found,
                fix=f"--plugin {name}, `plugins: [{name}]` in the configuration, or import the "
                "file before the model is loaded; train again if the file has changed",
            )


def claim(config: Any) -> None:
    """Check that the plugins which a model's configuration names are loaded, and let it name those
    that its settings need.

    Raises:
        UserError: as `check_loaded`.
    """
    named = getattr(config, "plugins", None)
    check_loaded(named)
    used = [needed(kind, [name]) for kind, name in _FILES if getattr(config, kind, None) == name]
    for files in filter(None, used):
        config.plugins = named = {**(named or {}), **files}
