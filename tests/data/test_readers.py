"""One small real-looking snippet for each format, and what a broken file says."""

import json

import pytest

from spikebert.config.specs import FORMATS
from spikebert.data import readers
from spikebert.data.readers import LABELLINGS, NEUTRAL, READERS, Raw, decode, register_reader
from spikebert.errors import UserError


def read(form, text, **spec):
    return [
        (r.text, r.label, r.split) for r in READERS[form](text, "file", {"format": form} | spec)
    ]


def test_every_format_of_the_schema_has_a_reader():
    assert set(READERS) == set(FORMATS)


def test_label_text_keeps_odd_line_separators_within_a_row():
    # 0x85 is an ellipsis in cp1252 and a line separator in Latin-1; MR and Subj hold it.
    text = decode(b"0 simplistic , silly\x85 tedious\n1 the caf\xe9\r\n", ["cp1252"], "file")
    assert read("label_text", text) == [
        ("simplistic , silly… tedious", "0", None),
        ("the café", "1", None),
    ]
    assert len(read("label_text", "0 one\u2028two\x85three\n")) == 1


def test_csv_with_quotes_line_breaks_and_a_missing_review():
    text = 'label,review\n1,"很好,\n""蔡陆线"""\n0,\n'
    rows = read("csv", text, text_column="review", label_column="label")
    assert rows == [('很好,\n"蔡陆线"', "1", None), ("", "0", None)]


def test_only_and_html_breaks():
    text = "text,source\nfine<br /><br />film,imdb\nother,rt\n"
    rows = read("csv", text, text_column="text", only={"source": "imdb"})
    assert rows == [("fine\n\nfilm", None, None)]


def test_tsv_has_no_quotes_and_may_name_the_split():
    text = 'sentence\tlabel\tfold\n"so" good\tpositive\tdev\n'
    rows = read("tsv", text, text_column="sentence", label_column="label", split_column="fold")
    assert rows == [('"so" good', "positive", "dev")]


def test_jsonl():
    text = '{"t": "good", "y": 1}\n\n{"t": null, "y": 0}\n'
    rows = read("jsonl", text, text_column="t", label_column="y")
    assert rows == [("good", "1", None), ("", "0", None)]


def test_vader():
    text = "1\t2.2666\tThe Rock is destined\r\n2\t-0.6\tfish &amp; chips\r\n"
    assert read("vader", text) == [
        ("The Rock is destined", None, None),
        ("fish & chips", None, None),
    ]
    assert [row[1] for row in read("vader", text, labelling="fifths")] == ["3", "2"]


@pytest.mark.parametrize(
    ("labelling", "rating", "label"),
    [
        ("sign", 0.05, "1"),
        ("sign", -3.9, "0"),
        ("sign", 0.0, NEUTRAL),
        ("fifths", -4.0, "0"),
        ("fifths", -2.4, "0"),
        ("fifths", -2.39, "1"),
        ("fifths", 0.8, "2"),
        ("fifths", 0.81, "3"),
        ("fifths", 4.0, "4"),
        ("fifths_without_middle", -1.0, "0"),
        ("fifths_without_middle", 0.0, NEUTRAL),
        ("fifths_without_middle", 2.5, "1"),
    ],
)
def test_labels_from_ratings(labelling, rating, label):
    assert LABELLINGS[labelling](rating) == label


def test_unlabelled_formats():
    brown = "\n\tThe/at Fulton/np-tl and/or/cc ``/`` so/rb ''/'' ./.\n"
    assert read("tagged", brown) == [('The Fulton and/or " so " .', None, None)]
    assert read("tagged_chinese", "迈向/v  新/a  世纪/n\n") == [("迈向新世纪", None, None)]
    wiki = " \n = Title = \n \n A well @-@ known <unk> . It cost 1 @,@ 000 . \n"
    assert read("wikitext", wiki) == [("It cost 1,000 .", None, None)]
    assert read("movie_summaries", json.dumps({"M": "A film."})) == [("A film.", None, None)]
    assert read("lines", "one\n\n two\n") == [("one", None, None), (" two", None, None)]


@pytest.mark.parametrize(
    ("form", "text", "spec", "message"),
    [
        ("csv", "a,b\n1,2\n", {"text_column": "review"}, "got:      a, b"),
        ("csv", "", {"text_column": "review"}, "got:      none"),
        ("csv", "t,b\n1,2,3\n", {"text_column": "t"}, "expected: 2 fields"),
        ("csv", 't,b\n"x"y,1\n', {"text_column": "t"}, "mend the quotes"),
        ("csv", "t\nx\n", {"text_column": "t", "only": {"s": "1"}}, "columns of file"),
        ("jsonl", "{oops\n", {"text_column": "t"}, "row file:1"),
        ("jsonl", "[1]\n", {"text_column": "t"}, "row file:1[\\s\\S]*a JSON object"),
        ("vader", "1\tgood\n", {}, "expected: id, rating, text"),
        ("vader", "1\tx\tgood\n", {}, "row file:1"),
    ],
)
def test_broken_files_say_where(form, text, spec, message):
    with pytest.raises(UserError, match=message):
        read(form, text, **spec)


def test_decode_tries_encodings_in_turn():
    assert decode("é".encode(), ["utf-8", "cp1252"], "f") == "é"
    assert decode(b"\xe9", ["utf-8", "cp1252"], "f") == "é"
    with pytest.raises(UserError, match="byte 0xe9 at position 1"):
        decode(b"a\xe9", ["utf-8"], "f")
    with pytest.raises(UserError, match="NUL byte"):
        decode("ab".encode("utf-16-le"), ["utf-8"], "f")


def test_a_reader_of_ones_own(monkeypatch):
    monkeypatch.setattr(readers, "READERS", dict(READERS))

    def read_upper(text, name, _):
        yield Raw(text.upper(), None, None, name)

    register_reader("upper", read_upper)
    assert [raw.text for raw in readers.READERS["upper"]("a film", "a", {})] == ["A FILM"]
    with pytest.raises(UserError, match="format lines"):
        register_reader("lines", read_upper)
