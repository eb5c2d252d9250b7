"""From files to clean rows: labelled sets in three splits, and unlabelled sentences.

Two texts are the same when their letters and digits are (`texts.normalise`): case, accents, spaces,
punctuation and the tokenisation of MR and SST make no difference. A pair of texts is one text in
this, both sides in their order. A row's id is a hash of that, and duplicates, splits and leaks are
all judged by it.

    files --make_splits--> splits of one set --make_corpus--> corpus free of others' test rows
    files --make_unlabelled--> sentences free of every corpus's dev and test rows
"""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from ..config.datasets import Caps, Labels
from ..config.settings import check
from ..config.specs import CORPUS_SCHEMA, LANGUAGES, SPLITS, UNLABELLED_SCHEMA
from ..config.tasks import ACCURACY, REGRESSION, check_task, metric_of, task_of
from ..errors import UserError
from ..utils.checksums import sha256_of
from ..utils.files import atomic_folder, read_json, write_json, write_text
from ..utils.strict_json import parse_json
from . import download as sources
from . import hub
from .readers import NEUTRAL, READERS, Raw, check_columns, decode, from_columns
from .sentence_store import Pool
from .text import clean, identity, normalise, sides, split_of, text_id, usable_sentences

DEFAULT_SHARES = {"dev": 0.1, "test": 0.1}
PERCENTILES = (5, 50, 95, 100)
STATS = "stats.json"
HELD_OUT = "held_out.json"
HIDDEN = "GLUE writes -1 where labels are hidden: take the validation split as the test split"
AGAIN = "make the corpus first, or make it again"

Row = dict[str, Any]


def read_raw(spec: Row, cache: Path, mirror: Path | None) -> tuple[Iterator[Raw], str | None]:
    """All rows of one file of a specification, and the SHA-256 of what was read."""
    if spec["source"] == "hub":
        place = f"{spec['repository']}:{spec['hub_split']}"
        return _read_hub(spec, place), None
    members, sha256 = sources.read_members(spec, cache, mirror)

    def rows() -> Iterator[Raw]:
        for name, data in members:
            text = decode(data, spec.get("encoding", ["utf-8-sig"]), name)
            yield from READERS[spec["format"]](text, name, spec)

    return rows(), sha256


def _read_hub(spec: Row, place: str) -> Iterator[Raw]:
    for number, row in enumerate(hub.rows(spec)):
        check_columns(spec, row, place)
        yield from from_columns(row, f"{place}:{number}", spec)


# --- labelled sets -----------------------------------------------------------------------------


def make_splits(
    name: str, spec: Row, out: Path, cache: Path, mirror: Path | None = None
) -> dict[str, Any]:
    """Read one labelled set and write its clean splits and stats.json into `out`.

    A text stands once in the set: in test before dev before train where the set has official
    splits, and nowhere if one split gives it two labels. Returns the stats.
    """
    check(spec, CORPUS_SCHEMA, f"data set {name}")
    check_task(name, spec)
    dropped: Counter[str] = Counter()
    candidates: dict[str, list[Row]] = {split: [] for split in SPLITS}
    files = []
    for file in map(hub.pinned, spec["files"]):
        raws, sha256 = read_raw(file, Path(cache), mirror)
        files.append(_provenance(file, sha256))
        rows = list(_labelled_rows(raws, file, spec, dropped))
        kept = _smallest(rows, file.get("max_sentences"))
        dropped["over_cap"] += len(rows) - len(kept)
        for row in kept:
            candidates[row.pop("split")].append(row)
    read = sum(map(len, candidates.values())) + dropped.total()
    splits = _deduplicate(candidates, dropped)
    _check_splits(splits, spec["labels"], f"data set {name}")
    stats = {
        "name": name,
        **{key: spec.get(key) for key in ("language", "description", "licence", "labels")},
        "analogue": spec.get("analogue", False),
        **_about_task(spec),
        "files": files,
        "shares": _shares(spec),
        "rows_read": read,
        "dropped": _counts(dropped),
    }
    return _write_corpus(splits, stats, Path(out), {})


