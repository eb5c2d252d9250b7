"""From the bytes of a file to its text: compression and encoding."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..config.registry import LANGUAGES
from ..errors import UserError
from .archives import ALWAYS_BYTES, MAX_GROWTH


def decode(data: bytes, encodings: Iterable[str], name: str, language: str = "en") -> str:
    """Text of a file in the first encoding that fits all of it, or in UTF-16 or UTF-32 if it begins
    with the mark of one. Other NUL bytes are an error, and so is what no encoding fits; it names
    those that are usual in `language`."""
    encodings = list(encodings)
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        encodings = ["utf-32"]
    elif data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ["utf-16"]
    elif b"\0" in data and not any(code.lower().startswith("utf-16") for code in encodings):
        raise UserError(
            f"file {name}",
            expected="text",
            got="a NUL byte",
            fix="if it is UTF-16 without a mark: encoding: utf-16-le",
        )
    for encoding in encodings:
        try:
            # A mark at the beginning, which editors leave there, is no part of the text.
            return data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
        except UnicodeDecodeError as error:
            got = error
    raise UserError(
        f"file {name}",
        expected=f"text in {', '.join(encodings)}",
        got=f"byte 0x{data[got.start]:02x} at position {got.start}",
        fix="name its encoding: "
        + " or ".join(
            f"encoding: {code}" for code in LANGUAGES[language].encodings if code not in encodings
        ),
    )


# By the ending of a file's name.
COMPRESSIONS: dict[str, Callable[[Any], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}


def decompressed(name: str, data: bytes) -> bytes:
    """What a compressed file holds, by the ending of its name, or the file itself.

    Raises:
        UserError: it is damaged, or grows more than archives may.
    """
    suffix = Path(name).suffix
    if suffix not in COMPRESSIONS:
        return data
    most = max(ALWAYS_BYTES, MAX_GROWTH * len(data))
    try:
        with COMPRESSIONS[suffix](io.BytesIO(data)) as stream:
            content: bytes = stream.read(most + 1)
        if len(content) > most:
            raise ValueError(f"more than {MAX_GROWTH} times its size")
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise UserError(
            f"file {name}", expected="a compressed file", got=error, fix="fetch or make it again"
        ) from None
    return content
