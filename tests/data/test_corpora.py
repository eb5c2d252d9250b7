"""Labelled sets and unlabelled text, made from small local files."""

import json

import pytest

from spikebert.data.corpus import make_corpus, read_held_out, read_rows, write_rows
from spikebert.data.leaks import find_leaks
from spikebert.data.splits import make_splits
from spikebert.data.text import normalise, split_of, text_id
from spikebert.data.unlabelled import make_unlabelled
from spikebert.errors import UserError
from spikebert.utils.checksums import sha256_of

LABELS = ["negative", "positive"]


def spec_of(*files, **keys):
    common = {"language": "en", "description": "a small set", "labels": LABELS}
    return common | {"files": list(files)} | keys


def file_of(folder, name, lines, **keys):
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {"source": "file", "path": str(path), "format": "label_text"} | keys


def official(folder, train, dev, test):
    parts = {"train": train, "dev": dev, "test": test}
    return [file_of(folder, f"{k}.txt", lines, split=k) for k, lines in parts.items()]


def numbered(n, start=0, text="film number"):
    return [f"{i % 2} {text} {i}" for i in range(start, start + n)]


def texts_of(path):
    return {row["text"] for row in read_rows(path)}


def make(tmp_path, name, spec, others=(), **keys):
    """Splits and corpus of one set; the corpus folder."""
    make_splits(name, spec, tmp_path / "splits" / name, tmp_path)
    folders = [tmp_path / "splits" / other for other in (name, *others)]
    make_corpus(name, folders[0], folders, tmp_path / "corpora" / name, **keys)
    return tmp_path / "corpora" / name


def test_hash_splits_are_complete_disjoint_and_steady(tmp_path):
    stats = make_splits(
        "a", spec_of(file_of(tmp_path, "a", numbered(300))), tmp_path / "s", tmp_path
    )
    splits = {name: texts_of(tmp_path / "s" / f"{name}.jsonl") for name in ("train", "dev", "test")}
    assert sum(map(len, splits.values())) == len(set.union(*splits.values())) == 300
    assert all(
        split_of(text, {"dev": 0.1, "test": 0.1}) == name
        for name in splits
        for text in splits[name]
    )
    assert stats["rows_read"] == stats["rows_kept"] == 300
    more = spec_of(file_of(tmp_path, "a", [*numbered(300), *numbered(100, 1000)]))
    make_splits("a", more, tmp_path / "t", tmp_path)
    for name, texts in splits.items():
        assert texts <= texts_of(tmp_path / "t" / f"{name}.jsonl")


def test_official_splits_keep_their_tests(tmp_path):
    train = [*numbered(10), "0 In the Test .", "1 same twice", "1 Same twice!", "0 two", "1 two"]
    files = official(
        tmp_path, train, [*numbered(4, 20), "1 in the test"], [*numbered(4, 30), "1 in the test"]
    )
    stats = make_splits("a", spec_of(*files), tmp_path / "s", tmp_path)
    assert [stats["splits"][s]["rows"] for s in ("train", "dev", "test")] == [11, 4, 5]
    assert stats["dropped"] == {"also_in_test": 2, "duplicate": 1, "two_labels": 2}
    assert stats["rows_read"] == stats["rows_kept"] + sum(stats["dropped"].values())


def test_dev_is_hashed_out_of_an_official_train(tmp_path):
    files = official(tmp_path, numbered(300), [], numbered(10, 500))
    del files[1]
    stats = make_splits("a", spec_of(*files, split={"dev": 0.2}), tmp_path / "s", tmp_path)
    assert stats["splits"]["test"]["rows"] == 10
    assert 30 < stats["splits"]["dev"]["rows"] < 90
    assert stats["rows_kept"] == 310


