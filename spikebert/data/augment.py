"""Augmentation of training rows by Tang et al. (2019): mask, swap, and keep an n-gram.

For every word draw X ~ U[0, 1]:

    X < p_mask                     the word becomes [MASK]
    p_mask <= X < p_mask + p_pos   the word becomes another of its part of speech, drawn from the
                                   corpus's unigram distribution of that tag

then, with probability p_ng, only a random n-gram of 1 to max_ngram words is kept. That is done
n_iter times for each row. Punctuation and spacing are left as they are.

Of a pair, each side is drawn on its own; draws take turns in what they change: the first side, the
second, both. (The authors' code, castorini/d-bert, changes one side in two of three draws.)

A transfer set (Turc et al., 2019) may follow: sentences of the unlabelled text, as they are.

References: https://arxiv.org/abs/1903.12136, section 3.2; https://arxiv.org/abs/1908.08962.
"""

from __future__ import annotations

import logging
import re
import tempfile
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import accumulate, islice
from typing import Any, NamedTuple

import numpy as np

from ..config.registry import LANGUAGES
from ..config.settings import AugmentSettings
from ..errors import UserError
from .text import clean, identity, named_function, normalise, sides

MASK = "[MASK]"
Row = dict[str, Any]


class Token(NamedTuple):
    """A word or a punctuation mark, the space before it, and its part of speech."""

    space: str
    text: str
    tag: str

    @property
    def is_word(self) -> bool:
        return any(map(str.isalnum, self.text))


def augment(
    rows: list[Row],
    language: str,
    settings: AugmentSettings,
    seed: int,
    exclude: Iterable[str] = (),
    unlabelled: Iterable[Row] = (),
) -> list[Row]:
    """The original rows, then the augmented ones: label null, id of the original + "-k"; then the
    first `transfer_sentences` of the `unlabelled` rows that are none of these, label null.

    Left out are repetitions of any text, texts without a word, and texts whose normalised form is
    in `exclude` (dev and test rows); a pair is one text in this. The draws of a row depend on
    `seed` and its id alone: other rows do not change which of its words are masked, swapped or
    kept.
    """
    tag = named_function(LANGUAGES[language].tagger)
    if not settings.enabled:
        return list(rows)
    tagged = [[tag(text) for text in sides(row)] for row in rows]
    vocabulary = Vocabulary(token for parts in tagged for tokens in parts for token in tokens)
    seen = {tuple(map(clean, sides(row))) for row in rows}
    forbidden = set(exclude)
    augmented = []
    for row, parts in zip(rows, tagged, strict=True):
        generator = np.random.default_rng([seed, _number(row["id"])])
        drawn = [_draws(tokens, vocabulary, settings, generator) for tokens in parts]
        for k, texts in enumerate(_in_turn(sides(row), drawn), 1):
            has_words = all(normalise(text.replace(MASK, "")) for text in texts)
            if has_words and texts not in seen and identity(*texts) not in forbidden:
                seen.add(texts)
                pair = {"text_pair": texts[1]} if texts[1:] else {}
                augmented.append(
                    {"id": f"{row['id']}-{k}", "text": texts[0], **pair, "label": None}
                )
    return [*rows, *augmented, *_transfer_set(rows, settings, forbidden, unlabelled)]


def _transfer_set(
    rows: list[Row], settings: AugmentSettings, forbidden: set[str], unlabelled: Iterable[Row]
) -> list[Row]:
    if not settings.transfer_sentences:
        return []
    if any(len(sides(row)) > 1 for row in rows):
        raise UserError(
            "setting augment.transfer_sentences",
            expected="0 for a set of pairs: no unlabelled pairs are at hand",
            got=settings.transfer_sentences,
            fix="leave the set out of the row",
        )
    known = forbidden | {identity(*sides(row)) for row in rows}
    new = (row for row in unlabelled if identity(row["text"]) not in known)
    taken = [
        {"id": row["id"], "text": row["text"], "label": None}
        for row in islice(new, settings.transfer_sentences)
    ]
    if len(taken) < settings.transfer_sentences:
        raise UserError(
            "setting augment.transfer_sentences",
            expected=f"at most {len(taken)}, the unlabelled sentences at hand",
            got=settings.transfer_sentences,
            fix="lower it, or add unlabelled text",
        )
    return taken


