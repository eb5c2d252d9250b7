"""Names of `datasets` for who still imports them from here."""

from typing import Any

from .datasets import FORMATS, MEMBER, METRICS, SPLITS, Checkpoint, Corpus, Teacher, UnlabelledText
from .registry import LANGUAGES

CORPUS_SCHEMA: Any = Corpus
UNLABELLED_SCHEMA: Any = UnlabelledText
TEACHER_SCHEMA: Any = Teacher
COMPRESSED_SCHEMA: Any = Checkpoint

__all__ = ["FORMATS", "LANGUAGES", "MEMBER", "METRICS", "SPLITS"]
