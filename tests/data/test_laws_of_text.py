"""What holds of every text, corpus and augmentation, and that time grows as the text does."""

import json
import os
import random
import re
import textwrap
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples import examples
from hypothesis import example, given
from hypothesis import strategies as st

from spikebert.config.registry import LANGUAGES
from spikebert.config.settings import AugmentSettings
from spikebert.data.augment import MASK, augment
from spikebert.data.corpus import make_corpus, read_rows
from spikebert.data.leaks import find_leaks
from spikebert.data.readers import READERS, decode
from spikebert.data.splits import make_splits
from spikebert.data.text import (
    _ABBREVIATION,
    _Wrapper,
    clean,
    normalise,
    split_of,
    split_sentences,
    text_id,
    usable_sentences,
)
from spikebert.data.unlabelled import make_unlabelled


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Files need not outlive a failure of power here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


# What texts of others hold: emoji of several characters, right-to-left text, zero-width and
# combining characters, control characters, marks of byte order, letters that change with case.
ODD_TEXTS = ["👩‍👩‍👧", "🇩🇪", "שלום", "مرحبا", "\u202e", "\u200b", "\u200d", "e\u0301", "\u0345"]
ODD_TEXTS += ["İ", "ß", "ﬁ", "\ufeff", "\x07", "\x1b[31m", "\x85", "\u2028", "\u3000", "-LRB-"]
ODD_TEXTS += ["-rrb-", "①", "½", "ᾳ"]
ODD = st.sampled_from(ODD_TEXTS)
TEXT = st.lists(st.one_of(ODD, st.text(max_size=5), st.sampled_from("a. B! 好。 ?\n"))).map("".join)
PROSE = st.lists(
    st.sampled_from(
        ["Mr", "J", "a", "Film", "U.S", ".", "!", "…", '"', ")", "'", " ", "  ", "(", "7"]
    )
).map("".join)


