"""Python files outside the package that enter neurons, surrogates and other parts of theirs.

A configuration names them under `plugins`. What a file offers is known only by running it, which
may load torch; the plan therefore takes note of its path and digest alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from ..errors import UserError
from ..utils.validation import nearest
from .registry import ATTENTIONS, ENCODERS, NEURONS, SURROGATES

# Settings whose value is the name of a part, and the parts of our own.
PARTS = {
    "neuron": NEURONS,
    "surrogate": SURROGATES,
    "encoder": ENCODERS,
    "attention": ATTENTIONS,
}


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
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame.lineno for frame in frames if frame.filename == str(path)]
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


def check_part(kind: str, name: str, key: str, plugins: Iterable[str]) -> None:
    """Refuse the name of a part that is neither ours nor, of a neuron or surrogate, spikingjelly's,
    nor can be that of a plugin.

    Raises:
        UserError: it is none of these.
    """
    own = PARTS[kind]
    theirs = "sj.<class> of spikingjelly, " if kind in ("neuron", "surrogate") else ""
    if name in own or any(plugins) or (theirs and re.fullmatch(r"sj\.[A-Za-z_]\w*", name)):
        return
    raise UserError(
        f"setting {key}",
        expected=f"{', '.join(own)}, {theirs}or a name that a plugin enters",
        got=name,
        fix=nearest(name, own, "name one of these, or the file that enters it under plugins"),
    )
