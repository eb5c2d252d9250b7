"""Augmentation: rates, distribution, order, and what must stay the same."""

from collections import Counter

import pytest

from spikebert.config.settings import AugmentSettings
from spikebert.data.augment import MASK, Token, Vocabulary, augment, tag_chinese, tag_english
from spikebert.data.text import normalise, text_id
from spikebert.errors import UserError

SENTENCES = [
    "it 's a charming and often affecting journey .",
    "unflinchingly bleak and desperate",
    "allows us to hope that nolan is poised to embark a major career as a commercial yet "
    "inventive filmmaker .",
    "the acting , costumes , music and sound are all astounding given the production 's locales .",
    "it 's slow -- very , very slow .",
    "isn't it great?",
]
CHINESE = ["送餐快,态度也特别好,辛苦啦谢谢", "菜味道很棒！送餐很及时！", "没有送水没有送水没有送水"]


def rows_of(texts):
    return [{"id": text_id(t), "text": t, "label": i % 2} for i, t in enumerate(texts)]


def settings(**keys):
    return AugmentSettings(**({"p_mask": 0, "p_pos": 0, "p_ng": 0} | keys))


@pytest.mark.parametrize("text", SENTENCES)
def test_english_tokens_give_the_text_back(text):
    assert "".join(token.space + token.text for token in tag_english(text)) == text


@pytest.mark.parametrize("text", CHINESE)
def test_chinese_tokens_give_the_text_back(text):
    assert "".join(token.text for token in tag_chinese(text)) == text


def test_english_tags():
    tokens = tag_english("he doesn't see the slow film .")
    tags = [(token.text, token.tag) for token in tokens]
    assert tags == [
        ("he", "PRP"),
        ("does", "VBZ"),
        ("n't", "RB"),
        ("see", "VB"),
        ("the", "DT"),
        ("slow", "JJ"),
        ("film", "NN"),
        (".", "."),
    ]


def test_chinese_tags():
    tags = {token.text: token.tag for token in tag_chinese("送餐很及时，味道不错")}
    assert tags["很"] == "d"
    assert tags["味道"] == "n"


@pytest.mark.parametrize(("language", "texts"), [("en", SENTENCES), ("zh", CHINESE)])
def test_originals_first_then_rows_without_label(language, texts):
    rows = rows_of(texts)
    made = augment(rows, language, AugmentSettings(), seed=3)
    assert made[: len(rows)] == rows
    new = made[len(rows) :]
    assert len(new) > 10 * len(rows)
    assert all(row["label"] is None for row in new)
    assert len({row["text"] for row in made}) == len({row["id"] for row in made}) == len(made)
    ids = {row["id"] for row in rows}
    assert all(row["id"].rsplit("-", 1)[0] in ids for row in new)
    assert all(normalise(row["text"].replace(MASK, "")) for row in new)


def test_same_seed_same_rows_other_seed_others():
    rows = rows_of(SENTENCES)
    assert augment(rows, "en", AugmentSettings(), 1) == augment(rows, "en", AugmentSettings(), 1)
    assert augment(rows, "en", AugmentSettings(), 1) != augment(rows, "en", AugmentSettings(), 2)


def test_other_rows_do_not_move_masks_and_n_grams():
    some = augment(rows_of(SENTENCES[:2]), "en", settings(p_mask=0.3, p_ng=0.5), 1)
    more = augment(rows_of(SENTENCES), "en", settings(p_mask=0.3, p_ng=0.5), 1)
    texts = {row["id"]: row["text"] for row in more}
    assert all(texts[row["id"]] == row["text"] for row in some)


def test_nothing_to_do_leaves_the_originals():
    rows = rows_of(SENTENCES)
    assert augment(rows, "en", settings(), 1) == rows  # every draw repeats its original
    assert augment(rows, "en", AugmentSettings(enabled=False), 1) == rows
    assert augment(rows, "en", AugmentSettings(n_iter=0), 1) == rows
    assert augment(rows_of(["... !"]), "en", AugmentSettings(), 1) == rows_of(["... !"])


