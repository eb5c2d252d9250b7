"""Files as people have them, after public reports about other tools: read, or refused in words."""

import bz2
import gzip
import json

import pytest

from spikebert.data import decoding
from spikebert.data.corpus import read_rows
from spikebert.data.splits import make_splits
from spikebert.errors import UserError

TEXTS = [f"{word} {thing} number {n}" for n in range(20) for word in ("good", "bad")
         for thing in ("film",)]  # fmt: skip


def table(separator=",", labels=("0", "1"), texts=TEXTS, header=("text", "label")):
    rows = [header] if header else []
    rows += [(text, labels[n % 2]) for n, text in enumerate(texts)]
    return "".join(f"{separator.join(row)}\n" for row in rows)


def parquet(path):
    import pandas

    pandas.DataFrame({"text": TEXTS, "label": [0, 1] * 20}).to_parquet(path)


def split(tmp_path, name, content, labels=("bad", "good"), language="en", **file):
    path = tmp_path / name
    if callable(content):
        content(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    spec = {"language": language, "description": "ours", "labels": list(labels)}
    columns = {"text_column": "text", "label_column": "label", "format": "csv"}
    spec["files"] = [{"source": "file", "path": str(path)} | columns | file]
    stats = make_splits("ours", spec, tmp_path / "out", tmp_path)
    rows = [
        row
        for part in ("train", "dev", "test")
        for row in read_rows(tmp_path / f"out/{part}.jsonl")
    ]
    return stats, rows


@pytest.mark.parametrize(
    ("name", "content", "file"),
    [
        ("utf-16.tsv", table("\t").encode("utf-16"), {"format": "tsv"}),
        ("utf-32.csv", table().encode("utf-32"), {}),
        ("latin-1.csv", table(texts=[f"café {t}" for t in TEXTS]).encode("latin-1"),
         {"encoding": "latin-1"}),
        ("one-of-two.csv", table(texts=[f"café {t}" for t in TEXTS]).encode("latin-1"),
         {"encoding": ["utf-8", "latin-1"]}),
        ("floats.csv", table(labels=("0.0", "1.0")), {}),
        ("spaces.csv", table(labels=("bad ", " good")), {}),
        ("semicolons.csv", table(";"), {"delimiter": ";"}),
        ("rows.parquet", parquet, {"format": "parquet"}),
        ("rows.json", json.dumps([{"text": t, "label": n % 2} for n, t in enumerate(TEXTS)]),
         {"format": "json"}),
        ("rows.csv.gz", gzip.compress(table().encode()), {}),
        ("header.csv", "\ufeff" + table(header=("Text", " Label")),
         {"text_column": "Text", "label_column": "Label"}),
        ("no-header.tsv", "".join(f"gj\t{n % 2}\t*\t{t}\n" for n, t in enumerate(TEXTS)),
         {"format": "tsv", "columns": ["source", "label", "mark", "text"]}),
        ("trees.txt", "".join(f"({n % 2} (2 {t.replace(' ', ') (2 ')}))\n"
                              for n, t in enumerate(TEXTS)), {"format": "sst_trees"}),
        ("long.csv", table(texts=[*TEXTS[:-2], "word " * 60_000, TEXTS[-1]]), {}),
    ],
)  # fmt: skip
def test_what_is_read(tmp_path, name, content, file):
    stats, rows = split(tmp_path, name, content, **file)
    assert stats["rows_kept"] == len(rows) == len(TEXTS)
    assert {row["label"] for row in rows} == {0, 1}
    assert "warnings" not in stats


@pytest.mark.parametrize(
    ("content", "labels", "file", "words"),
    [
        (table(texts=[f"café {t}" for t in TEXTS]).encode("latin-1"), ["a", "b"], {},
         "encoding: cp1252"),
        (table(texts=[f"很{t}" for t in TEXTS]).encode("gb18030"), ["a", "b"], {"language": "zh"},
         "encoding: gb18030"),
        (table(labels=("bad", "Good")), ["bad", "good"], {}, "did you mean good?"),
        (table(labels=("1", "2")), ["bad", "good"], {}, "indices run from 0"),
        (table(";"), ["bad", "good"], {}, 'delimiter: ";"'),
        (table(header=None), ["bad", "good"], {}, "columns: "),
        (table(labels=("-1", "1")), ["bad", "good"], {}, "hidden"),
        (b"\x1f\x8b broken", ["bad", "good"], {"name": "rows.csv.gz"}, "a compressed file"),
        (bz2.compress(table().encode())[:-9], ["bad", "good"], {"name": "rows.csv.bz2"},
         "a compressed file"),
        ("{}", ["bad", "good"], {"format": "json"}, "a list of JSON objects"),
        ("no parquet", ["bad", "good"], {"format": "parquet"}, "expected: Parquet"),
        ("(3 (2 half)\n", ["bad", "good"], {"format": "sst_trees"}, "a tree"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path, content, labels, file, words):
    with pytest.raises(UserError) as error:
        split(tmp_path, file.pop("name", "rows.csv"), content, labels, **file)
    assert words in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("labels", "written"), [((1, 2), ("1", "2")), ((False, True), ("False", "True"))]
)
def test_numbers_and_truth_values_are_names_of_classes(tmp_path, labels, written):
    stats, rows = split(tmp_path, "rows.csv", table(labels=written), labels)
    assert stats["labels"] == list(written)
    assert len(rows) == len(TEXTS)


def test_a_class_without_a_row_to_test_is_named(tmp_path, caplog):
    stats, _ = split(tmp_path, "rows.csv", table() + "a strange film,2\n", ["a", "b", "c"])
    assert len(stats["warnings"]) == 2
    assert stats["warnings"][0].startswith("class c has no row in ")
    assert stats["warnings"][0] in caplog.text


def test_a_parquet_file_with_damaged_pages_is_refused(tmp_path):
    parquet(tmp_path / "whole.parquet")
    data = bytearray((tmp_path / "whole.parquet").read_bytes())
    data[20:200] = bytes(180)
    with pytest.raises(UserError, match="expected: Parquet"):
        split(tmp_path, "rows.parquet", bytes(data), format="parquet")


def test_a_compressed_file_is_not_unpacked_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "ALWAYS_BYTES", 1000)
    with pytest.raises(UserError, match="more than 200 times its size"):
        split(tmp_path, "rows.csv.gz", gzip.compress(b"a" * 10**6))
