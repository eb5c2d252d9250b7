"""Corpora: folders of clean rows in three splits, made from splits, and read again.

A row is {"id", "text", "text_pair" where it is a pair, "label"}. Two texts are the same when their
letters and digits are (`text.normalise`): case, accents, spaces, punctuation and the tokenisation
of MR and SST make no difference. A pair of texts is one text in this, both sides in their order. A
row's id is a hash of that, and duplicates, splits and leaks are all judged by it.

    files --splits.make_splits--> splits of one set --make_corpus--> free of others' test rows
"""

from __future__ import annotations

import json
import logging
import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from ..config.datasets import SPLITS, Labels
from ..errors import UserError
from ..utils.checksums import sha256_of
from ..utils.files import atomic_folder, parse_json, read_json, write_json, write_text
from ..utils.validation import validate
from .text import identity, sides, text_id

PERCENTILES = (5, 50, 95, 100)
STATS = "stats.json"
HELD_OUT = "held_out.json"
AGAIN = "make the corpus first, or make it again"

Row = dict[str, Any]
log = logging.getLogger(__name__)


def make_corpus(
    name: str,
    splits: Path,
    others: Iterable[Path],
    out: Path,
    caps: dict[str, int] | None = None,
    *,
    keep_dev: bool = False,
) -> dict[str, Any]:
    """Write the corpus that models are trained on, from the splits of this and the other sets.

    Train and dev rows that stand in the test split of another set are dropped (SST and MR share
    sentences), or, with `keep_dev`, train rows alone; test rows never are. Then each split is cut
    to its cap, rows with the smallest hash first. held_out.json lists the identities
    (`text.identity`) that no training file of this set may hold: its own dev and test rows and
    the other sets' test rows. Returns the stats.
    """
    stats, labels = read_stats(splits), read_classes(splits)
    own = {split: read_labelled(splits, split, labels) for split in SPLITS}
    foreign = {
        row_identity(row)
        for other in others
        if Path(other).resolve() != Path(splits).resolve()
        for row in read_rows(Path(other) / "test.jsonl")
    }
    held_out = foreign | {row_identity(row) for s in ("dev", "test") for row in own[s]}
    dropped: Counter[str] = Counter()
    kept: dict[str, list[Row]] = {}
    for split, rows in own.items():
        free = rows
        if split == "train" or (split == "dev" and not keep_dev):
            free = [row for row in rows if row_identity(row) not in foreign]
        kept[split] = smallest(free, (caps or {}).get(split))
        dropped[f"{split}_in_test_of_another_set"] = len(rows) - len(free)
        dropped[f"{split}_over_cap"] = len(free) - len(kept[split])
    stats |= check_splits(kept, labels, f"data set {name}")
    if keep_dev:
        stats["keep_dev"] = True
    stats["dropped"] = stats.get("dropped", {}) | counts(dropped)
    return write_corpus(kept, stats, Path(out), {HELD_OUT: sorted(held_out)})


def counts(counter: Counter[str]) -> dict[str, int]:
    return {reason: count for reason, count in sorted(counter.items()) if count}


def smallest(rows: list[Row], cap: int | None) -> list[Row]:
    """At most `cap` rows, those with the smallest ids."""
    return sorted(rows, key=lambda row: row["id"])[:cap] if cap else rows


def check_splits(splits: dict[str, list[Row]], labels: list[str] | None, name: str) -> Row:
    """Refuse a split that nothing can be learned from or judged by; what to warn of, for stats.

    Raises:
        UserError: the rows of a split are of fewer than two classes.
    """
    warnings = []
    for split, rows in splits.items():
        seen = {row["label"] for row in rows}
        classes = len(seen)
        for label, class_name in enumerate(labels or ()):
            if label not in seen:
                warnings.append(f"class {class_name} has no row in {split}")
                log.warning("%s: %s", name, warnings[-1])
        if classes < 2:
            raise UserError(
                f"{name}, split {split}",
                expected="rows of at least two "
                + (f"of the classes {', '.join(labels)}" if labels else "scores"),
                got=f"{len(rows)} rows"
                + (f" of one {'class' if labels else 'score'}" if classes else ""),
                fix="give more rows, or other shares in `split`",
            )
    return {"warnings": warnings} if warnings else {}


def row_identity(row: Row) -> str:
    """`text.identity` of a row."""
    return identity(*sides(row))


def row_id(row: Row) -> str:
    return text_id(*sides(row))


def read_held_out(corpus: Path) -> set[str]:
    """The identities that no training file of this corpus may hold."""
    path = Path(corpus) / HELD_OUT
    value = read_json(path, fix=AGAIN)
    return set(validate(list[str], value, f"file {path}", noun="entry", fix=AGAIN))


def read_stats(corpus: str | Path) -> dict[str, Any]:
    """stats.json of a folder of splits or of a corpus."""
    path = Path(corpus) / STATS
    value = read_json(path, fix=AGAIN)
    return dict(validate(dict[str, Any], value, f"file {path}", fix=AGAIN))


