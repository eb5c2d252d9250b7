"""Formats: from the decoded text of a file to raw rows, one small function each."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..config.plugins import register
from ..errors import UserError
from ..utils.files import parse_json
from . import hub
from .decoding import decode, decompressed
from .download import read_members
from .text import split_sentences

NEUTRAL = "\0neutral"  # the label of a rating that falls in no class; no text file can hold it

MAX_RATING = 4  # of VADER's scale, on either side of 0
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")

Spec = dict[str, Any]  # one of datasets.File


class Raw(NamedTuple):
    """A text as read: its label and split as the file gives them, and the place for messages."""

    text: str
    label: str | None
    split: str | None
    where: str
    pair: str | None = None  # the second text, of a pair


def _lines(text: str, name: str) -> Iterator[tuple[str, str]]:
    """Places and lines; only LF and CRLF end one (cp1252 text holds other line separators)."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{name}:{number}", line.rstrip("\r")


def read_label_text(text: str, name: str, _: Spec) -> Iterator[Raw]:
    """`label text`, as in the files of MR, SST and Subj."""
    for where, line in _lines(text, name):
        label, _space, rest = line.partition(" ")
        yield Raw(rest, label, None, where)


def read_lines(text: str, name: str, _: Spec) -> Iterator[Raw]:
    """One text a line, without labels."""
    for where, line in _lines(text, name):
        yield Raw(line, None, None, where)


def read_table(text: str, name: str, spec: Spec) -> Iterator[Raw]:
    """CSV with quotes, or TSV without, with a header."""
    options: dict[str, Any] = {"delimiter": spec.get("delimiter", ","), "strict": True}
    if spec["format"] == "tsv":
        options = {"delimiter": spec.get("delimiter", "\t"), "quoting": csv.QUOTE_NONE}
    csv.field_size_limit(2**31 - 1)  # a document may stand in one field
    rows = csv.DictReader(io.StringIO(text, newline=""), spec.get("columns"), **options)
    try:
        names = [column.strip() for column in rows.fieldnames or ()]
        rows.fieldnames = names
        check_columns(spec, names, name, options["delimiter"])
        for row in rows:
            where = f"{name}:{rows.line_num}"
            if None in row or None in row.values():
                raise UserError(
                    f"row {where}",
                    expected=f"{len(names)} fields",
                    got=str({k: v for k, v in row.items() if v is not None})[:200],
                    fix="mend the row, or its quotes",
                )
            yield from from_columns(row, where, spec)
    except csv.Error as error:
        raise UserError(
            f"row {name}:{rows.line_num}", expected="a table row", got=error, fix="mend the quotes"
        ) from None


def read_json_rows(text: str, name: str, spec: Spec) -> Iterator[Raw]:
    """A JSON list of objects."""
    try:
        rows = parse_json(text)
        if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
            raise ValueError(text[:80])
    except ValueError as error:
        raise UserError(
            f"file {name}",
            expected="a list of JSON objects",
            got=error,
            fix="mend it; is the format jsonl, an object a line?",
        ) from None
    yield from _of_columns(rows, name, spec)


def read_parquet(data: bytes, name: str, spec: Spec) -> Iterator[Raw]:
    """The rows of a Parquet file."""
    import pyarrow.parquet as parquet  # half a second, for this format alone

    try:
        rows = parquet.read_table(io.BytesIO(data)).to_pylist()
    except (OSError, ValueError) as error:
        raise UserError(
            f"file {name}",
            expected="Parquet",
            got=error,
            fix="fetch or make it again, or give its format",
        ) from None
    yield from _of_columns(rows, name, spec)


def _of_columns(rows: Iterable[dict[str, Any]], name: str, spec: Spec) -> Iterator[Raw]:
    for number, row in enumerate(rows, 1):
        check_columns(spec, row, f"{name}:{number}")
        yield from from_columns(row, f"{name}:{number}", spec)


def read_jsonl(text: str, name: str, spec: Spec) -> Iterator[Raw]:
    """One JSON object a line."""
    for where, line in _lines(text, name):
        try:
            row = parse_json(line)
            if not isinstance(row, dict):
                raise ValueError(line)
        except ValueError as error:
            raise UserError(
                f"row {where}", expected="a JSON object", got=error, fix="mend it"
            ) from None
        check_columns(spec, row, where)
        yield from from_columns(row, where, spec)


