"""Values from outside (configuration, command line, file) checked by pydantic, mistakes as
`UserError`s: the key as the user wrote it, what was expected in words, what came, and a way out."""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    TypeAdapter,
    ValidationError,
)

from ..errors import UserError

# Of every model and dataclass that is read from outside.
STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class FromFile:
    """Of dataclasses that are read from a file: its parent."""

    __pydantic_config__ = STRICT


LARGEST = 2**63 - 1  # that a tensor can count to


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is no number")
    return value


def _whole(value: Any) -> Any:
    """Text such as 2e5 is a number; pydantic itself reads 200000 alone."""
    if isinstance(value, str) and re.fullmatch(r"[0-9.]{1,20}e[0-9]{1,3}", value):
        return float(value)
    return _no_truth(value)


def _truth(value: Any) -> Any:
    if value not in ("true", "false") and not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


# Numbers that YAML or a command line may give as text (1e-4), and true is not one of them; true and
# false, and no other word or number for them.
Whole = Annotated[int, BeforeValidator(_whole), Field(le=LARGEST)]
Number = Annotated[float, BeforeValidator(_no_truth)]
Truth = Annotated[bool, BeforeValidator(_truth)]
# Numbers of a file of results, where text is none.
Count = Annotated[int, Strict(), Field(ge=0)]
Real = Annotated[float, Strict()]


def one_of(known: Callable[[], Collection[str]], other: str = "", also: str | None = None) -> Any:
    """Text that is one of the names known when it is checked, which its schema lists, or that fits
    the pattern `also`; `other` says in words what it may be besides."""

    def check(name: str) -> str:
        if name not in known() and not (also and re.fullmatch(also, name)):
            raise ValueError("unknown")
        return name

    def listed(schema: dict[str, Any]) -> None:
        schema.pop("type", None)
        schema.update({"examples" if other else "enum": list(known())}, type="string")
        if other:
            schema["x-expected"] = ", ".join([*known(), other])

    return Field(json_schema_extra=listed), AfterValidator(check)


def validate(
    kind: Any,
    value: Any,
    where: str,
    under: str = "",
    *,
    noun: str = "setting",
    fix: str | None = None,
) -> Any:
    """`value` as `kind`, a pydantic model, a dataclass or a `TypeAdapter`; `under` is the key, with
    a dot, below which its keys stand. Messages call a key a `noun`, and say `fix` where one way out
    suits every mistake.

    Raises:
        UserError: it is none. The first misspelt key comes before other mistakes.
    """
    adapter = _adapter(kind)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        found = sorted(error.errors(include_url=False), key=lambda e: e["type"] not in _UNKNOWN)
        mistake = _explained(found[0], adapter, where, under)
        what = re.sub("^(unknown )?setting ", rf"\1{noun} ", mistake.what)
        raise mistake.changed(what, fix or mistake.fix) from None


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)


_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument", "invalid_key")


def _explained(error: Any, adapter: TypeAdapter[Any], where: str, under: str) -> UserError:
    path, schema, parent = _walk(json_schema(adapter), error["loc"])
    key, got, context = under + ".".join(map(str, path)), error["input"], error.get("ctx", {})
    own = context.get("error")
    if isinstance(own, UserError):  # of a check within; it names the key below this place
        name = own.what.removeprefix("setting ")
        what = f"setting {key}{'.' * bool(path)}{name} in {where}" if name != own.what else own.what
        return own.changed(what, own.fix)
    if error["type"] in _UNKNOWN:
        return _unknown(key, str(path[-1]), parent.get("properties", {}), where)
    if error["type"].startswith("union_tag"):
        tag = context["discriminator"].strip("'")
        named = dict(got) if isinstance(got, Mapping) else {}
        if tag not in named and (wrong := difflib.get_close_matches(tag, map(str, named), 1)):
            return _unknown(f"{key}.{wrong[0]}", wrong[0], [tag], where)
        choices = list(schema.get("discriminator", {}).get("mapping", {}))
        key, expected = f"{key}.{tag}", " or ".join([", ".join(choices[:-1]), choices[-1]])
        got = named.get(tag, "none")
        fix = nearest(str(got), choices, "choose one of them" if tag in named else f"add {tag}")
    elif error["type"] == "missing":
        expected, got, fix = in_words(schema), "none", f"add {path[-1]}"
    else:
        expected = in_words(schema) or error["msg"]
        fix = nearest(str(got), schema.get("enum", schema.get("examples", [])), f"give {expected}")
        if schema.get("type") == "string" and isinstance(got, int | float):
            fix = f'put it into quotes: "{shown(got)}"'
        elif "pattern" in schema and re.search(schema["pattern"], low := str(got).lower()):
            fix = f"did you mean {low}?" if low != got else fix
        number = schema.get("type") in ("integer", "number") and re.fullmatch(r"-?[\d.]+", str(got))
        got = got if number else shown(got)
    what = f"setting {key} in {where}" if key else where
    return UserError(what, expected=expected, got=got, fix=fix)


