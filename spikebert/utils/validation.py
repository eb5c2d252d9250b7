"""Values from outside (configuration, command line, file) checked by pydantic, mistakes as
`UserError`s: the key as the user wrote it, what was expected in words, what came, and a way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from ..errors import UserError

T = TypeVar("T")
# Of every model and dataclass that is read from outside.
STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
LARGEST = 2**63 - 1  # that a tensor can count to


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is no number")
    return value


# Numbers that YAML or a command line may give as text (1e-4), and true is not one of them.
Whole = Annotated[int, BeforeValidator(_no_truth), Field(le=LARGEST)]
Number = Annotated[float, BeforeValidator(_no_truth)]


def validate(kind: Any, value: Any, where: str) -> Any:
    """`value` as `kind`, a pydantic model, a dataclass or a `TypeAdapter`.

    Raises:
        UserError: it is none. The first misspelt key comes before other mistakes.
    """
    adapter = kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        found = sorted(error.errors(include_url=False), key=lambda e: e["type"] not in _UNKNOWN)
        raise _explained(found[0], adapter, where) from None


_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")


def _explained(error: Any, adapter: TypeAdapter[Any], where: str) -> UserError:
    own = error.get("ctx", {}).get("error")
    if isinstance(own, UserError):
        return own
    path, schema, parent = _walk(json_schema(adapter), error["loc"])
    key = ".".join(map(str, path))
    if error["type"] in _UNKNOWN:
        known = list(parent.get("properties", {}))
        return UserError(
            f"unknown setting {key} in {where}",
            expected=", ".join(known),
            got=path[-1],
            fix=nearest(str(path[-1]), known, "remove it"),
        )
    if error["type"] in _MISSING:
        expected, got, fix = in_words(schema), "nothing", f"add {path[-1]}"
    elif error["type"].startswith("union_tag"):
        expected, got = (
            error["ctx"].get("expected_tags", "a source").replace("'", ""),
            error["input"],
        )
        if isinstance(got, Mapping):
            got = got.get("source", "no source")
        fix = nearest(str(got), expected.split(", "), "choose one of them")
    else:
        expected, got = in_words(schema) or error["msg"], shown(error["input"])
        fix = nearest(str(error["input"]), schema.get("enum", []), f"give {expected}")
    what = f"setting {key} in {where}" if key else where
    return UserError(what, expected=expected, got=got, fix=fix)


_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
}


def json_schema(kind: Any) -> dict[str, Any]:
    """The JSON schema of a model; bounds behind a validator, which pydantic leaves in its own
    words, are in the schema's, and titles, which repeat the names, are left out."""
    adapter = kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)

    def mended(value: Any, names: bool = False) -> Any:
        if isinstance(value, list):
            return [mended(part) for part in value]
        if not isinstance(value, dict):
            return value
        return {
            key if names else _BOUNDS.get(key, key): mended(part, key in ("properties", "$defs"))
            for key, part in value.items()
            if names or not (key == "title" and isinstance(part, str))
        }

    found: dict[str, Any] = mended(adapter.json_schema())
    return found


def nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """The way out of a misspelt name: the nearest right one, or `otherwise`."""
    near = difflib.get_close_matches(name, map(str, known), 1)
    return f"did you mean {near[0]}?" if near else otherwise


def shown(value: Any) -> str:
    """A value as somebody would write it in a configuration."""
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else repr(value)[:200]


def _walk(schema: Any, place: Sequence[Any]) -> tuple[list[Any], Any, Any]:
    """The place in the user's words, the schema there, and that of what it stands in."""
    root, parent, path = schema, {}, []
    for step in place:
        schema = _plain(schema, root)
        for choice in schema.get("oneOf", []):  # a discriminated union names its choice in the path
            mapping = schema.get("discriminator", {}).get("mapping", {})
            if step in mapping and choice.get("$ref") == mapping[step]:
                break
        else:
            if step == "[key]":
                schema = schema.get("propertyNames", {})
                continue
            path.append(step)
            parent = schema
            inside = schema.get("properties", {}).get(step) if isinstance(step, str) else None
            schema = inside or schema.get("additionalProperties") or schema.get("items") or {}
            schema = schema if isinstance(schema, dict) else {}
            continue
        schema = choice
    return path, _plain(schema, root), _plain(parent, root)


def _plain(schema: Any, root: Any) -> Any:
    """A schema without references, and of one that may be null too, the other."""
    while True:
        if "$ref" in schema:
            schema = {**root["$defs"][schema["$ref"].split("/")[-1]], **_rest(schema, "$ref")}
        elif "anyOf" in schema:
            choices = [c for c in schema["anyOf"] if c.get("type") != "null"]
            if len(choices) != 1:
                return schema
            null = len(choices) < len(schema["anyOf"])
            schema = {**choices[0], **_rest(schema, "anyOf"), "nullable": null}
        elif len(schema.get("allOf", [])) == 1:
            schema = {**schema["allOf"][0], **_rest(schema, "allOf")}
        else:
            return schema


def _rest(schema: Any, key: str) -> Any:
    return {k: v for k, v in schema.items() if k != key}


_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "array": "a list",
    "object": "a mapping of names to values",
}


def in_words(schema: Any) -> str:
    """What a JSON schema asks for, as somebody would say it."""
    null = " or null" if schema.get("nullable") else ""
    if "enum" in schema or "const" in schema:
        return " or ".join(map(str, schema.get("enum", [schema.get("const")]))) + null
    if "anyOf" in schema:
        return " or ".join(map(in_words, schema["anyOf"]))
    words = _TYPES.get(schema.get("type", ""), "")
    if "x-expected" in schema:  # a pattern in words
        return f"{schema['x-expected']}{null}"
    if schema.get("type") == "array" and (inner := in_words(schema.get("items", {}))):
        words = f"a list, each of it {inner}"
    bounds = [
        f"{word} {schema[key]:g}"
        for key, word in (("minimum", "from"), ("exclusiveMinimum", "above"))
        if key in schema
    ] + [
        f"{word} {schema[key]:g}"
        for key, word in (("maximum", "to"), ("exclusiveMaximum", "below"))
        if key in schema and schema[key] != LARGEST
    ]
    if schema.get("minLength") or schema.get("minItems"):
        bounds.append("that is not empty")
    if "maxLength" in schema:
        bounds.append(f"of at most {schema['maxLength']} characters")
    return " ".join([words, *bounds]) + null
