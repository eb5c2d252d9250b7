"""A configuration read from its file, and changed by what stands on a command line."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from ..utils.validation import nearest


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: there is no such file, it is no YAML (with the line), or it holds no mapping.
    """
    path = Path(path)
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        there = path.parent.glob("*.y*ml") if path.parent.is_dir() else ()
        known = [str(other) for other in sorted(there)]
        raise UserError(
            f"configuration {path}",
            expected="a YAML file",
            got="no such file" if isinstance(error, FileNotFoundError) else error.strerror,
            fix=nearest(str(path), known, "check the path"),
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        raise UserError(
            f"configuration {path}" + (f", line {mark.line + 1}" if mark else ""),
            expected="valid YAML",
            got=getattr(error, "problem", None) or error,
            fix="check indentation, quotes and brackets there and in the line before",
        ) from None
    if not isinstance(value, dict):
        raise UserError(
            f"configuration {path}",
            expected="a mapping of names to values, such as run: mine",
            got="an empty file" if value is None else f"a {type(value).__name__}",
            fix="see config/README.md, or start from a copy of config/config.yaml",
        )
    return value


def with_changes(config: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A copy of a configuration in which each `key=value` of a command line is set; keys have dots,
    values are YAML.

    >>> with_changes({"run": "mine", "model": {"beta": 0.9}}, ["model.beta=0.8"])
    {'run': 'mine', 'model': {'beta': 0.8}}

    Raises:
        UserError: a text is no `key=value`, its value no YAML, or its key leads through a value.
    """
    config = copy.deepcopy(config)
    for text in changes:
        key, sign, value = text.partition("=")
        *above, last = key.strip().split(".")
        place: Any = config
        for name in above:
            place = place.setdefault(name, {}) if isinstance(place, dict) else None
        try:
            if not sign or not last or not isinstance(place, dict):
                raise ValueError("a name within a value" if sign and last else text)
            place[last] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:
            raise UserError(
                f"--set {text}",
                expected="the dotted name of a setting and its value",
                got=error,
                fix="write it as model.beta=0.8",
            ) from None
    return config
