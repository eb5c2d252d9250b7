"""Sameness, splits and sentences of texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikebert.config.registry import LANGUAGES
from spikebert.data.text import (
    clean,
    normalise,
    split_of,
    split_sentences,
    text_id,
    usable_sentences,
)

MR = "an exhilarating futuristic thriller-noir , minority report twists the best of technology ."


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("it's a mess .", "It 's a mess."),
        ("rancid crème brûlée", "rancid creme brulee"),
        ("the film -lrb- 2002 -rrb-", "The film (2002)"),
        ("送餐快,态度好", "送餐快， 态度好！"),
        ("ＡＢＣ１", "abc1"),
    ],
)
def test_the_same_text_in_other_clothes(one, other):
    assert normalise(one) == normalise(other)
    assert text_id(one) == text_id(other)


def test_other_words_are_another_text():
    assert normalise("a good film") != normalise("a bad film")
    assert normalise(" .!? ") == ""


def test_id_is_sixteen_hexadecimal_digits():
    # The head of sha256("amess"), so that ids stay what they are.
    assert text_id("A mess .") == "356612c2e402cffa"
    assert len(text_id(MR)) == 16
    assert int(text_id(MR), 16) >= 0


def test_split_follows_the_text_alone():
    shares = {"dev": 0.1, "test": 0.2}
    texts = [f"sentence number {i}" for i in range(4000)]
    splits = [split_of(text, shares) for text in texts]
    assert splits == [split_of(text.upper() + " !", shares) for text in texts]
    # Binomial: 4000 draws, standard deviation of a share below 0.007; five of them are allowed.
    assert splits.count("test") / 4000 == pytest.approx(0.2, abs=0.035)
    assert splits.count("dev") / 4000 == pytest.approx(0.1, abs=0.035)


@given(st.text())
def test_larger_test_share_only_adds_test_rows(text):
    if split_of(text, {"dev": 0.1, "test": 0.1}) == "test":
        assert split_of(text, {"dev": 0.1, "test": 0.3}) == "test"


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Mr. Lee left. He was 70.", ["Mr. Lee left.", "He was 70."]),
        ('He said "stop!" Then he left.', ['He said "stop!"', "Then he left."]),
        ("it is dull . and long .", ["it is dull .", "and long ."]),
        ("one\ntwo\r\nthree", ["one", "two", "three"]),
        ("The U.S. film by J. Lo won.", ["The U.S. film by J. Lo won."]),
        ("", []),
    ],
)
def test_english_sentences(text, sentences):
    assert split_sentences(text, "en") == sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("很好。下次还来！", ["很好。", "下次还来！"]),
        ("他说：“不错。”我也觉得", ["他说：“不错。”", "我也觉得"]),
        ("为什么？？！太慢…", ["为什么？？！", "太慢…"]),
    ],
)
def test_chinese_sentences(text, sentences):
    assert split_sentences(text, "zh") == sentences


@pytest.mark.parametrize("language", ["en", "zh"])
def test_long_sentences_are_cut_without_loss(language):
    text = "好吃" * 500 if language == "zh" else "tasty " * 500
    pieces = usable_sentences(text, language)
    assert len(pieces) > 1
    assert all(len(piece) <= LANGUAGES[language].longest for piece in pieces)
    assert normalise("".join(pieces)) == normalise(text)


def test_short_sentences_are_left_out():
    assert usable_sentences("Yes. So? This one is long enough.", "en") == [
        "This one is long enough."
    ]
    assert usable_sentences("好。房间很干净。", "zh") == ["房间很干净。"]


def test_clean():
    assert clean("\ufeff a\t b\u3000c \n") == "a b c"