def check_columns(spec: Spec, names: Iterable[str], where: str, delimiter: str = "") -> None:
    """Raise a `UserError` unless every column that `spec` names is there, and there once."""
    wanted = [
        spec[k] for k in ("text_column", "pair_column", "label_column", "split_column") if k in spec
    ]
    wanted += spec.get("only", {})
    names = list(names)
    if missing := [column for column in wanted if column not in names]:
        fix = f"name a column that is there in place of {missing[0]}"
        if delimiter and len(names) == 1:
            other = next((sign for sign in ";\t|," if sign in names[0].replace(delimiter, "")), "")
            fix = "name its delimiter, or its columns if it has no header"
            if other:
                fix = f"its columns are parted by {other!r}, it seems: "
                fix += f"delimiter: {json.dumps(other)}"
        elif delimiter:
            fix += "; if it has no header: columns: [...], in their order"
        raise UserError(
            f"columns of {where}",
            expected=", ".join(wanted),
            got=", ".join(names)[:200] or "none",
            fix=fix,
        )
    if twice := [column for column in wanted if names.count(column) > 1]:
        raise UserError(
            f"columns of {where}",
            expected="one column of each name",
            got=f"{twice[0]} twice",
            fix="give one of them another name",
        )


def from_columns(row: dict[str, Any], where: str, spec: Spec) -> Iterator[Raw]:
    """One raw row, or none where `only` asks for other values; HTML line breaks become real."""

    def value(key: str) -> str | None:
        return str(row[spec[key]]) if key in spec else None

    if all(str(row[column]) == wanted for column, wanted in spec.get("only", {}).items()):
        pair = _real_breaks(row[spec["pair_column"]], where) if "pair_column" in spec else None
        text = _real_breaks(row[spec["text_column"]], where)
        label, split = value("label_column"), value("split_column")
        check_text(f"{label}{split}", where)
        yield Raw(text, label, split, where, pair)


def _real_breaks(text: Any, where: str) -> str:
    return "" if text is None else re.sub(r"<br\s*/?>", "\n", check_text(text, where))


def check_text(text: Any, where: str) -> str:
    """`text`, where it is one that can be written: no number, no half of a surrogate pair, no NUL.

    JSON's escapes can spell the last two, and rows of a hub can hold anything.
    """
    bad = None
    if not isinstance(text, str):
        bad = f"{type(text).__name__} {text!r}"
    elif found := _UNWRITABLE.search(text):
        bad = f"{found[0]!a} at character {found.start()}"
    if bad:
        raise UserError(
            f"text of row {where}",
            expected="text without lone surrogates and NUL",
            got=bad,
            fix="mend the row",
        )
    return str(text)


def read_vader(text: str, name: str, spec: Spec) -> Iterator[Raw]:
    """`id, mean rating, text` by tabs: VADER's rated snippets (Hutto and Gilbert, 2014)."""
    labelling = LABELLINGS.get(spec.get("labelling", ""))
    for where, line in _lines(text, name):
        try:
            _id, number, snippet = line.split("\t")
            rating = float(number)
            if not math.fabs(rating) <= MAX_RATING:  # true of NaN, too
                raise ValueError(number)
        except ValueError:
            raise UserError(
                f"row {where}", expected="id, rating, text", got=line[:80], fix="mend it"
            ) from None
        yield Raw(html.unescape(snippet), labelling(rating) if labelling else None, None, where)


def _fifth(rating: float) -> int:
    """0 to 4: five equal intervals of -4..4, closed above as SST's are."""
    return int(np.searchsorted([-2.4, -0.8, 0.8, 2.4], rating))


# From a mean rating to the name of a class.
LABELLINGS: dict[str, Callable[[float], str]] = {
    "sign": lambda rating: NEUTRAL if rating == 0 else str(int(rating > 0)),
    "fifths": lambda rating: str(_fifth(rating)),
    # SST-2 from SST-5: its two lower classes, its two upper ones, the middle left out.
    "fifths_without_middle": lambda rating: ("0", "0", NEUTRAL, "1", "1")[_fifth(rating)],
}


def read_movie_summaries(text: str, name: str, _: Spec) -> Iterator[Raw]:
    """A JSON object, title -> article."""
    try:
        articles = parse_json(text)
        if not isinstance(articles, dict):
            raise ValueError(f"a {type(articles).__name__}")
    except ValueError as error:
        raise UserError(
            f"file {name}", expected="a JSON object, title -> article", got=error, fix="mend it"
        ) from None
    for title, article in articles.items():
        where = f"{name}:{title}"
        yield Raw(check_text(article, where), None, None, where)


