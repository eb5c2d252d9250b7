"""Checks by hand-written JSON schemas, for who still has one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import jsonschema

from ..errors import UserError
from ..utils.validation import json_schema, shown, validate

T = TypeVar("T")


def schema_of(cls: type) -> dict[str, Any]:
    """The closed JSON schema of a settings class."""
    return json_schema(cls)


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """Settings of class `cls` from a mapping; a wrong name, type or range is a `UserError`."""
    made: T = validate(cls, values, cls.__name__)
    return made


def _is_number(_: Any, value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("number", _is_number),
)


def check(values: Any, schema: Any, where: str) -> None:
    """Validate `values` by a JSON schema or a type, and say what is wrong in them."""
    if not isinstance(schema, dict):
        validate(schema, values, where)
        return
    error = jsonschema.exceptions.best_match(_Validator(schema).iter_errors(values))
    if error is not None:
        path = ".".join(str(part) for part in error.absolute_path)
        raise UserError(
            f"setting {path or where} in {where}",
            expected=error.message[:300],
            got=shown(error.instance),
            fix="mend it, or make the file again",
        )
