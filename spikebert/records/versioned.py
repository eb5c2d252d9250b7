"""Files of results: a dataclass as JSON, whose field `schema` is the version of the format."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from ..errors import UserError
from ..utils.files import read_json
from ..utils.validation import validate

T = TypeVar("T")


def read_versioned(kind: type[T], path: str | Path, what: str, fix: str) -> T:
    """The dataclass `kind` in a file; fields that came later have defaults and may be missing.

    Raises:
        UserError: the file is missing or no JSON, of another schema, lacks a field or has one more,
            or a value has another type or range.
    """
    value = read_json(path, what, fix)
    known: tuple[Any, ...] = fields(kind)  # type: ignore[arg-type]
    names = {field.name: field for field in known}
    needed = {f.name for f in known if f.default is f.default_factory is MISSING} | {"schema"}
    keys = set(value) if isinstance(value, dict) else set()
    version = names["schema"].default
    if not needed <= keys <= set(names) or value["schema"] != version:
        raise UserError(
            f"{what} {path}",
            expected=f"schema {version} with the fields {', '.join(sorted(names))}",
            got=", ".join(sorted(keys)) or type(value).__name__,
            fix=f"another version wrote it: {fix}",
        )
    found: T = validate(kind, value, f"{what} {path}", noun="field", fix=fix)
    return found
