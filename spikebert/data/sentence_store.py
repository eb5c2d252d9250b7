"""Distinct sentences of any number: a table on disk, so that memory does not grow with them."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from .text import clean, text_id, usable_sentences

CACHE_KIB = 64 * 1024  # of the table's pages in memory


class SentenceStore:
    """Sentences by id (the hash of what they say), without those that are `forbidden`.

    While entered, `file` holds the table; `read` and `dropped` count what came and what went.
    """

    def __init__(self, language: str, forbidden: Collection[str], file: Path):
        self.language, self.forbidden, self.file = language, forbidden, file
        self.dropped: Counter[str] = Counter()
        self.read = 0
        self.sources = 0

    def __enter__(self) -> SentenceStore:
        self.table = sqlite3.connect(self.file, isolation_level=None)
        # Nobody reads it after a crash.
        for option in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{CACHE_KIB}"):
            self.table.execute(f"PRAGMA {option}")
        self.table.execute(
            "CREATE TABLE sentences (id TEXT PRIMARY KEY, text TEXT, source) WITHOUT ROWID"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.table.close()
        self.file.unlink()

    def add(self, documents: Iterable[str], file: dict[str, Any]) -> int:
        """Add the sentences of one source's documents, at most its `max_sentences`: those with the
        smallest ids. The number of new ones."""
        self.sources += 1
        before = self.table.total_changes
        self.table.execute("BEGIN")
        self.table.executemany(
            f"INSERT OR IGNORE INTO sentences VALUES (?, ?, {self.sources})",
            self._usable(documents, file.get("sentences", True)),
        )
        found = self.table.total_changes - before
        self.dropped["duplicate"] += self.offered - found
        over = 0
        if (cap := file.get("max_sentences")) is not None and found > cap:
            over = self.table.execute(
                "DELETE FROM sentences WHERE source = ?1 AND id > (SELECT id FROM sentences"
                " WHERE source = ?1 ORDER BY id LIMIT 1 OFFSET ?2)",
                (self.sources, cap - 1),
            ).rowcount
        self.table.execute("COMMIT")
        self.dropped["over_cap"] += over
        return found - over

    def _usable(self, documents: Iterable[str], cut: bool) -> Iterator[tuple[str, str]]:
        self.offered = 0
        for document in documents:
            if text_id(document) in self.forbidden:
                self.dropped["document_in_dev_or_test"] += 1
                continue
            for text in usable_sentences(document, self.language) if cut else [clean(document)]:
                self.read += 1
                key = text_id(text)
                if key in self.forbidden:
                    self.dropped["sentence_in_dev_or_test"] += 1
                else:
                    self.offered += 1
                    yield key, text

    def __len__(self) -> int:
        (count,) = self.table.execute("SELECT COUNT(*) FROM sentences").fetchone()
        return int(count)

    def rows(self, at_most: int | None) -> Iterator[dict[str, str]]:
        """{"id", "text"} in the order of ids, the first ones."""
        limit = -1 if at_most is None else at_most
        for key, text in self.table.execute(
            "SELECT id, text FROM sentences ORDER BY id LIMIT ?", (limit,)
        ):
            yield {"id": key, "text": text}