def test_own_table_with_class_names_and_splits(tmp_path):
    table = tmp_path / "mine.tsv"
    rows = [f"a text {i}\t{LABELS[i % 2]}\t{s}" for s in ("train", "dev", "test") for i in range(4)]
    rows = [
        f"{s} {row}" if i else f"first {row}"
        for i, (s, row) in enumerate(zip("abcdefghijkl", rows, strict=True))
    ]
    table.write_text("\n".join(["review\tclass\tfold", *rows]), encoding="utf-8")
    file = {"source": "file", "path": str(table), "format": "tsv", "text_column": "review"}
    file |= {"label_column": "class", "split_column": "fold"}
    stats = make_splits("mine", spec_of(file), tmp_path / "s", tmp_path)
    assert [stats["splits"][s]["rows"] for s in ("train", "dev", "test")] == [4, 4, 4]
    assert stats["splits"]["test"]["classes"] == {"negative": 2, "positive": 2}


def test_stats_say_what_was_read_and_written(tmp_path):
    file = file_of(tmp_path, "a", [*numbered(200), "0 ", "1 !!!"])
    stats = make_splits("a", spec_of(file, licence="MIT"), tmp_path / "s", tmp_path)
    assert stats == json.loads((tmp_path / "s" / "stats.json").read_text())
    assert stats["dropped"] == {"empty": 2}
    assert stats["files"] == [
        {"source": "file", "path": file["path"], "sha256": sha256_of(tmp_path / "a")}
    ]
    train = stats["splits"]["train"]
    assert train["sha256"] == sha256_of(tmp_path / "s" / "train.jsonl")
    assert train["words"] == {"p5": 3, "p50": 3, "p95": 3, "p100": 3}
    assert train["characters"]["p100"] == len("film number 199")
    assert stats["licence"] == "MIT"
    assert stats["analogue"] is False


def test_labels_by_name_by_index_and_by_file(tmp_path):
    named = file_of(tmp_path, "a", [line.replace("0 ", "negative ", 1) for line in numbered(99)])
    make_splits("a", spec_of(named), tmp_path / "s", tmp_path)
    rows = read_rows(tmp_path / "s" / "train.jsonl")
    assert all(row["label"] == int(row["text"].split()[-1]) % 2 for row in rows)
    files = [
        file_of(tmp_path, label, numbered(60, i * 100), format="lines", label=label)
        for i, label in enumerate(LABELS)
    ]
    stats = make_splits("b", spec_of(*files), tmp_path / "t", tmp_path)
    assert stats["rows_kept"] == 120


@pytest.mark.parametrize(
    ("labels", "line", "message"),
    [
        (LABELS, "2 odd one out", r"label of row a:101[\s\S]*got:      2"),
        (["-1", "1"], "0 odd one out", "expected: one of -1, 1"),
        (["one", "two"], "neutral odd one out", "got:      neutral"),
    ],
)
def test_unknown_labels_are_errors(tmp_path, labels, line, message):
    lines = [text.replace("0 ", f"{labels[0]} ", 1) for text in numbered(100)]
    with pytest.raises(UserError, match=message):
        make_splits(
            "a",
            spec_of(file_of(tmp_path, "a", [*lines, line]), labels=labels),
            tmp_path / "s",
            tmp_path,
        )
    assert not (tmp_path / "s").exists()


def test_a_split_without_two_classes_is_an_error(tmp_path):
    files = official(tmp_path, numbered(10), numbered(4, 20), ["1 good", "1 better"])
    with pytest.raises(UserError, match="split test"):
        make_splits("a", spec_of(*files), tmp_path / "s", tmp_path)


def test_an_unknown_key_is_an_error(tmp_path):
    spec = spec_of(file_of(tmp_path, "a", numbered(10)), lables=LABELS)
    with pytest.raises(UserError, match="did you mean labels"):
        make_splits("a", spec, tmp_path / "s", tmp_path)


