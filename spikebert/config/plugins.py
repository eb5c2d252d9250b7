"""Python files outside the package that enter neurons, losses, models and other parts of theirs.

A configuration names them under `plugins`. They are run when it is read, and may load torch then,
so that a part that none of them enters is refused before the first job.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Collection, Iterable, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from ..errors import UserError
from ..utils.checksums import sha256_of
from ..utils.validation import one_of, validate

# What has been registered, by kind and name, and the name and SHA-256 of the file that did it; None
# where it was no file.
_FILES: dict[tuple[str, str], tuple[str, str] | None] = {}


def digests(paths: Iterable[str | Path]) -> dict[str, str]:
    """The SHA-256 of each file, by its path; a `UserError` for one that is not there."""
    found = {}
    for path in map(str, paths):
        try:
            found[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except (OSError, ValueError) as error:
            fix = "check the path; it starts where the workflow is run"
            raise _refused(path, getattr(error, "strerror", None) or error, fix) from None
    return found


def load_plugins(paths: Iterable[str | Path]) -> list[ModuleType]:
    """The modules that the files are, each run once in a process.

    Raises:
        UserError: there is no such file, or an exception within it, named by its line.
    """
    return [_load(path, sha256) for path, sha256 in digests(paths).items()]


def _load(path: str, sha256: str) -> ModuleType:
    name = f"spikebert_plugin_{sha256[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    loader = SourceFileLoader(name, path)
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = path
    try:
        loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        if isinstance(error, UserError):  # of a name that is taken; it names the file
            raise
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame.lineno for frame in frames if frame.filename == path]
        line = error.lineno if isinstance(error, SyntaxError) else (own or [None])[-1]
        raise _refused(f"{path}, line {line}", f"{type(error).__name__}: {error}") from error
    return module


def _refused(path: object, got: object, fix: str = "mend the file") -> UserError:
    return UserError(f"plugin {path}", expected="a Python file that runs", got=got, fix=fix)


def register(
    kind: str, registry: dict[str, Any], name: str, thing: Any, taken: Collection[str] = ()
) -> None:
    """Enter `thing` in `registry`, where `model.<kind>: <name>` or the like finds it, and note the
    file that calls the function which calls this one.

    Raises:
        UserError: another thing has that name, or it is one of those that are `taken`.
    """
    file = Path(sys._getframe(2).f_code.co_filename)
    known = _FILES.get((kind, name))
    own = known is not None and known[0] == file.name
    if name.startswith("sj.") or name in taken or (name in registry and not own):
        names = ", ".join(dict.fromkeys((*taken, *registry)))
        raise UserError(
            f"{kind} {name} of {file}",
            expected=f"a name besides {names}, and none that begins with sj.",
            got=name,
            fix="give it another name",
        )
    registry[name] = thing
    _FILES[kind, name] = (file.name, sha256_of(file)) if file.is_file() else None


def entered(kind: str) -> list[str]:
    """The names of this kind that files outside the package have registered."""
    return [name for known, name in _FILES if known == kind]


def needed(kind: str, names: Collection[str]) -> dict[str, str]:
    """The files that registered these names of a kind, each with its SHA-256."""
    found = (plugin for key, plugin in _FILES.items() if key[0] == kind and key[1] in names)
    return dict(sorted(filter(None, found)))


def part_name(kind: str, own: Collection[str] = (), theirs: bool = False) -> Any:
    """Text that names a part: our own, a plugin's or, where `theirs`, one of spikingjelly's."""
    other = "sj.<class> of spikingjelly, " * theirs + "or a name that a plugin enters"
    return one_of(lambda: [*own, *entered(kind)], other, r"sj\.[A-Za-z_]\w*" if theirs else None)


def part(kind: str, name: str, parts: Mapping[str, Any]) -> Any:
    """Of the parts of a kind that are loaded the one of this name, or a `UserError`."""
    if name not in parts:
        validate(Annotated[str, *part_name(kind, parts)], name, f"setting model.{kind}")
    return parts[name]


def check_loaded(plugins: Mapping[str, str] | None) -> None:
    """Refuse a model, which needs these files by their SHA-256, unless they are loaded.

    Raises:
        UserError: one is missing, or is not the file that the model was trained with.
    """
    loaded = dict(filter(None, _FILES.values()))
    for name, sha256 in (plugins or {}).items():
        found = loaded.get(name)
        if found != sha256:
            raise UserError(
                f"plugin {name}, which this model needs",
                expected=f"the file that it was trained with, SHA-256 {sha256[:12]}",
                got=f"one with SHA-256 {found[:12]}" if found else "none loaded",
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
    for kind, name in _FILES:
        if getattr(config, kind, None) == name and (files := needed(kind, [name])):
            config.plugins = named = {**(named or {}), **files}