def read_tagged(text: str, name: str, _: Spec) -> Iterator[Raw]:
    """`word/tag` tokens, a sentence a line (the Brown corpus): the words, joined by spaces."""
    for where, line in _lines(text, name):
        words = " ".join(_untagged(line, where)).replace("``", '"').replace("''", '"')
        yield Raw(words, None, None, where)


def read_tagged_chinese(text: str, name: str, _: Spec) -> Iterator[Raw]:
    """The same, joined without spaces (People's Daily, tagged by Peking University)."""
    for where, line in _lines(text, name):
        yield Raw("".join(_untagged(line, where)), None, None, where)


def _untagged(line: str, where: str) -> list[str]:
    if "/" not in line:
        raise UserError(
            f"row {where}", expected="word/tag tokens", got=line[:80], fix="is the format lines?"
        )
    return [token.rpartition("/")[0] for token in line.split()]


def read_sst_trees(text: str, name: str, _: Spec) -> Iterator[Raw]:
    """The Stanford Sentiment Treebank as published: a tree a line, `(3 (2 It) (4 (2 's) ...))`; the
    label is the root's."""
    for where, line in _lines(text, name):
        root, leaves = re.match(r"\((\d) ", line), re.findall(r"\(\d ([^()]+)\)", line)
        if not (root and leaves and line.count("(") == line.count(")")):
            raise UserError(
                f"row {where}", expected="a tree, (3 (2 It) ...)", got=line[:80], fix="mend it"
            )
        words = " ".join(leaves).replace("-LRB-", "(").replace("-RRB-", ")").replace("\\/", "/")
        yield Raw(words, root[1], None, where)


def read_wikitext(text: str, name: str, _: Spec) -> Iterator[Raw]:
    """WikiText: no headings, no sentence with an unknown word, hyphens mended."""
    for where, line in _lines(text, name):
        if not line.strip().startswith("="):
            for sentence in split_sentences(re.sub(r" @(.)@ ", r"\1", line), "en"):
                if "<unk>" not in sentence:
                    yield Raw(sentence, None, None, where)


READERS: dict[str, Callable[[Any, str, Spec], Iterator[Raw]]] = {
    "parquet": read_parquet,  # of bytes; all others read text
    "label_text": read_label_text,
    "lines": read_lines,
    "csv": read_table,
    "tsv": read_table,
    "jsonl": read_jsonl,
    "json": read_json_rows,
    "sst_trees": read_sst_trees,
    "vader": read_vader,
    "movie_summaries": read_movie_summaries,
    "tagged": read_tagged,
    "tagged_chinese": read_tagged_chinese,
    "wikitext": read_wikitext,
}


def register_reader(name: str, function: Callable[[str, str, Spec], Iterator[Raw]]) -> None:
    """Let `format: <name>` select `function`, from the text of a file, its name and its
    specification to rows."""
    register("format", READERS, name, function)


def read_raw(
    spec: Spec, cache: Path, mirror: Path | None, language: str = "en"
) -> tuple[Iterator[Raw], str | None]:
    """All rows of one file of a specification, and the SHA-256 of what was read."""
    if spec["source"] == "hub":
        place = f"{spec['repository']}:{spec['hub_split']}"
        return _read_hub(spec, place), None
    members, sha256 = read_members(spec, cache, mirror)

    def rows() -> Iterator[Raw]:
        for name, data in members:
            content: Any = decompressed(name, data)
            if spec["format"] != "parquet":
                codes = spec.get("encoding", "utf-8")
                codes = [codes] if isinstance(codes, str) else codes
                content = decode(content, codes, name, language)
            yield from READERS[spec["format"]](content, name, spec)

    return rows(), sha256


def _read_hub(spec: Spec, place: str) -> Iterator[Raw]:
    for number, row in enumerate(hub.rows(spec)):
        check_columns(spec, row, place)
        yield from from_columns(row, f"{place}:{number}", spec)


def provenance(file: Spec, sha256: str | None) -> Spec:
    """Where a file came from, for stats.json: what fetched it and its sum, not how it was read."""
    keys = ["source", "package", "repository", "commit", "revision", "name", "hub_split"]
    keys += ["data_files", "path"]
    return {key: file[key] for key in keys if key in file} | {"sha256": sha256}