def read_labels(corpus: str | Path) -> list[str]:
    """The names of the classes, in the order of their numbers; a set of scores is refused."""
    where = f"labels in {Path(corpus) / STATS}"
    return list(validate(Labels, read_stats(corpus).get("labels"), where, fix=AGAIN))


def read_classes(corpus: str | Path) -> list[str] | None:
    """The same; None for a set of scores."""
    return None if read_stats(corpus).get("labels", ()) is None else read_labels(corpus)


def read_labelled(corpus: str | Path, split: str, labels: Sequence[str] | None) -> list[Row]:
    """The rows of a split, each with a class of `labels` or, where that is None, with a score.

    Raises:
        UserError: the file is missing or broken, or a row has no class, or one too many, or no
            score.
    """
    path = Path(corpus) / f"{split}.jsonl"
    rows = read_rows(path)
    count = 0 if labels is None else len(labels)
    for row in rows:
        label = row.get("label")
        classed = type(label) is int and 0 <= label < count
        if not (isinstance(label, float) if labels is None else classed):
            raise UserError(
                f"label of row {row['id']} in {path}",
                expected="a score, as 2.0"
                if labels is None
                else f"0 to {count - 1}, for {', '.join(labels)}",
                got=label,
                fix=AGAIN,
            )
    return rows


def write_corpus(splits: dict[str, list[Row]], stats: Row, out: Path, extra: dict[str, Any]) -> Row:
    with atomic_folder(out) as part:
        described = {}
        for split in SPLITS:
            rows = sorted(splits[split], key=lambda row: row["id"])
            file = part / f"{split}.jsonl"
            described[split] = _labels_of(rows, stats["labels"]) | write_described(file, rows)
        stats = stats | {
            "rows_kept": sum(len(rows) for rows in splits.values()),
            "splits": described,
        }
        for name, value in extra.items():
            write_json(part / name, value)
        write_json(part / STATS, stats)
    return stats


def _labels_of(rows: list[Row], names: list[str] | None) -> Row:
    """How many rows each class has, or the least, mean and greatest score."""
    if names is None:
        scores = [row["label"] for row in rows]
        return {"scores": {"min": min(scores), "mean": fmean(scores), "max": max(scores)}}
    classes = Counter(names[row["label"]] for row in rows)
    return {"classes": dict(sorted(classes.items()))}


def write_described(file: Path, rows: Iterable[Row]) -> Row:
    """Write rows as they come, and describe them: number, length percentiles (characters, words
    between spaces; of a pair both sides) and the sum of the file."""
    characters, words = array("I"), array("I")  # four bytes a row are all that memory holds
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        for row in rows:
            stream.write(_line(row))
            characters.append(sum(map(len, sides(row))))
            words.append(sum(len(text.split()) for text in sides(row)))
    return {
        "rows": len(words),
        "characters": _percentiles(characters),
        "words": _percentiles(words),
        "sha256": sha256_of(file),
    }


def _percentiles(lengths: array[int]) -> dict[str, int]:
    return {f"p{p}": int(np.percentile(lengths, p)) for p in PERCENTILES}


# --- files of rows -----------------------------------------------------------------------------


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """JSON lines, the whole file or none."""
    write_text(path, "".join(map(_line, rows)))


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def read_rows(path: Path, at_most: int | None = None) -> list[Row]:
    """The rows of a file, or its first ones; see `iter_rows`."""
    return list(islice(iter_rows(path), at_most))


def iter_rows(path: Path) -> Iterator[Row]:
    """Rows with id, text and, where given, text_pair and label (a class's id, a finite score or
    null), one at a time; anything else is an error."""
    path = Path(path)
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line != b"\n":
                    yield parse_row(line, f"{path}:{number}")
    except OSError as error:
        raise UserError(f"file {path}", expected="JSON lines", got=error, fix=AGAIN) from None


def parse_row(line: bytes, where: str) -> Row:
    """The row of one line of a file of rows."""
    text = ""
    try:
        text = line.decode("utf-8").removesuffix("\n")
        row: Row = parse_json(text)
        label = row.get("label")
        valid = isinstance(row["id"], str) and isinstance(row["text"], str)
        valid &= isinstance(row.get("text_pair", ""), str)
        valid &= label is None or (not isinstance(label, bool) and math.isfinite(label))
        "".join(sides(row)).encode()  # half of a surrogate pair is no text
    except UnicodeDecodeError as error:
        raise UserError(f"row {where}", expected="UTF-8", got=error, fix=AGAIN) from None
    except (ValueError, AttributeError, KeyError, TypeError, OverflowError):
        valid = False
    if not valid:
        raise UserError(
            f"row {where}",
            expected='{"id": str, "text": str, "text_pair": str, "label": number or null}',
            got=text[:80],
            fix="make the file again",
        )
    return row