def test_rate_of_masks():
    words = " ".join(f"word{i}" for i in range(50))
    made = augment(rows_of([words]), "en", settings(p_mask=0.1, n_iter=400), 1)[1:]
    rate = sum(row["text"].count(MASK) for row in made) / (50 * len(made))
    # 20,000 draws: standard deviation 0.002; texts without a mask (0.5 %) repeat the original.
    assert rate == pytest.approx(0.1, abs=0.01)


def test_masks_leave_punctuation_and_spacing_alone():
    made = augment(rows_of(["good , bad ( so-so ) !"]), "en", settings(p_mask=0.5, n_iter=50), 1)
    shapes = {row["text"].replace(MASK, "w") for row in made[1:]}
    assert "w , w ( so-so ) !" in shapes
    assert all(shape.endswith(" ) !") and " , " in shape for shape in shapes)


def test_swaps_keep_the_part_of_speech():
    rows = rows_of(["the slow film", "a bad story", "the great actor", "this dull plot"])
    made = augment(rows, "en", settings(p_pos=0.5), 1)[len(rows) :]
    kinds = [{"the", "a", "this"}, {"slow", "bad", "great", "dull"}]
    kinds.append({"film", "story", "actor", "plot"})
    assert made
    for row in made:
        assert all(word in kind for word, kind in zip(row["text"].split(), kinds, strict=True))


def test_n_grams_are_pieces_of_one_to_five_words():
    made = augment(rows_of([SENTENCES[2]]), "en", settings(p_ng=1, n_iter=200), 1)[1:]
    lengths = {len(row["text"].split()) for row in made}
    assert lengths == {1, 2, 3, 4, 5}
    assert all(row["text"] in SENTENCES[2] for row in made)


def test_dev_and_test_rows_are_never_made():
    rows = rows_of([SENTENCES[1]])
    every = augment(rows, "en", settings(p_ng=1, n_iter=100), 1)
    assert "bleak" in {row["text"] for row in every}
    less = augment(rows, "en", settings(p_ng=1, n_iter=100), 1, {"bleak"})
    assert {row["text"] for row in every} - {row["text"] for row in less} == {"bleak"}


def test_unlabelled_sentences_follow_for_the_teacher_to_label():
    rows = rows_of(SENTENCES[:2])
    text = rows_of(["A film.", SENTENCES[1].upper(), "bleak", "so-so", "fine", "left over"])
    wanted = settings(n_iter=1, transfer_sentences=3)
    made = augment(rows, "en", wanted, 1, {"bleak"}, iter(text))
    assert made[:2] == rows
    assert [row["text"] for row in made[2:]] == ["A film.", "so-so", "fine"]
    assert all(row["label"] is None for row in made[2:])
    assert augment(rows, "en", settings(n_iter=1), 1, (), text) == rows
    unused = settings(enabled=False, transfer_sentences=3)
    assert augment(rows, "en", unused, 1, (), text) == rows


def test_too_few_unlabelled_sentences_and_pairs_are_refused():
    rows, text = rows_of(SENTENCES), rows_of(["A film."])
    with pytest.raises(UserError, match="at most 1"):
        augment(rows, "en", settings(transfer_sentences=2), 1, (), text)
    pairs = [{**rows[0], "text_pair": "and another"}]
    with pytest.raises(UserError, match="pairs"):
        augment(pairs, "en", settings(transfer_sentences=1), 1, (), text)


def test_another_word_by_frequency():
    words = ["a"] * 1 + ["b"] * 2 + ["c"] * 7
    vocabulary = Vocabulary(Token(" ", word, "NN") for word in words)
    token = Token(" ", "b", "NN")
    draws = Counter(vocabulary.another(token, (i + 0.5) / 800) for i in range(800))
    assert draws == {"a": 100, "c": 700}  # b itself is left out: weights 1 and 7
    alone = Vocabulary([Token("", "one", "CD")])
    assert alone.another(Token("", "one", "CD"), 0.5) == "one"


def test_chinese_text_gets_no_spaces():
    made = augment(rows_of(CHINESE), "zh", settings(p_mask=0.3), 1)
    assert any(MASK in row["text"] for row in made)
    assert all(" " not in row["text"] for row in made)
