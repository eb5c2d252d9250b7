"""From files to the splits of one labelled set."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..config.datasets import (
    ACCURACY,
    REGRESSION,
    SPLITS,
    Corpus,
    check_task,
    metric_of,
    task_of,
)
from ..errors import UserError
from ..utils.validation import nearest, validate
from . import hub
from .corpus import Row, check_splits, counts, smallest, write_corpus
from .readers import NEUTRAL, Raw, provenance, read_raw
from .text import clean, normalise, split_of, text_id, usable_sentences

DEFAULT_SHARES = {"dev": 0.1, "test": 0.1}
HIDDEN = "GLUE writes -1 where labels are hidden: take the validation split as the test split"


def make_splits(
    name: str, spec: Row, out: Path, cache: Path, mirror: Path | None = None
) -> dict[str, Any]:
    """Read one labelled set and write its clean splits and stats.json into `out`.

    A text stands once in the set: in test before dev before train where the set has official
    splits, and nowhere if one split gives it two labels. Returns the stats.
    """
    spec = validate(Corpus, spec, f"data set {name}")
    check_task(name, spec)
    dropped: Counter[str] = Counter()
    candidates: dict[str, list[Row]] = {split: [] for split in SPLITS}
    files = []
    for file in map(hub.pinned, spec["files"]):
        raws, sha256 = read_raw(file, Path(cache), mirror, spec["language"])
        files.append(provenance(file, sha256))
        rows = list(_labelled_rows(raws, file, spec, dropped))
        kept = smallest(rows, file.get("max_sentences"))
        dropped["over_cap"] += len(rows) - len(kept)
        for row in kept:
            candidates[row.pop("split")].append(row)
    read = sum(map(len, candidates.values())) + dropped.total()
    splits = _deduplicate(candidates, dropped)
    warnings = check_splits(splits, spec["labels"], f"data set {name}")
    stats = {
        "name": name,
        **{key: spec.get(key) for key in ("language", "description", "licence", "labels")},
        "analogue": spec.get("analogue", False),
        **_about_task(spec),
        "files": files,
        "shares": _shares(spec),
        "rows_read": read,
        "dropped": counts(dropped),
        **warnings,
    }
    return write_corpus(splits, stats, Path(out), {})


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
    scored = task_of(spec) == REGRESSION
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
                    "label": _score(label, spec["range"], raw.where)
                    if scored
                    else _label_id(label, spec["labels"], raw.where),
                    "split": _choose_split(raw, text, pair, file, spec),
                }


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
    """The place of a class name in `labels`; an index is as good where no name is a number. Spaces
    around it are no part of a label, and 1.0, as tables write it beside a missing value, is 1."""
    name = re.sub(r"^(-?\d+)\.0+$", r"\1", str(label).strip())
    if name in labels:
        return labels.index(name)
    by_index = [str(i) for i in range(len(labels))]
    numbers = any(known.lstrip("-").isdigit() for known in labels)
    if name in by_index and not numbers:
        return by_index.index(name)
    fix = nearest(name, labels, "mend the row, or `labels`")
    if name.isdigit() and not numbers:
        fix = f"indices run from 0; if {name} is the name of a class, `labels` are such numbers"
    raise UserError(
        f"label of row {where}",
        expected=f"one of {', '.join(labels)}, or its index",
        got=label,
        fix=HIDDEN if name == "-1" else fix,
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