def _about_task(spec: Row) -> Row:
    """What stats.json says beside the classes: range, metric, and what stands in for hidden labels.

    GLUE hides the labels of its test splits, so that its validation split is the test split here.
    """
    about: Row = {"range": spec["range"]} if task_of(spec) == REGRESSION else {}
    if (metric := metric_of(spec)) != ACCURACY:
        about["metric"] = metric
    parts = {file["hub_split"] for file in spec["files"] if file.get("split") == "test"
             and "hub_split" in file}  # fmt: skip
    if parts - {"test"}:
        about["test_from"] = ", ".join(sorted(parts))
        if not _has_dev(spec):
            about["dev_from"] = "train, by hash"
    return about


def _has_dev(spec: Row) -> bool:
    return any("split_column" in f or f.get("split") == "dev" for f in spec["files"])


def _shares(spec: Row) -> dict[str, float]:
    return {**DEFAULT_SHARES, **spec.get("split", {})}


def _labelled_rows(
    raws: Iterator[Raw], file: Row, spec: Row, dropped: Counter[str]
) -> Iterator[Row]:
    """Rows with id, text (text_pair), label and split; those without a text or a class are
    counted."""
    for raw in raws:
        cut = file.get("sentences", False)
        for text in usable_sentences(raw.text, spec["language"]) if cut else [clean(raw.text)]:
            label = file.get("label", raw.label)
            pair = None if raw.pair is None else clean(raw.pair)
            if label == NEUTRAL:
                dropped["neutral"] += 1
            elif not normalise(text) or (pair is not None and not normalise(pair)):
                dropped["empty"] += 1
            else:
                yield {
                    "id": text_id(text, pair),
                    "text": text,
                    **({} if pair is None else {"text_pair": pair}),
                    "label": _label(label, spec, raw.where),
                    "split": _choose_split(raw, text, pair, file, spec),
                }


def _provenance(file: Row, sha256: str | None) -> Row:
    """Where a file came from, for stats.json: what fetched it and its sum, not how it was read."""
    keys = ["source", "package", "repository", "commit", "revision", "name", "hub_split"]
    keys += ["data_files", "path"]
    return {key: file[key] for key in keys if key in file} | {"sha256": sha256}


def _label(label: str | None, spec: Row, where: str) -> int | float:
    """The class's id, or the score."""
    if task_of(spec) == REGRESSION:
        return _score(label, spec["range"], where)
    return _label_id(label, spec["labels"], where)


def _score(label: str | None, limits: list[float], where: str) -> float:
    """A finite number within `limits`."""
    try:
        score = float(label or "")
    except ValueError:
        score = math.nan
    if not limits[0] <= score <= limits[1]:
        raise UserError(
            f"score of row {where}",
            expected=f"a number in {limits[0]:g} to {limits[1]:g}",
            got=label,
            fix=HIDDEN if score == -1 else "mend the row, or `range`",
        )
    return score


def _label_id(label: str | None, labels: list[str], where: str) -> int:
    """The place of a class name in `labels`; an index is as good where no name is a number."""
    if label in labels:
        return labels.index(label)
    by_index = [str(i) for i in range(len(labels))]
    if label in by_index and not any(name.lstrip("-").isdigit() for name in labels):
        return by_index.index(label)
    raise UserError(
        f"label of row {where}",
        expected=f"one of {', '.join(labels)}, or its index",
        got=label,
        fix=HIDDEN if label == "-1" else "mend the row, or `labels`",
    )


def _choose_split(raw: Raw, text: str, pair: str | None, file: Row, spec: Row) -> str:
    """The file's split, else the row's, else by hash; an official train may give dev by hash."""
    shares = _shares(spec)
    split = file.get("split", raw.split)
    if split is None:
        return split_of(text, shares, pair)
    if split not in SPLITS:
        raise UserError(
            f"split of row {raw.where}", expected=", ".join(SPLITS), got=split, fix="mend the row"
        )
    if split == "train" and not _has_dev(spec):
        return split_of(text, {"test": 0.0, "dev": shares["dev"]}, pair)
    return split


def _counts(counter: Counter[str]) -> dict[str, int]:
    return {reason: count for reason, count in sorted(counter.items()) if count}


def _smallest(rows: list[Row], cap: int | None) -> list[Row]:
    """At most `cap` rows, those with the smallest ids."""
    return sorted(rows, key=lambda row: row["id"])[:cap] if cap else rows


