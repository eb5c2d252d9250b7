"""JSON from others: whatever is wrong with it is a ValueError, and a key stands once."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str) -> Any:
    """The value of a JSON text; NaN and Infinity pass, since a message can then name their place.

    Raises:
        ValueError: it is no JSON, nested too deeply to be read, has a number of more digits than
            Python reads, or an object with one key twice (the json module would keep the last).
    """
    try:
        return json.loads(text, object_pairs_hook=_distinct)
    except RecursionError:
        raise ValueError("brackets within brackets, too many to be read") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} twice")
    return value
