"""Unlabelled sentences, free of every corpus's dev and test rows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..utils.files import atomic_folder, write_json
from . import hub
from .corpus import STATS, Row, counts, iter_rows, read_rows, write_described
from .readers import provenance, read_raw
from .sentence_store import SentenceStore
from .text import sides, text_id, usable_sentences


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
    folders = [Path(folder) for folder in corpora]
    files = []
    with (
        atomic_folder(out) as part,
        SentenceStore(language, _forbidden(folders, language), part / "sentences.sqlite") as store,
    ):
        for file in map(hub.pinned, spec["files"]):
            raws, sha256 = read_raw(file, Path(cache), mirror, language)
            texts = (text for raw in raws for text in (raw.text, raw.pair) if text is not None)
            added = store.add(texts, file)
            files.append(provenance(file, sha256) | {"sentences": added})
        for folder in folders if spec.get("include_training_rows") else ():
            rows = iter_rows(folder / "train.jsonl")
            added = store.add((text for row in rows for text in sides(row)), {})
            files.append({"source": f"training rows of {folder.name}", "sentences": added})
        if not len(store):
            raise UserError(
                f"unlabelled text {language}", expected="sentences", got="none", fix="give files"
            )
        cap = spec.get("max_sentences")
        store.dropped["over_cap"] += max(0, len(store) - cap) if cap else 0
        described = write_described(part / "text.jsonl", store.rows(cap))
        stats = {
            "language": language,
            **{key: spec.get(key) for key in ("description", "licence")},
            "files": files,
            "sentences_read": store.read,
            "dropped": counts(store.dropped),
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