def _unknown(key: str, name: str, known: Iterable[str], where: str) -> UserError:
    return UserError(
        f"unknown setting {key} in {where}",
        expected=", ".join(known),
        got=name,
        fix=nearest(name, known, "remove it"),
    )


_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def json_schema(kind: Any) -> dict[str, Any]:
    """The JSON schema of a model; bounds behind a validator, which pydantic leaves in its own
    words, are in the schema's, and titles, which repeat the names, are left out."""

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

    found: dict[str, Any] = mended(_adapter(kind).json_schema())
    return found


def nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """The way out of a misspelt name: the nearest right one, or `otherwise`."""
    names = {str(one).lower(): str(one) for one in known}
    near = difflib.get_close_matches(name.lower(), names, 1)
    return f"did you mean {names[near[0]]}?" if near else otherwise


def shown(value: Any) -> str:
    """A value as somebody would write it in a configuration."""
    return json.dumps(value) if value is None or isinstance(value, bool) else repr(value)[:200]


def _walk(schema: Any, place: Sequence[Any]) -> tuple[list[Any], Any, Any]:
    """The place in the user's words, the schema there, and that of what it stands in."""
    root = schema
    parent: Any = {}
    path: list[Any] = []
    for step in place:
        schema = _plain(schema, root)
        mapping = schema.get("discriminator", {}).get("mapping", {})
        if step in mapping:  # a discriminated union names its choice in the path
            schema = {"$ref": mapping[step]}
        elif step == "[key]":
            schema = parent.get("propertyNames", {"type": "string"})
        else:
            path.append(step)
            parent = schema
            patterns = list(schema.get("patternProperties", {}).values())
            places = schema.get("properties", {}).get(step), *patterns
            places += schema.get("additionalProperties"), schema.get("items")
            schema = next((found for found in places if isinstance(found, dict)), {})
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
_SAID = {
    "minimum": "from {}",
    "exclusiveMinimum": "above {}",
    "maximum": "to {}",
    "exclusiveMaximum": "below {}",
    "minLength": "that is not empty",
    "maxLength": "of at most {} characters",
}


def in_words(schema: Any) -> str:
    """What a JSON schema asks for, as somebody would say it."""
    null = " or null" if schema.get("nullable") else ""
    if "enum" in schema or "const" in schema:
        choices = list(map(str, schema.get("enum", [schema.get("const")])))
        few = len(choices) < 4
        return (" or ".join(choices) if few else f"one of {', '.join(choices)}") + null
    if "anyOf" in schema:
        return " or ".join(map(in_words, schema["anyOf"]))
    if "x-expected" in schema:  # a pattern in words
        return f"{schema['x-expected']}{null}"
    words = [_TYPES.get(schema.get("type", ""), "")]
    for key, said in _SAID.items():
        if key in schema and schema[key] != LARGEST:
            words.append(said.format(schema[key]))
    text = " ".join(filter(None, words))
    if schema.get("type") == "array":
        least, unique = schema.get("minItems", 0), " unique" * schema.get("uniqueItems", False)
        exactly = "" if schema.get("maxItems") == least else "at least "
        text += f" of {exactly}{least}{unique} value(s)" if least or unique else ""
        if inner := in_words(schema.get("items", {})):
            text += f", each of them {inner}"
    return text + null
