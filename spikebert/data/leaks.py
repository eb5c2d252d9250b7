"""The search for test rows in files that anything is trained on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .corpus import STATS, Row, iter_rows, read_rows, read_stats, row_id
from .text import sides, text_id


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