def test_test_rows_of_other_sets_leave_train_and_dev(tmp_path):
    shared = numbered(40, 100)
    one = official(tmp_path, numbered(20), numbered(6, 30), shared)
    make_splits("one", spec_of(*one), tmp_path / "splits" / "one", tmp_path)
    (tmp_path / "b").mkdir()
    # Spaced as SST spaces its sentences, and in capitals: still the same texts.
    spaced = [line.upper() + " ." for line in shared]
    two = official(
        tmp_path / "b",
        [*numbered(8, 200), *spaced[:10]],
        [*numbered(4, 300), *spaced[10:15]],
        [*numbered(4, 400), *spaced[15:20]],
    )
    corpus = make(tmp_path, "two", spec_of(*two), others=["one"])
    stats = json.loads((corpus / "stats.json").read_text())
    assert [stats["splits"][s]["rows"] for s in ("train", "dev", "test")] == [8, 4, 9]
    assert stats["dropped"] == {
        "dev_in_test_of_another_set": 5,
        "train_in_test_of_another_set": 10,
    }
    held_out = read_held_out(corpus)
    assert {normalise(line.split(" ", 1)[1]) for line in shared} <= held_out
    assert not held_out & {normalise(text) for text in texts_of(corpus / "train.jsonl")}
    make_corpus("one", tmp_path / "splits" / "one", [tmp_path / "splits" / "two"], tmp_path / "c")
    assert find_leaks([tmp_path / "c", corpus], []) == []


def test_dev_rows_that_another_set_tests_on_may_be_kept(tmp_path):
    # As GLUE's SST-2, whose validation split, the test split here, is the dev split of SST.
    dev = numbered(8, 100)
    phrases = official(tmp_path, numbered(20), numbered(6, 30), dev)
    make_splits("phrases", spec_of(*phrases), tmp_path / "splits" / "phrases", tmp_path)
    (tmp_path / "sst").mkdir()
    sentences = official(tmp_path / "sst", [*numbered(9, 40), dev[0]], dev, numbered(9, 60))
    with pytest.raises(UserError, match="split dev"):
        make(tmp_path, "sst2", spec_of(*sentences), ["phrases"])
    corpus = make(tmp_path, "sst2", spec_of(*sentences), ["phrases"], keep_dev=True)
    assert len(read_rows(corpus / "dev.jsonl")) == 8
    assert not texts_of(corpus / "train.jsonl") & texts_of(corpus / "dev.jsonl")
    phrases = tmp_path / "corpora" / "phrases"
    make_corpus("phrases", tmp_path / "splits" / "phrases", [tmp_path / "splits" / "sst2"], phrases)
    assert find_leaks([corpus, phrases], []) == []
    with (corpus / "dev.jsonl").open("a", encoding="utf-8") as dev_file:
        dev_file.write((corpus / "test.jsonl").read_text("utf-8").splitlines()[0] + "\n")
    (leak,) = find_leaks([corpus, phrases], [])
    assert (leak["test"], leak["rows"]) == (str(corpus / "test.jsonl"), 1)


def test_caps_keep_the_smallest_hashes(tmp_path):
    spec = spec_of(file_of(tmp_path, "a", numbered(300)))
    whole = read_rows(make(tmp_path, "a", spec) / "train.jsonl")
    corpus = make(tmp_path, "a", spec, caps={"train": 20, "test": 8})
    assert read_rows(corpus / "train.jsonl") == whole[:20]
    stats = json.loads((corpus / "stats.json").read_text())
    assert stats["splits"]["test"]["rows"] == 8
    assert stats["dropped"]["train_over_cap"] == len(whole) - 20
    assert [row["id"] for row in whole] == sorted(text_id(row["text"]) for row in whole)


@pytest.fixture
def corpus(tmp_path):
    """A corpus whose test row of two sentences is known."""
    dev = [*numbered(4, 20), "1 a dev row that nobody may see"]
    test = [*numbered(4, 30), "1 The first half is fine. The other half is not."]
    return make(tmp_path, "a", spec_of(*official(tmp_path, numbered(10), dev, test)))


