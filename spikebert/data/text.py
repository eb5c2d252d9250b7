"""Texts: when two are the same, which split one belongs to, and where its sentences end."""

from __future__ import annotations

import hashlib
import pkgutil
import re
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import filterfalse
from typing import Any

from ..config.registry import LANGUAGES

named_function = cache(pkgutil.resolve_name)  # of `module:function`

SPLIT_SALT = "spikebert split 1\n"
_BRACKET = re.compile(r"-[lr][rsc]b-")
_ASCII = {code: chr(code) if chr(code).isalnum() else None for code in range(128)}


def normalise(text: str) -> str:
    """The letters and digits of a text without case, accents and SST's bracket tokens.

    >>> normalise("It 's a CRÈME brûlée -LRB- 9/10 -RRB- !")
    'itsacremebrulee910'
    >>> normalise("送餐快, 态度好。")
    '送餐快态度好'
    """
    text = _BRACKET.sub(" ", text.casefold())
    if text.isascii():
        return text.translate(_ASCII)
    # Marks go in any case; a long run of them takes normalize the square of its length.
    text = "".join(filterfalse(unicodedata.combining, text))
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", text).casefold()))


def identity(text: str, pair: str | None = None) -> str:
    """What makes two texts the same: their normalised form; of a pair both, in their order.

    >>> identity("It rains .", "Wet!")
    'itrains\\twet'
    """
    return normalise(text) if pair is None else f"{normalise(text)}\t{normalise(pair)}"


def sides(row: Mapping[str, Any]) -> list[str]:
    """The text of a row {"text", "text_pair"?}, or the two of a pair."""
    return [row["text"], row["text_pair"]] if "text_pair" in row else [row["text"]]


def text_id(text: str, pair: str | None = None) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of the identity of a text or a pair."""
    return hashlib.sha256(identity(text, pair).encode()).hexdigest()[:16]


def split_of(text: str, shares: dict[str, float], pair: str | None = None) -> str:
    """The split that a salted hash of the identity chooses; `shares` of dev and test.

    The same text goes to the same split in every set, and new rows move no old one.
    """
    digest = hashlib.sha256((SPLIT_SALT + identity(text, pair)).encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64
    if point < shares["test"]:
        return "test"
    return "dev" if point < shares["test"] + shares["dev"] else "train"


def clean(text: str) -> str:
    """Runs of white space become one space; byte order marks go."""
    return " ".join(text.replace("\ufeff", " ").split())


_SPACED_STOP = re.compile(r"(?<=\s[.!?])\s+")  # tokenised text: "it is . and so on"
# From the first of several marks alone, and without a way back: linear in the text.
_STOP = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’)\]]*+\s++(?=[\"'“‘(\[`]*+[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"\b([A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|Sen|Rep|Gov|Gen|Lt|Col|Capt|Sgt|Jr|Sr|Co|Inc|Corp|Ltd|No|vs"
    r"|etc|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)\.$"
)
_BEFORE_STOP = 8  # characters that decide whether a stop is an abbreviation's
_CHINESE_STOP = re.compile(r"([。！？!?…][”’」』）)]*)(?![。！？!?…”’」』）)])")


def split_sentences(text: str, language: str) -> list[str]:
    """Sentences of a text; a line break always ends one.

    >>> split_sentences("Mr. Lee left. It was J. R. R. who stayed! fine .\\nthe end", "en")
    ['Mr. Lee left.', 'It was J. R. R. who stayed! fine .', 'the end']
    >>> split_sentences("很好！！下次还来。“不错。”好", "zh")
    ['很好！！', '下次还来。', '“不错。”', '好']
    """
    cut = named_function(LANGUAGES[language].splitter)
    pieces = (clean(piece) for line in text.split("\n") for piece in cut(line))
    return [piece for piece in pieces if piece]


def split_chinese(line: str) -> list[str]:
    """Sentences of a line of Chinese."""
    return _CHINESE_STOP.sub(r"\1\n", line).split("\n")


def split_english(line: str) -> Iterator[str]:
    """Sentences of a line of English, tokenised or not; the stops of abbreviations end none."""
    for piece in _SPACED_STOP.split(line):
        start = 0
        for stop in _STOP.finditer(piece):
            end = piece[max(start, stop.start() - _BEFORE_STOP) : stop.end()].rstrip()
            if not _ABBREVIATION.search(end):
                yield piece[start : stop.end()]
                start = stop.end()
        yield piece[start:]


class _Wrapper(textwrap.TextWrapper):
    """The library's, but linear in the length of a word that is longer than a line."""

    def _handle_long_word(
        self, reversed_chunks: list[str], cur_line: list[str], cur_len: int, width: int
    ) -> None:
        word, first = reversed_chunks.pop(), width - cur_len
        cur_line.append(word[:first])
        pieces = [word[i : i + width] for i in range(first, len(word), width)]
        reversed_chunks.extend(reversed(pieces))


def usable_sentences(text: str, language: str) -> list[str]:
    """Sentences of a text: the longest cut into several, the shortest left out."""
    known = LANGUAGES[language]
    wrapper = _Wrapper(known.longest, break_on_hyphens=False)
    return [
        piece
        for sentence in split_sentences(text, language)
        for piece in (wrapper.wrap(sentence) if len(sentence) > known.longest else [sentence])
        if len(normalise(piece)) >= known.shortest
    ]