def _deduplicate(candidates: dict[str, list[Row]], dropped: Counter[str]) -> dict[str, list[Row]]:
    """Each text once: test wins over dev, dev over train; two labels in one split lose both."""
    splits: dict[str, list[Row]] = {}
    taken: dict[str, str] = {}
    for split in ("test", "dev", "train"):
        labels: dict[str, set[float]] = {}
        for row in candidates[split]:
            labels.setdefault(row["id"], set()).add(row["label"])
        splits[split] = []
        for row in candidates[split]:
            if row["id"] in taken:
                earlier = taken[row["id"]]
                dropped["duplicate" if earlier == split else f"also_in_{earlier}"] += 1
            elif len(labels[row["id"]]) > 1:
                dropped["two_labels"] += 1
            else:
                taken[row["id"]] = split
                splits[split].append(row)
    return splits


def _check_splits(splits: dict[str, list[Row]], labels: list[str] | None, name: str) -> None:
    for split, rows in splits.items():
        classes = len({row["label"] for row in rows})
        if classes < 2:
            raise UserError(
                f"{name}, split {split}",
                expected="rows of at least two "
                + (f"of the classes {', '.join(labels)}" if labels else "scores"),
                got=f"{len(rows)} rows"
                + (f" of one {'class' if labels else 'score'}" if classes else ""),
                fix="give more rows, or other shares in `split`",
            )


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
    (`texts.identity`) that no training file of this set may hold: its own dev and test rows and
    the other sets' test rows. Returns the stats.
    """
    check(caps or {}, Caps, f"caps of {name}")
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
        kept[split] = _smallest(free, (caps or {}).get(split))
        dropped[f"{split}_in_test_of_another_set"] = len(rows) - len(free)
        dropped[f"{split}_over_cap"] = len(free) - len(kept[split])
    _check_splits(kept, labels, f"data set {name}")
    if keep_dev:
        stats["keep_dev"] = True
    stats["dropped"] = stats.get("dropped", {}) | _counts(dropped)
    return _write_corpus(kept, stats, Path(out), {HELD_OUT: sorted(held_out)})


def row_identity(row: Row) -> str:
    """`texts.identity` of a row."""
    return identity(*sides(row))


def read_held_out(corpus: Path) -> set[str]:
    """The identities that no training file of this corpus may hold."""
    path = Path(corpus) / HELD_OUT
    texts = read_json(path, fix=AGAIN)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError(
            f"file {path}", expected="a list of texts", got=type(texts).__name__, fix=AGAIN
        )
    return set(texts)


def read_stats(corpus: str | Path) -> dict[str, Any]:
    """stats.json of a folder of splits or of a corpus."""
    path = Path(corpus) / STATS
    stats = read_json(path, fix=AGAIN)
    check(stats, {"type": "object"}, str(path))
    return dict(stats)


def read_labels(corpus: str | Path) -> list[str]:
    """The names of the classes, in the order of their numbers; a set of scores is refused."""
    labels: Any = read_stats(corpus).get("labels")
    try:
        check(labels, Labels, "stats.json")
    except UserError:
        raise UserError(
            f"labels in {Path(corpus) / STATS}",
            expected="names of two or more classes",
            got=labels,
            fix=AGAIN,
        ) from None
    return list(labels)


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
    for row in rows:
        if labels is None:
            if not isinstance(row.get("label"), float):
                raise UserError(
                    f"label of row {row['id']} in {path}",
                    expected="a score, as 2.0",
                    got=row.get("label"),
                    fix=AGAIN,
                )
        elif type(row.get("label")) is not int or row["label"] not in range(len(labels)):
            raise UserError(
                f"label of row {row['id']} in {path}",
                expected=f"0 to {len(labels) - 1}, for {', '.join(labels)}",
                got=row.get("label"),
                fix=AGAIN,
            )
    return rows


def _write_corpus(
    splits: dict[str, list[Row]], stats: Row, out: Path, extra: dict[str, Any]
) -> Row:
    with atomic_folder(out) as part:
        described = {}
        for split in SPLITS:
            rows = sorted(splits[split], key=lambda row: row["id"])
            file = part / f"{split}.jsonl"
            described[split] = _labels_of(rows, stats["labels"]) | _stream_rows(file, rows)
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


def _stream_rows(file: Path, rows: Iterable[Row]) -> Row:
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


# --- unlabelled text ---------------------------------------------------------------------------


def make_unlabelled(
    language: str,
    spec: Row,
    corpora: Iterable[Path],
    out: Path,
    cache: Path,
    mirror: Path | None = None,
) -> dict[str, Any]:
    """Write text.jsonl, one sentence a row, sorted by hash, and stats.json. Returns the stats.

    Left out are documents and sentences that equal a dev or test row, one side of such a pair, or
    one sentence of either, of any of the `corpora` (folders of this language).
    """
    check(language, {"enum": list(LANGUAGES)}, "language of unlabelled text")
    check(spec, UNLABELLED_SCHEMA, f"unlabelled text {language}")
    folders = [Path(folder) for folder in corpora]
    files = []
    with (
        atomic_folder(out) as part,
        Pool(language, _forbidden(folders, language), part / "pool.sqlite") as pool,
    ):
        for file in map(hub.pinned, spec["files"]):
            raws, sha256 = read_raw(file, Path(cache), mirror)
            texts = (text for raw in raws for text in (raw.text, raw.pair) if text is not None)
            added = pool.add(texts, file)
            files.append(_provenance(file, sha256) | {"sentences": added})
        for folder in folders if spec.get("include_training_rows") else ():
            rows = iter_rows(folder / "train.jsonl")
            added = pool.add((text for row in rows for text in sides(row)), {})
            files.append({"source": f"training rows of {folder.name}", "sentences": added})
        if not len(pool):
            raise UserError(
                f"unlabelled text {language}", expected="sentences", got="none", fix="give files"
            )
        cap = spec.get("max_sentences")
        pool.dropped["over_cap"] += max(0, len(pool) - cap) if cap else 0
        described = _stream_rows(part / "text.jsonl", pool.rows(cap))
        stats = {
            "language": language,
            **{key: spec.get(key) for key in ("description", "licence")},
            "files": files,
            "sentences_read": pool.read,
            "dropped": _counts(pool.dropped),
            **described,
        }
        write_json(part / STATS, stats)
    return stats


def _forbidden(corpora: list[Path], language: str) -> set[str]:
    """Ids of all dev and test rows, of pairs each side, and of their sentences."""
    ids = set()
    for folder in corpora:
        for split in ("dev", "test"):
            for row in read_rows(folder / f"{split}.jsonl"):
                for text in sides(row):
                    ids.add(text_id(text))
                    ids |= {text_id(piece) for piece in usable_sentences(text, language)}
    return ids


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


def find_leaks(corpora: Iterable[Path], against: Iterable[Path]) -> list[Row]:
    """Every test split against every train and dev split of the `corpora` and the files `against`.

    Texts are compared normalised. A dev split that was kept whole (`keep_dev`) is held against its
    own test split alone. An unlabelled row must not be one side of a test pair, either;
    labelled pairs may share a side. An entry {"test", "file", "rows", "ids"} stands for each two
    files that share rows; an empty list is the proof that none do.
    """
    folders = [Path(folder) for folder in corpora]
    tests = {folder / "test.jsonl": read_rows(folder / "test.jsonl") for folder in folders}
    rows_of = {test: set(map(row_id, rows)) for test, rows in tests.items()}
    sides_of = {
        test: rows_of[test] | {text_id(text) for row in rows for text in sides(row)}
        for test, rows in tests.items()
    }
    files = [folder / f"{split}.jsonl" for folder in folders for split in ("train", "dev")]
    files += [file for file in map(Path, against) if file not in files and file not in tests]
    whole = {folder / "dev.jsonl" for folder in folders if _keeps_dev(folder)}
    leaks = []
    for file in files:
        found: dict[Path, set[str]] = {
            test: set() for test in tests if file not in whole or test.parent == file.parent
        }
        for row in iter_rows(file):  # only the test rows are held in memory
            key, of = row_id(row), rows_of if "label" in row else sides_of
            for test in found:
                if key in of[test]:
                    found[test].add(key)
        for test, ids in found.items():
            if shared := sorted(ids):
                leaks.append(
                    {"test": str(test), "file": str(file), "rows": len(shared), "ids": shared[:20]}
                )
    return leaks


def _keeps_dev(corpus: Path) -> bool:
    return (corpus / STATS).is_file() and bool(read_stats(corpus).get("keep_dev"))


def row_id(row: Row) -> str:
    return text_id(*sides(row))