def _in_turn(originals: list[str], drawn: list[list[str]]) -> Iterator[tuple[str, ...]]:
    """The draws of a text as they are; of a pair, the first side's, the second's, both, and so on,
    the other side as it was."""
    for k, texts in enumerate(zip(*drawn, strict=True)):
        if len(originals) == 1 or k % 3 == 2:
            yield texts
        else:
            yield (texts[0], clean(originals[1])) if k % 3 == 0 else (clean(originals[0]), texts[1])


def _number(row_id: str) -> int:
    if not re.fullmatch("[0-9a-f]{1,64}", row_id):
        raise UserError(
            f"id of row {row_id}",
            expected="hexadecimal digits, as `corpus` writes them",
            got=row_id,
            fix="make the corpus again",
        )
    return int(row_id, 16)


def _draws(
    tokens: list[Token],
    vocabulary: Vocabulary,
    settings: AugmentSettings,
    generator: np.random.Generator,
) -> list[str]:
    """n_iter augmented texts of one sentence."""
    words = [place for place, token in enumerate(tokens) if token.is_word]
    if not words:
        return []
    fates = generator.random((settings.n_iter, len(words)))
    choices = generator.random((settings.n_iter, len(words)))
    cuts = generator.random((settings.n_iter, 3))
    texts = []
    for i in range(settings.n_iter):
        out = [token.text for token in tokens]
        for w in np.flatnonzero(fates[i] < settings.p_mask + settings.p_pos):
            place = words[w]
            if fates[i, w] < settings.p_mask:
                out[place] = MASK
            else:
                out[place] = vocabulary.another(tokens[place], choices[i, w])
        first, last = 0, len(tokens)
        if cuts[i, 0] < settings.p_ng:
            n = min(1 + int(cuts[i, 1] * settings.max_ngram), len(words))
            start = int(cuts[i, 2] * (len(words) - n + 1))
            first, last = words[start], words[start + n - 1] + 1
        texts.append(clean("".join(tokens[p].space + out[p] for p in range(first, last))))
    return texts


class Vocabulary:
    """The words of a corpus by part of speech, with their frequencies."""

    def __init__(self, tokens: Iterable[Token]):
        counts: dict[str, Counter[str]] = {}
        for token in tokens:
            if token.is_word:
                counts.setdefault(token.tag, Counter())[token.text] += 1
        self._words = {tag: sorted(counter) for tag, counter in counts.items()}
        self._ends = {
            tag: list(accumulate(counts[tag][word] for word in words))
            for tag, words in self._words.items()
        }

    def another(self, token: Token, u: float) -> str:
        """A word of the same tag but the token's own, by frequency; `u` in [0, 1) chooses.

        A tag with a single word gives that word.
        """
        words, ends = self._words[token.tag], self._ends[token.tag]
        own = bisect(words, token.text) - 1
        start = ends[own - 1] if own else 0
        weight = ends[own] - start
        if weight == ends[-1]:
            return token.text
        point = u * (ends[-1] - weight)
        return words[bisect(ends, point if point < start else point + weight)]


# English words as the Penn Treebank cuts them ("do" "n't", "it" "'s"), and single other marks.
_ENGLISH = re.compile(
    r"(\s*)(\w+?(?=n['’]t\b)|n['’]t\b|['’](?:s|re|ve|ll|d|m)\b|\w+(?:[-.]\w+)*|[^\w\s])",
    re.IGNORECASE,
)


def tag_english(text: str) -> list[Token]:
    """Tokens with Penn Treebank tags, by the lexicon and rules that textblob ships."""
    from textblob.en import parser

    pieces = _ENGLISH.findall(text)
    tags = parser.find_tags([word for _, word in pieces]) if pieces else []
    return [Token(space, word, tag) for (space, word), (_, tag) in zip(pieces, tags, strict=True)]


def tag_chinese(text: str) -> list[Token]:
    """Words and tags by jieba, whose dictionary is in its package."""
    return [Token("", pair.word, pair.flag) for pair in _jieba().cut(text)]


@cache
def _jieba() -> Any:
    """jieba's tagger, loaded quietly and without a cache in a folder that others can write to."""
    import jieba
    import jieba.posseg

    jieba.setLogLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        jieba.dt.tmp_dir = folder
        jieba.dt.initialize()
    return jieba.posseg
