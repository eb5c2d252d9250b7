"""Sets of pairs and of scores: corpora, tokens, augmentation and the leaks between them."""

import json

import pytest
import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertTokenizer, DistilBertTokenizer

from spikebert.config.datasets import metric_of
from spikebert.config.settings import AugmentSettings
from spikebert.data.augment import augment
from spikebert.data.corpus import make_corpus, read_held_out, read_rows, write_rows
from spikebert.data.leaks import find_leaks
from spikebert.data.splits import make_splits
from spikebert.data.text import identity, split_of, text_id
from spikebert.data.unlabelled import make_unlabelled
from spikebert.errors import UserError
from spikebert.training.tokenization import TEACHER_LABEL, encode

WORDS = "the a cat dog bird sat ran slept on in near mat house tree quickly today".split()  # noqa: SIM905


def pair_of(i):
    """Two different short sentences for each number."""
    return f"the {WORDS[i % 16]} is number {i}", f"number {i} is a {WORDS[i * 7 % 16]}"


def table(path, rows, header=("sentence1", "sentence2", "label")):
    lines = ["\t".join(map(str, row)) for row in [header, *rows]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {
        "source": "file",
        "path": str(path),
        "format": "tsv",
        "text_column": "sentence1",
        "pair_column": "sentence2",
        "label_column": "label",
    }


def spec_of(*files, **keys):
    common = {"language": "en", "description": "pairs", "labels": ["no", "yes"]}
    return common | {"files": list(files)} | keys


def scores_of(*files, **keys):
    return spec_of(*files, labels=None, range=[0, 5], **keys)


def official(folder, train, test, **keys):
    """As GLUE is read here: train and a test split, dev by hash."""
    rows = {"train": train, "test": test}
    return [table(folder / f"{k}.tsv", v) | {"split": k} | keys for k, v in rows.items()]


def labelled(count, start=0):
    return [(*pair_of(i), i % 2) for i in range(start, start + count)]


def scored(count, start=0):
    return [(*pair_of(i), f"{i % 51 / 10}") for i in range(start, start + count)]


def test_a_pair_is_one_text_of_both_sides_in_their_order():
    assert identity("A b.", "C!") == "ab\tc"
    assert (
        len({identity("ab", "c"), identity("a", "bc"), identity("c", "ab"), identity("abc")}) == 4
    )
    assert text_id("A b", "c") == text_id("a B .", "C")
    moved = {split_of("same", {"dev": 0.3, "test": 0.3}, f"other {i}") for i in range(40)}
    assert moved == {"train", "dev", "test"}


def test_pairs_are_split_deduplicated_and_kept_apart(tmp_path):
    train = [
        *labelled(200),
        (*pair_of(300), 0),
        ("Twice", "the same", 1),
        ("twice!", "The same", 1),
    ]
    train += [("two", "labels", 0), ("two", "labels", 1), ("empty", "!!", 1)]
    # One side in common is no duplicate; the two sides swapped are another pair.
    test = [*labelled(10, 300), (pair_of(0)[0], "another second side", 1), (*pair_of(1)[::-1], 0)]
    stats = make_splits("p", spec_of(*official(tmp_path, train, test)), tmp_path / "s", tmp_path)
    rows = {s: read_rows(tmp_path / "s" / f"{s}.jsonl") for s in ("train", "dev", "test")}
    assert stats["dropped"] == {"also_in_test": 1, "duplicate": 1, "empty": 1, "two_labels": 2}
    assert len(rows["test"]) == 12
    assert len(rows["train"]) + len(rows["dev"]) == 201
    assert all(row["id"] == text_id(row["text"], row["text_pair"]) for row in rows["train"])
    assert 5 < len(rows["dev"]) < 40
    assert stats["splits"]["test"]["characters"]["p100"] > max(len(r["text"]) for r in rows["test"])


def test_test_pairs_of_another_set_leave_training_and_augmentation(tmp_path):
    (tmp_path / "b").mkdir()
    one = spec_of(*official(tmp_path, labelled(100), labelled(20, 500)))
    shared = [(a.upper(), f"{b} .", y) for a, b, y in labelled(10, 500)]
    two = spec_of(*official(tmp_path / "b", [*labelled(100, 200), *shared], labelled(10, 600)))
    for name, spec in (("one", one), ("two", two)):
        make_splits(name, spec, tmp_path / "splits" / name, tmp_path)
    folder = tmp_path / "corpora" / "two"
    stats = make_corpus("two", tmp_path / "splits/two", [tmp_path / "splits/one"], folder)
    dropped = [stats["dropped"].get(f"{s}_in_test_of_another_set", 0) for s in ("train", "dev")]
    assert sum(dropped) == 10
    held_out = read_held_out(folder)
    assert identity(*pair_of(500)) in held_out
    assert identity(*pair_of(600)) in held_out
    make_corpus("one", tmp_path / "splits/one", [tmp_path / "splits/two"], tmp_path / "corpora/one")
    augmented = tmp_path / "augmented.jsonl"
    write_rows(augmented, augment(read_rows(folder / "train.jsonl"), "en", SETTINGS, 1, held_out))
    assert find_leaks([tmp_path / "corpora/one", folder], [augmented]) == []


def test_unlabelled_text_holds_no_side_of_a_dev_or_test_pair(tmp_path):
    make_splits(
        "p", spec_of(*official(tmp_path, labelled(60), labelled(9, 90))), tmp_path / "s", tmp_path
    )
    make_corpus("p", tmp_path / "s", [], tmp_path / "c")
    spec = {"description": "d", "files": [], "include_training_rows": True}
    make_unlabelled("en", spec, [tmp_path / "c"], tmp_path / "u", tmp_path)
    texts = {row["text"] for row in read_rows(tmp_path / "u" / "text.jsonl")}
    train = read_rows(tmp_path / "c" / "train.jsonl")
    assert texts == {text for row in train for text in (row["text"], row["text_pair"])}
    leaky = tmp_path / "leaky.jsonl"
    write_rows(leaky, [{"id": "0", "text": pair_of(95)[1]}])
    assert find_leaks([tmp_path / "c"], [tmp_path / "u" / "text.jsonl"]) == []
    assert find_leaks([tmp_path / "c"], [leaky])[0]["rows"] == 1
    # A labelled pair may share a side with a test pair.
    write_rows(leaky, [{"id": "0", "text": "x", "text_pair": pair_of(95)[1], "label": None}])
    assert find_leaks([tmp_path / "c"], [leaky]) == []


def test_scores_are_numbers_in_their_range(tmp_path):
    stats = make_splits(
        "s", scores_of(*official(tmp_path, scored(200), scored(30, 400))), tmp_path / "s", tmp_path
    )
    rows = read_rows(tmp_path / "s" / "test.jsonl")
    assert {type(row["label"]) for row in rows} == {float}
    assert stats["labels"] is None
    assert stats["range"] == [0, 5]
    assert stats["metric"] == "pearson_spearman"
    assert stats["splits"]["test"]["scores"]["max"] == max(row["label"] for row in rows)
    assert metric_of(stats) == "pearson_spearman"


def test_pairs_and_scores_come_from_the_hub_and_stats_say_what_stands_for_test(
    tmp_path, monkeypatch
):
    """Parquet in the columns of GLUE's STS-B, read as the hub is, from a folder."""
    from datasets import Dataset

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "stsb"
    for split, start, count in (("train", 0, 80), ("validation", 100, 20), ("test", 200, 5)):
        rows = [
            (*pair_of(i), -1.0 if split == "test" else i % 26 / 5)
            for i in range(start, start + count)
        ]
        first, second, label = map(list, zip(*rows, strict=True))
        columns = {"sentence1": first, "sentence2": second, "label": label}
        Dataset.from_dict(columns).to_parquet(folder / f"{split}.parquet")
    file = {
        "source": "hub",
        "repository": str(folder),
        "revision": "0" * 40,
        "text_column": "sentence1",
        "pair_column": "sentence2",
        "label_column": "label",
    }
    files = [file | {"hub_split": "train", "split": "train"}]
    spec = scores_of(*files, file | {"hub_split": "validation", "split": "test"})
    stats = make_splits("s", spec, tmp_path / "s", tmp_path)
    assert stats["splits"]["test"]["rows"] == 20
    assert stats["splits"]["train"]["rows"] + stats["splits"]["dev"]["rows"] == 80
    assert (stats["test_from"], stats["dev_from"]) == ("validation", "train, by hash")
    hidden = scores_of(*files, file | {"hub_split": "test", "split": "test"})
    with pytest.raises(UserError, match=r"got:      -1[\s\S]*validation split as the test split"):
        make_splits("s", hidden, tmp_path / "t", tmp_path)


BAD_SCORES = {
    "above": ("5.1", "number in 0 to 5[\\s\\S]*5.1"),
    "below": ("-0.5", "number in 0 to 5"),
    "not a number": ("nan", "got:      nan"),
    "a word": ("high", "got:      high"),
    "hidden": ("-1", "validation split"),
    "empty": ("", "number in 0 to 5"),
}


@pytest.mark.parametrize(("score", "words"), BAD_SCORES.values(), ids=BAD_SCORES.keys())
def test_bad_scores_are_errors(tmp_path, score, words):
    files = official(tmp_path, [*scored(50), ("a", "b", score)], scored(9, 60))
    with pytest.raises(UserError, match=rf"score of row train.tsv:52[\s\S]*{words}"):
        make_splits("s", scores_of(*files), tmp_path / "s", tmp_path)


BAD_SPECS = {
    "f1 of scores": (
        {"labels": None, "range": [0, 5], "metric": "f1"},
        "since its labels are scores",
    ),
    "correlation of classes": ({"metric": "pearson"}, "since its labels are 2 classes"),
    "f1 of three classes": (
        {"labels": ["a", "b", "c"], "metric": "f1"},
        "one of accuracy, f1_macro, matthews, since its labels are 3 classes",
    ),
    "no range": ({"labels": None}, "lowest, highest"),
    "empty range": ({"labels": None, "range": [5, 5]}, "lowest, highest"),
    "range of classes": ({"range": [0, 5]}, "it has classes"),
    "unknown metric": ({"metric": "bleu"}, "setting metric"),
}


@pytest.mark.parametrize(("change", "words"), BAD_SPECS.values(), ids=BAD_SPECS.keys())
def test_what_does_not_fit_the_task_is_refused(tmp_path, change, words):
    spec = spec_of(*official(tmp_path, labelled(9), labelled(9, 20))) | change
    with pytest.raises(UserError, match=words):
        make_splits("p", spec, tmp_path / "s", tmp_path)


def test_files_of_a_set_of_pairs_are_all_of_pairs(tmp_path):
    files = official(tmp_path, labelled(9), labelled(9, 20))
    del files[1]["pair_column"]
    with pytest.raises(UserError, match="1 of 2 files with pair_column"):
        make_splits("p", spec_of(*files), tmp_path / "s", tmp_path)
    files = official(tmp_path, labelled(9), labelled(9, 20), pair_column="sentence3")
    with pytest.raises(UserError, match=r"columns of train.tsv[\s\S]*sentence3"):
        make_splits("p", spec_of(*files), tmp_path / "s", tmp_path)
    files = official(tmp_path, labelled(9), labelled(9, 20), format="lines")
    with pytest.raises(UserError, match="format"):
        make_splits("p", spec_of(*files), tmp_path / "s", tmp_path)


def test_rows_of_pairs_and_scores_come_back(tmp_path):
    rows = [{"id": "0", "text": "a", "text_pair": "b", "label": 2.5}]
    write_rows(tmp_path / "r.jsonl", rows)
    assert read_rows(tmp_path / "r.jsonl") == rows
    for broken in ('"label": NaN', '"label": Infinity', '"text_pair": 1', '"label": true'):
        (tmp_path / "r.jsonl").write_text(f'{{"id": "0", "text": "a", {broken}}}\n')
        with pytest.raises(UserError, match=r"r.jsonl:1"):
            read_rows(tmp_path / "r.jsonl")


# Augmentation

SETTINGS = AugmentSettings(p_mask=0.3, p_pos=0.3, p_ng=0.3, n_iter=9)
PAIR = {
    "id": "00000000000000aa",
    "text": "the quick brown fox jumps over the lazy dog",
    "text_pair": "a small grey bird sleeps under an old green tree",
    "label": 1,
}


def test_draws_change_the_first_side_the_second_and_both_in_turn():
    original, *rows = augment([PAIR], "en", SETTINGS, 1)
    assert original == PAIR
    assert len(rows) > 6
    for row in rows:
        changed = (row["text"] != PAIR["text"], row["text_pair"] != PAIR["text_pair"])
        turn = (int(row["id"].split("-")[1]) - 1) % 3
        assert changed == [(True, False), (False, True), (True, True)][turn]
        assert row["label"] is None


def test_the_sides_are_drawn_independently():
    """Equal sides do not come out equal, and the first side is drawn as a single text is."""
    twins = PAIR | {"text_pair": PAIR["text"]}
    settings = AugmentSettings(p_mask=0.5, p_pos=0, p_ng=0, n_iter=9)
    _, *rows = augment([twins], "en", settings, 1)
    both = [row for row in rows if row["id"][-1] in "369"]
    assert both
    assert all(row["text"] != row["text_pair"] for row in both)
    alone = {k: v for k, v in PAIR.items() if k != "text_pair"}
    single = {row["id"]: row["text"] for row in augment([alone], "en", settings, 1)}
    assert all(single[row["id"]] == row["text"] for row in both)


def test_held_out_pairs_are_not_augmented_into():
    _, *rows = augment([PAIR], "en", SETTINGS, 1)
    barred = identity(rows[0]["text"], rows[0]["text_pair"])
    again = augment([PAIR], "en", SETTINGS, 1, exclude=[barred])
    assert rows[0]["id"] not in {row["id"] for row in again}
    # A single text that equals one side bars nothing.
    assert len(augment([PAIR], "en", SETTINGS, 1, exclude=[identity(rows[0]["text"])])) == 1 + len(
        rows
    )


# Tokens


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    trainer = BertWordPieceTokenizer()
    trainer.train_from_iterator([" ".join(WORDS)] * 5, vocab_size=100, show_progress=False)
    folder = tmp_path_factory.mktemp("vocabulary")
    trainer.save_model(str(folder))
    return f"{folder}/vocab.txt"


def test_a_pair_is_read_as_bert_reads_it(vocabulary):
    tokenizer = BertTokenizer(vocab=vocabulary)
    row = {"text": "the cat sat", "text_pair": "a dog", "label": 1}
    (example,) = encode([row], tokenizer, 32)
    tokens = tokenizer.convert_ids_to_tokens(example["input_ids"])
    assert tokens == ["[CLS]", "the", "cat", "sat", "[SEP]", "a", "dog", "[SEP]"]
    assert example["token_type_ids"] == [0] * 5 + [1] * 3
    assert example["labels"] == 1
    (short,) = encode([row], tokenizer, 7)  # the longer side is cut first
    tokens = tokenizer.convert_ids_to_tokens(short["input_ids"])
    assert tokens == ["[CLS]", "the", "cat", "[SEP]", "a", "dog", "[SEP]"]
    (single,) = encode([{"text": "the cat sat"}], tokenizer, 32)
    assert single.keys() == {"input_ids", "attention_mask"}


def test_a_tokenizer_without_types_gives_none(vocabulary):
    tokenizer = DistilBertTokenizer(vocab=vocabulary)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    (example,) = encode([{"text": "the cat", "text_pair": "a dog"}], tokenizer, 32)
    assert example.keys() == {"input_ids", "attention_mask"}


def test_labels_of_augmented_rows_ask_the_teacher(vocabulary):
    tokenizer = BertTokenizer(vocab=vocabulary)
    classes = encode([{"text": "cat", "label": 1}, {"text": "dog", "label": None}], tokenizer, 8)
    assert [example["labels"] for example in classes] == [1, TEACHER_LABEL]
    scores = encode([{"text": "cat", "label": 2.5}, {"text": "dog", "label": None}], tokenizer, 8)
    labels = torch.tensor([example["labels"] for example in scores])
    assert labels[0] == 2.5
    assert labels[1].isnan()


def test_stats_of_a_set_of_classes_are_as_before(tmp_path):
    stats = make_splits(
        "p", spec_of(*official(tmp_path, labelled(60), labelled(9, 90))), tmp_path / "s", tmp_path
    )
    assert not stats.keys() & {"range", "metric", "test_from", "dev_from"}
    assert stats == json.loads((tmp_path / "s" / "stats.json").read_text("utf-8"))