@given(TEXT)
def test_cleaning_is_idempotent_and_changes_no_text(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    assert normalise(clean(text)) == normalise(text.replace("\ufeff", " "))
    assert text_id(clean(text)) == text_id(clean(clean(text)))


@given(TEXT)
@example("a\u0301\u0327\u0345 ᾳ İ")
def test_marks_that_are_dropped_early_change_nothing(text: str) -> None:
    """The definition, whose time is the square of the longest run of marks."""
    plain = re.sub(r"-[lr][rsc]b-", " ", text.casefold())
    folded = unicodedata.normalize("NFKD", plain).casefold()
    assert normalise(text) == "".join(filter(str.isalnum, folded))


@given(TEXT, st.floats(0, 0.4), st.floats(0, 0.4))
def test_the_split_is_a_function_of_the_normalised_text(text: str, dev: float, test: float) -> None:
    shares = {"dev": dev, "test": test}
    assert split_of(text, shares) == split_of(normalise(text), shares) or (
        normalise(normalise(text)) != normalise(text)
    )
    assert split_of(f" {text} !", shares) == split_of(text, shares)


@given(st.text("ab \u3000-好", max_size=80), st.integers(1, 12))
def test_long_words_are_cut_as_the_library_cuts_them(text: str, width: int) -> None:
    expected = textwrap.wrap(text, width, break_on_hyphens=False)
    assert _Wrapper(width, break_on_hyphens=False).wrap(text) == expected


@given(PROSE)
def test_sentences_are_those_of_the_plain_pattern(text: str) -> None:
    """Without the parts that make it linear."""
    stop = re.compile(r"[.!?…]+[\"'”’)\]]*\s+(?=[\"'“‘(\[`]*[A-Z0-9])")
    expected = []
    for piece in re.split(r"(?<=\s[.!?])\s+", text):
        start = 0
        for found in stop.finditer(piece):
            if not _ABBREVIATION.search(piece[start : found.end()].rstrip()):
                expected.append(piece[start : found.end()])
                start = found.end()
        expected.append(piece[start:])
    assert split_sentences(text, "en") == [clean(piece) for piece in expected if clean(piece)]


@given(TEXT, st.sampled_from(["en", "zh"]))
def test_sentences_lose_no_letter(text: str, language: str) -> None:
    joined = " ".join(split_sentences(text, language))
    assert normalise(joined) == normalise(text.replace("\ufeff", " "))
    assert all(0 < len(p) <= LANGUAGES[language].longest for p in usable_sentences(text, language))


LONG = {
    "exclamation marks": "!" * 10**5,
    "marks and quotes": '!"' * 10**5,
    "abbreviations": "Mr. A " * 10**5,
    "one word of a million letters": "a" * 10**6,
    "Chinese without a stop": "好" * 10**6,
    "combining characters": "a" + "\u0301\u0327" * 10**5,
    "white space": " " * 10**6,
    "stops alone": ". " * 10**5,
    "brackets": '. "' * 10**5,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_long_texts_take_time_in_proportion(text: str, language: str) -> None:
    started = time.process_time()
    pieces = usable_sentences(text, language)
    assert time.process_time() - started < 20
    assert all(len(piece) <= LANGUAGES[language].longest for piece in pieces)


def test_a_million_short_lines() -> None:
    started = time.process_time()
    text = decode(b"1 a film\n" * 10**6, ["utf-8"], "rows")
    assert sum(1 for _ in READERS["label_text"](text, "rows", {})) == 10**6
    assert time.process_time() - started < 20


def test_a_mark_of_byte_order_is_no_part_of_the_first_column() -> None:
    for encoding in ("utf-8", "utf-8-sig"):
        assert decode("\ufefftext,label\n".encode(), [encoding], "rows") == "text,label\n"


# --- corpora -----------------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["a", "the", "film", "plot", "is", "good", "bad", "dull", "好", "送餐", "é", "👍", "-lrb-", "!"]
)
SENTENCES = st.lists(WORDS, min_size=1, max_size=5).map(" ".join)
ROWS = st.lists(st.tuples(SENTENCES, st.integers(0, 1)), max_size=30)
LABELS = ["bad", "good"]
Pairs = list[tuple[str, int]]


def spec_of(folder: Path, name: str, rows: Pairs, **keys: str) -> dict:
    """A specification of rows in a file of their own."""
    path = folder / f"{name}.jsonl"
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    file = {"source": "file", "path": str(path), "format": "jsonl", "text_column": "text"}
    return file | {"label_column": "label"} | keys


def common(start: int, count: int) -> Pairs:
    """Rows that keep every split of two classes."""
    return [(f"number {i}", i % 2) for i in range(start, start + count)]


def splits_of(out: Path, files: list[dict], language: str = "en") -> dict[str, str]:
    """Text id -> split and label, of a set made from files."""
    spec = {"language": language, "description": "d", "labels": LABELS, "files": files}
    make_splits("mine", spec, out, out.parent)
    return {
        row["id"]: f"{split} {row['label']}"
        for split in ("train", "dev", "test")
        for row in read_rows(out / f"{split}.jsonl")
    }


@examples(10)
@given(ROWS, st.lists(st.tuples(SENTENCES, st.integers(0, 1)), max_size=10), st.randoms())
def test_other_rows_and_their_order_move_no_row(
    tmp_path_factory: pytest.TempPathFactory, rows: Pairs, more: Pairs, chance: random.Random
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    base = common(0, 200) + rows
    mixed = base + more
    chance.shuffle(mixed)
    before = splits_of(folder / "before", [spec_of(folder, "before", base)])
    after = splits_of(folder / "after", [spec_of(folder, "after", mixed)])
    touched = {text_id(text) for text, _ in more}
    assert {k: v for k, v in before.items() if k not in touched} == {
        k: v for k, v in after.items() if k not in touched
    }
    shared = before.keys() & after.keys()
    assert all(before[k].split()[0] == after[k].split()[0] for k in shared)


@examples(4)
@given(ROWS, ROWS, ROWS, st.sampled_from(["en", "zh"]))
def test_no_test_row_is_trained_on(
    tmp_path_factory: pytest.TempPathFactory, one: Pairs, two: Pairs, three: Pairs, language: str
) -> None:
    """For two sets that share rows, official splits and hashed ones, text and augmented rows."""
    folder = tmp_path_factory.mktemp("leaks")
    parts = {"train": one + common(0, 20), "dev": two + common(100, 8)}
    parts["test"] = three + common(200, 8)
    files = [spec_of(folder, f"a.{k}", rows, split=k) for k, rows in parts.items()]
    hashed = spec_of(folder, "b", two + one + three + common(100, 200))
    splits_of(folder / "splits/a", files, language)
    splits_of(folder / "splits/b", [hashed], language)
    corpora = [folder / "corpora" / name for name in "ab"]
    for corpus in corpora:
        folders = [folder / "splits" / name for name in "ab"]
        make_corpus(corpus.name, folder / "splits" / corpus.name, folders, corpus)
    spec = {"description": "d", "files": [{**hashed}], "include_training_rows": True}
    del spec["files"][0]["label_column"]
    make_unlabelled(language, spec, corpora, folder / "text", folder)
    against = [folder / "text/text.jsonl"]
    assert find_leaks(corpora, against) == []
    held_out = {normalise(row["text"]) for c in corpora for row in read_rows(c / "test.jsonl")}
    for corpus in corpora:
        rows = read_rows(corpus / "train.jsonl")
        exclude = set(json.loads((corpus / "held_out.json").read_text("utf-8")))
        made = augment(rows, language, AugmentSettings(p_mask=0.3, p_ng=0.5, n_iter=3), 1, exclude)
        assert not held_out & {normalise(row["text"]) for row in made}


@examples(12)
@given(
    st.lists(st.one_of(SENTENCES, TEXT.map(clean).filter(bool)), max_size=6, unique_by=text_id),
    st.sampled_from(["en", "zh"]),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
def test_augmented_rows_have_a_word_and_no_label(
    texts: list[str], language: str, mask: float, pos: float, ng: float, seed: int
) -> None:
    rows = [{"id": text_id(text), "text": text, "label": i % 2} for i, text in enumerate(texts)]
    chosen = AugmentSettings(p_mask=mask, p_pos=pos, p_ng=ng, n_iter=4)
    made = augment(rows, language, chosen, seed)
    assert made[: len(rows)] == rows
    for row in made[len(rows) :]:
        assert row["label"] is None
        assert normalise(row["text"].replace(MASK, ""))
        assert row["text"] == clean(row["text"])
        assert row["id"].split("-")[0] in {text_id(text) for text in texts}
    assert len({row["id"] for row in made}) == len(made)
    assert augment(rows, language, chosen, seed) == made