def test_unlabelled_text_holds_no_dev_or_test_row(tmp_path, corpus):
    document = (
        "A sentence to be kept. The other half is not! A DEV row that nobody may see. "
        "A sentence to be kept."
    )
    lines = [document, "The first half is fine , the other half is not .", "short"]
    spec = {"description": "d", "files": [file_of(tmp_path, "u", lines, format="lines")]}
    stats = make_unlabelled("en", spec, [corpus], tmp_path / "out", tmp_path)
    assert texts_of(tmp_path / "out" / "text.jsonl") == {"A sentence to be kept."}
    assert stats["dropped"] == {
        "document_in_dev_or_test": 1,
        "duplicate": 1,
        "sentence_in_dev_or_test": 2,
    }
    assert stats["sentences_read"] == 4
    assert stats["rows"] == 1
    assert find_leaks([corpus], [tmp_path / "out" / "text.jsonl"]) == []


def test_training_rows_join_the_unlabelled_text(tmp_path, corpus):
    spec = {"description": "d", "files": [], "include_training_rows": True}
    make_unlabelled("en", spec, [corpus], tmp_path / "out", tmp_path)
    rows = read_rows(tmp_path / "out" / "text.jsonl")
    assert {row["text"] for row in rows} == texts_of(corpus / "train.jsonl")
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert all(set(row) == {"id", "text"} for row in rows)


def test_caps_of_a_file_and_of_all(tmp_path, corpus):
    files = [
        file_of(tmp_path, name, numbered(50, 100 * i, text="unlabelled sentence"), format="lines")
        for i, name in enumerate("uv", 1)
    ]
    spec = {"description": "d", "files": [files[0] | {"max_sentences": 5}, files[1]]}
    stats = make_unlabelled("en", spec, [corpus], tmp_path / "out", tmp_path)
    assert stats["rows"] == 55
    assert stats["dropped"] == {"over_cap": 45}
    assert [file["sentences"] for file in stats["files"]] == [5, 50]
    whole = read_rows(tmp_path / "out" / "text.jsonl")
    make_unlabelled("en", spec | {"max_sentences": 7}, [corpus], tmp_path / "out", tmp_path)
    assert read_rows(tmp_path / "out" / "text.jsonl") == whole[:7]


def test_no_unlabelled_sentence_at_all(tmp_path):
    with pytest.raises(UserError, match="got:      none"):
        make_unlabelled("en", {"description": "d", "files": []}, [], tmp_path / "o", tmp_path)


def test_find_leaks_names_both_files(tmp_path, corpus):
    leaky = tmp_path / "leaky.jsonl"
    write_rows(leaky, [{"id": "0", "text": "FILM number 31 !"}, {"id": "1", "text": "harmless"}])
    assert find_leaks([corpus], [leaky, corpus / "train.jsonl"]) == [
        {
            "test": str(corpus / "test.jsonl"),
            "file": str(leaky),
            "rows": 1,
            "ids": [text_id("film number 31")],
        }
    ]


@pytest.mark.parametrize(
    "line",
    ['{"id": "1"}', '{"id": 1, "text": "a"}', '{"id": "1", "text": "a", "label": "x"}', "[]", "{"],
)
def test_broken_rows_are_errors(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"id": "0", "text": "a", "label": null}}\n{line}\n')
    with pytest.raises(UserError, match=r"rows.jsonl:2"):
        read_rows(path)


def test_missing_file_of_rows(tmp_path):
    with pytest.raises(UserError, match="make the corpus first"):
        read_rows(tmp_path / "no.jsonl")


def test_rows_come_back(tmp_path):
    rows = [
        {"id": "0", "text": "很好\u2028\x85 “a”", "label": 1},
        {"id": "1", "text": "b", "label": None},
    ]
    write_rows(tmp_path / "r.jsonl", rows)
    assert read_rows(tmp_path / "r.jsonl") == rows
