"""Malformed and hostile inputs, each with the command line that meets it.

A case writes its files into `bench.folder` and returns the arguments of a verb, whose target is
`bench.target` or lies where the configuration of `bench.configure` says. `words` is a regular
expression that the message has to match.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from configured import configure
from sample_records import make_record

from spikebert.config.plan import read_plan
from spikebert.data.text import text_id
from spikebert.errors import UserError

ZIP_LIST, ZIP_ENTRY = b"PK\x01\x02", b"PK\x03\x04"  # a zip's central directory and local headers


@dataclass(frozen=True)
class Bench:
    """Where a case may write, the target of its verb, and folders that are as they should be."""

    folder: Path
    target: Path
    corpus: Path
    student: Path
    teacher: Path

    def write(self, name: str, data: bytes | str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
        return path

    def configure(self, *models: str, **keys: Any) -> list[str]:
        """The options that name a configuration of a set `mine`; its work/ and results/ lie in
        `folder`."""
        return configure(self.folder, models or ("tfidf",), **keys)[0]

    def place(self, folder: Path, where: str, changes: dict[str, bytes | str | None]) -> None:
        """A copy of a good folder, some files changed, where the configuration expects it."""
        made = self.copy(folder, changes)
        target = self.folder / "work/mine" / where
        target.parent.mkdir(parents=True, exist_ok=True)
        made.replace(target)

    def copy(self, folder: Path, changes: dict[str, bytes | str | None]) -> Path:
        """A copy of a good folder in which some files have another content, or are gone."""
        path = self.folder / folder.name
        shutil.copytree(folder, path)
        for name, data in changes.items():
            (path / name).unlink(missing_ok=True)
            if data is not None:
                self.write(f"{folder.name}/{name}", data)
        return path


@dataclass(frozen=True)
class Case:
    name: str
    words: str
    arguments: Callable[[Bench], list[Any]]


CASES: list[Case] = []


def case(name: str, words: str, arguments: Callable[[Bench], list[Any]]) -> None:
    CASES.append(Case(name, words, arguments))


# --- files of rows -----------------------------------------------------------------------------

LABELS = ["bad", "good"]
FILE = {"source": "file", "path": "rows.csv", "format": "label_text"}
CSV = "text,label\n" + "".join(f"film number {i},{LABELS[i % 2]}\n" for i in range(100))
JSONL = [json.dumps({"text": f"film number {i}", "label": LABELS[i % 2]}) for i in range(100)]


def split_of_spec(bench: Bench, spec: Any) -> list[Any]:
    return ["split", "mine", *bench.configure(datasets={"mine": spec}), "--out", bench.target]


def corpus_spec(**file: Any) -> dict[str, Any]:
    words = {"language": "en", "description": "a set of this test", "labels": LABELS}
    return words | {"files": [file]}


def rows(name: str, words: str, data: bytes | str, form: str = "csv", **keys: Any) -> None:
    """A file of labelled rows that `split` reads."""
    columns = {"text_column": "text", "label_column": "label"}
    columns = columns if form in ("csv", "tsv", "jsonl") else {}

    def arguments(bench: Bench) -> list[Any]:
        path = bench.write(f"rows.{form}", data)
        inside = keys.get("inside", "")
        file = {"source": "file", "path": f"{path}{inside}", "format": form, **columns}
        file |= {key: value for key, value in keys.items() if key not in ("inside", "labels")}
        return split_of_spec(bench, corpus_spec(**file) | {"labels": keys.get("labels", LABELS)})

    case(name, words, arguments)


def jsonl(name: str, words: str, line: str) -> None:
    rows(name, words, "\n".join([*JSONL[:50], line, *JSONL[50:]]), "jsonl")


rows("UTF-16 without a mark", "NUL byte", CSV.encode("utf-16-be"))
rows("UTF-32 without a mark", "NUL byte", CSV.encode("utf-32-le"))
rows("a NUL among the rows", "NUL byte", CSV.replace("film number 7", "film \0 7"))
rows("invalid UTF-8", "byte 0xff at position", CSV.encode() + b"\xff\xfe,good\n")
rows("half UTF-8, half cp1252", "byte 0xe9", (CSV + "é,bad\n").encode() + b"caf\xe9,good\n")
rows("UTF-8 cut within a letter", "byte 0xe2", CSV.encode() + "…".encode()[:2])
rows("a pickle named csv", "NUL byte|byte 0x80", pickle.dumps({"text": ["a"], "label": [0]}))
rows("a gzip named csv", "NUL byte|byte 0x8b", b"\x1f\x8b\x08\0" + bytes(range(256)))
rows("empty csv", "got:      none", "")
rows("white space alone", "columns of rows.csv", "\n \n\n")
rows("header alone", "got:      0 rows", "text,label\n")
rows("no such column", "got:      review, label", CSV.replace("text", "review", 1))
rows("duplicate header", "text[^\n]*twice", CSV.replace("text,label", "text,text,label", 1))
rows("unterminated quote", "mend the quotes", CSV + '"never closed,good\n')
rows("text after a quote", "mend the quotes", CSV + '"so" it goes,good\n')
rows("too few fields", "expected: 2 fields", CSV + "film alone\n")
rows("too many fields", "expected: 2 fields", CSV + "a,good,b\n")
rows("unknown label", "label of row rows.csv:102", CSV + "a film,fine\n")
rows("blank label", "label of row rows.csv:102", CSV + "a film,\n")
rows("label out of range", "got:      2", CSV + "a film,2\n")
rows("label that is a float", "got:      1.5", CSV + "a film,1.5\n")
rows("label NaN", "got:      nan", CSV + "a film,nan\n")
rows("very long label", "label of row", CSV + f"a film,{'x' * 100_000}\n")
rows("label of terminal codes", r"\\x1b\[31m", CSV + "a film,\x1b[31m\x1b]0;t\x07\n")
rows("one class", "rows of at least two of the classes", CSV.replace(",bad", ",good"))
rows("texts without a letter", "got:      0 rows", "text,label\n" + "!!,bad\n...,good\n" * 50)
rows("zero-width texts", "got:      0 rows", "text,label\n" + "\u200b\u200d,bad\n\u2060,good\n" * 9)
rows("one text a hundred times", "rows of at least two", "text,label\n" + "same,good\n" * 100)
rows("contradictory duplicates", "got:      0 rows", "text,label\n" + "a,good\nA!,bad\n" * 50)
rows("unknown split", "split of row", CSV, split_column="label")
rows("tsv with a stray tab", "expected: 2 fields", CSV.replace(",", "\t") + "a\tgood\tb\n", "tsv")
rows("jsonl cut short", "row rows.jsonl:100", "\n".join(JSONL)[:-5], "jsonl")
jsonl("array in jsonl", "row rows.jsonl:51[\\s\\S]*a JSON object", '["text", "label"]')
jsonl("number in jsonl", "row rows.jsonl:51", "7")
jsonl("missing key in jsonl", "columns of rows.jsonl:51", '{"text": "a film"}')
jsonl("text that is a number", "text of row rows.jsonl:51", '{"text": 7, "label": "good"}')
jsonl("text that is a list", "text of row rows.jsonl:51", '{"text": ["a"], "label": "good"}')
jsonl("label null", "got:      None", '{"text": "a film", "label": null}')
jsonl("label true", "got:      True", '{"text": "a film", "label": true}')
jsonl("label 1.5", "got:      1.5", '{"text": "a film", "label": 1.5}')
jsonl("label NaN in jsonl", "got:      nan", '{"text": "a film", "label": NaN}')
jsonl("label Infinity", "got:      inf", '{"text": "a film", "label": Infinity}')
jsonl("label an object", "label of row", '{"text": "a film", "label": {"class": "good"}}')
jsonl(
    "lone surrogate",
    r"text of row rows.jsonl:51[\s\S]*\\ud800",
    r'{"text": "a \ud800", "label": 1}',
)
jsonl("NUL by its escape", "text of row rows.jsonl:51", r'{"text": "a \u0000 b", "label": 1}')
jsonl("the reader's own word", "row rows.jsonl:51", r'{"text": "a", "label": "\u0000neutral"}')
jsonl("one key twice", "row rows.jsonl:51", '{"text": "a", "text": "b", "label": "good"}')
jsonl("a number of 5,000 digits", "row rows.jsonl:51", f'{{"text": "a", "label": {"9" * 5000}}}')
jsonl("100,000 brackets", "row rows.jsonl:51", "[" * 100_000)
rows("no label before the text", "label of row rows.label_text:1", " a film\n", "label_text")
rows("negative label", "got:      -1", "0 a film\n-1 a film\n", "label_text")
for rating in ("nan", "inf", "-7.5", "1e999", "high"):
    line = f"1\t{rating}\tgood film\n"
    rows(f"rating {rating}", "row rows.vader:1", line, "vader", labelling="sign")
rows("two columns of three", "expected: id, rating, text", "1\tgood\n", "vader", labelling="sign")


def unlabelled(name: str, words: str, data: bytes | str, form: str, language: str = "en") -> None:
    def arguments(bench: Bench) -> list[Any]:
        file = {"source": "file", "path": str(bench.write("text", data)), "format": form}
        spec = {"description": "d", "files": [file]}
        chinese = corpus_spec(**FILE) | {"language": "zh"}  # no test rows to keep clear of
        options = bench.configure(datasets={"mine": chinese}, unlabelled={language: spec})
        return ["unlabelled", language, *options, "--out", bench.target]

    case(name, words, arguments)


unlabelled("articles that are no JSON", "file text", "{title: text}", "movie_summaries")
unlabelled("articles in a list", "file text", '["an article"]', "movie_summaries")
unlabelled("an article that is null", "text of row", '{"M": null}', "movie_summaries")
unlabelled("an article with a surrogate", "text of row", r'{"M": "\udc80"}', "movie_summaries")
unlabelled("no line long enough", "got:      none", "Yes.\nNo.\n", "lines")
unlabelled("tagged text without tags", "row text:1", "no word here has a tag\n", "tagged")
unlabelled("a language nobody knows", r"unlabelled[\s\S]*fr", "A sentence of it.\n", "lines", "fr")


# --- archives ----------------------------------------------------------------------------------


def zipped(files: dict[str, bytes], mode: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            file.writestr(info, data)
    return buffer.getvalue()


def tarred(*members: tuple[str, bytes, bytes], compression: str = "gz") -> bytes:
    """A tar of (name, content, kind)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as file:
        for name, data, kind in members:
            entry = tarfile.TarInfo(name)
            entry.size, entry.type, entry.linkname = len(data), kind, "/etc/passwd"
            file.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def patched(archive: bytes, place: dict[bytes, int], value: bytes) -> bytes:
    """A zip in which `value` stands at an offset within each header of a kind."""
    changed = bytearray(archive)
    for header, offset in place.items():
        start = archive.find(header)
        while start >= 0:
            changed[start + offset : start + offset + len(value)] = value
            start = archive.find(header, start + 4)
    return bytes(changed)


def archive(name: str, words: str, data: bytes, inside: str = "!/*rows.csv") -> None:
    rows(name, words, data, inside=inside)


GOOD = {"rows.csv": CSV.encode()}
REGULAR = tarfile.REGTYPE
archive("text instead of an archive", "a zip or tar archive", CSV.encode())
archive("empty archive file", "a zip or tar archive", b"")
archive("zip cut short", "a zip or tar archive", zipped(GOOD)[:-30])
archive(
    "tar cut short", "a zip or tar archive", tarred(("rows.csv", CSV.encode() * 99, REGULAR))[:-40]
)
packed = tarred(("rows.csv", CSV.encode(), REGULAR), compression="xz")
archive("xz cut short", "archive", packed[: len(packed) // 2])
archive("zip without members", "expected: a member", zipped({}))
archive("no such member", "expected: a member", zipped({"other.csv": b"x"}))
damaged = bytearray(zipped(GOOD))
damaged[60:90] = bytes(30)
archive("damaged member", "archive rows.csv", bytes(damaged))
archive(
    "encrypted member",
    "archive rows.csv[\\s\\S]*(password|encrypted)",
    patched(zipped(GOOD), {ZIP_LIST: 8, ZIP_ENTRY: 6}, b"\x01\0"),
)
archive(
    "unknown compression",
    "archive rows.csv",
    patched(zipped(GOOD), {ZIP_LIST: 10, ZIP_ENTRY: 8}, b"\x63\0"),
)
archive(
    "size that is a lie",
    "archive rows.csv",
    patched(
        zipped({"rows.csv": bytes(10**7)}), {ZIP_LIST: 24, ZIP_ENTRY: 22}, struct.pack("<I", 100)
    ),
)
archive(
    "name that is no UTF-8",
    "archive rows.csv",
    patched(
        patched(zipped(GOOD), {ZIP_LIST: 8, ZIP_ENTRY: 6}, b"\0\x08"),
        {ZIP_LIST: 46, ZIP_ENTRY: 30},
        b"\xff",
    ),
)
archive(
    "symbolic link in a zip", "a link or device", zipped({"rows.csv": b"/etc/passwd"}, 0o120777)
)
for kind, title in {
    tarfile.SYMTYPE: "symbolic link",
    tarfile.LNKTYPE: "hard link",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
    tarfile.FIFOTYPE: "named pipe",
}.items():
    archive(f"{title} in a tar", "a link or device", tarred(("rows.csv", b"", kind)))
for place in ("../rows.csv", "a/../../rows.csv", "/rows.csv", "..\\rows.csv", "C:\\rows.csv"):
    archive(f"zip with {place}", "leaves the archive", zipped({place: CSV.encode()}))
    archive(f"tar with {place}", "leaves the archive", tarred((place, CSV.encode(), REGULAR)))
twice = tarred(("rows.csv", CSV.encode(), REGULAR), ("rows.csv", b"text,label\n", REGULAR))
archive("one name twice in a tar", "twice", twice)
archive(
    "one name twice in a zip",
    "twice",
    zipped({"rows.csv": b"a", "rowz.csv": b"b"}).replace(b"rowz", b"rows"),
)
bomb = bytes(200 * 2**20)
archive("zip that grows a thousandfold", "times", zipped({"rows.csv": bomb}))
archive("tar that grows a thousandfold", "times", tarred(("rows.csv", bomb, REGULAR)))
nested = zipped({"in.zip": zipped({"rows.csv": bomb})})
archive("bomb within an archive", "times", nested, "!/in.zip!/rows.csv")
archive(
    "bomb beside the member",
    "times",
    tarred(("a", bomb, REGULAR), ("rows.csv", CSV.encode(), REGULAR)),
)
del bomb


def many_members(bench: Bench) -> list[Any]:
    header = tarfile.TarInfo("other").tobuf()
    path = bench.write("many.tar", header * 100_001)
    return split_of_spec(
        bench, corpus_spec(source="file", path=f"{path}!/a.txt", format="label_text")
    )


case("100,001 members", "members", many_members)


# --- specifications ----------------------------------------------------------------------------

SPECS: dict[str, tuple[Any, str]] = {
    "specification that is text": ("{files: []}", "datasets.mine"),
    "specification that is a list": ([1], "datasets.mine"),
    "misspelt key": (corpus_spec(**FILE, pth="x"), "did you mean path"),
    "misspelt key of the set": (corpus_spec(**FILE) | {"lables": LABELS}, "did you mean labels"),
    "format nobody reads": (corpus_spec(**FILE | {"format": "docx"}), "files.0.format"),
    "no path": (corpus_spec(source="file", format="label_text"), "path"),
    "share that is NaN": (
        corpus_spec(**FILE) | {"split": {"dev": float("nan")}},
        "split.dev|finite|JSON compliant|nan",
    ),
    "half a sentence": (corpus_spec(**FILE, max_sentences=1.5), "max_sentences"),
    "a number of sentences as a float": (corpus_spec(**FILE, max_sentences=5.0), "max_sentences"),
    "missing file": (corpus_spec(**FILE | {"path": "/no/such"}), "file /no/such"),
    "folder as file": (corpus_spec(**FILE | {"path": "/"}), "file /"),
    "device as file": (corpus_spec(**FILE | {"path": "/dev/zero"}), "file /dev/zero"),
    "wrong sum": (corpus_spec(**FILE | {"path": __file__}, sha256="0" * 64), "SHA-256 0{64}"),
    "sum with a line break": (
        corpus_spec(**FILE | {"path": __file__}, sha256="0" * 64 + "\n"),
        "sha256",
    ),
    "repository that leaves the cache": (
        corpus_spec(
            source="url",
            repository="../..",
            commit="0" * 40,
            path="a",
            sha256="0" * 64,
            format="lines",
        ),
        "leaves it",
    ),
    "absolute path in a repository": (
        corpus_spec(
            source="url",
            repository="a/b",
            commit="0" * 40,
            path="/etc/passwd",
            sha256="0" * 64,
            format="lines",
        ),
        "leaves it",
    ),
    "package that is an option": (
        corpus_spec(source="package", package="-r==x", path="a", sha256="0" * 64, format="lines"),
        "package",
    ),
}
for title, (value, pattern) in SPECS.items():
    case(title, pattern, lambda bench, value=value: split_of_spec(bench, value))


def configuration(name: str, words: str, data: bytes | str | None) -> None:
    """A file of a configuration; None is one that is not there."""

    def arguments(bench: Bench) -> list[Any]:
        path = bench.folder / "mine.yaml" if data is None else bench.write("mine.yaml", data)
        return ["split", "mine", "--configfile", path, "--out", bench.target]

    case(name, words, arguments)


configuration("configuration that is no YAML", "mine.yaml", "{files: []")
configuration("configuration in a missing file", "no such file", None)
configuration("configuration that is a list", "mine.yaml", "[1]")
configuration("configuration of 100,000 brackets", "mine.yaml", '{"a":' + "[" * 100_000)
configuration("configuration that is a pickle", "mine.yaml", pickle.dumps([1]))
case(
    "set that is not configured",
    "did you mean mine",
    lambda bench: ["split", "mime", *bench.configure(), "--out", bench.target],
)


def bad_parquet(bench: Bench) -> list[Any]:
    bench.write("hub/train.parquet", b"PAR1 this is none PAR1")
    hub = {"source": "hub", "repository": str(bench.folder / "hub"), "revision": "0" * 40}
    return split_of_spec(bench, corpus_spec(**hub, hub_split="train", text_column="text"))


case("parquet that is none", "hub data set", bad_parquet)


# --- corpora and rows --------------------------------------------------------------------------


def corpus(name: str, words: str, changes: dict[str, Any], caps: Any = None) -> None:
    """`corpus` from splits of which some files are changed."""

    def arguments(bench: Bench) -> list[Any]:
        bench.place(bench.corpus, "splits/mine", changes)
        spec = corpus_spec(**FILE) | ({"caps": caps} if caps else {})
        return ["corpus", "mine", *bench.configure(datasets={"mine": spec}), "--out", bench.target]

    case(name, words, arguments)


def row(text: str = "a film", label: Any = 0, **keys: Any) -> str:
    return json.dumps({"id": text_id(text), "text": text, "label": label} | keys) + "\n"


corpus("splits without train", "train.jsonl[\\s\\S]*make the corpus first", {"train.jsonl": None})
corpus("splits without stats", "stats.json", {"stats.json": None})
corpus("stats cut short", "stats.json", {"stats.json": '{"labels": ["bad", '})
corpus("stats without labels", "stats.json", {"stats.json": '{"name": "mine"}'})
corpus("stats with one label", "stats.json", {"stats.json": '{"labels": ["bad"], "dropped": {}}'})
corpus("misspelt cap", "did you mean train", {}, {"trian": 5})
corpus("cap below one", "caps", {}, {"train": -5})
corpus("cap of a half", "caps", {}, {"train": 2.5})
corpus("row without text", "train.jsonl:1", {"train.jsonl": '{"id": "0"}\n'})
corpus("row with a surrogate", "train.jsonl:1", {"train.jsonl": '{"id": "0", "text": "\\ud800"}\n'})
corpus("row of another class", "label of row", {"train.jsonl": row(label=7) + row("b", 0)})
corpus("rows in UTF-16", "expected: UTF-8", {"train.jsonl": row().encode("utf-16")})

SIZE = {"hidden_size": 8, "num_attention_heads": 2}
RUN = "mine.direct.base.s1"


def trained(bench: Bench, models: str, name: str = RUN, **keys: Any) -> list[Any]:
    """`run` of a model on the set `mine`."""
    teachers = {"en": {"source": "folder", "path": "teacher"}}
    options = bench.configure(models, **{"model": SIZE, "teachers": teachers, **keys})
    return ["run", name, *options]


def direct(
    name: str, words: str, changes: dict[str, Any], run: str = RUN, *more: str, **keys: Any
) -> None:
    """`run` of a direct student on a corpus of which some files are changed."""

    def arguments(bench: Bench) -> list[Any]:
        bench.place(bench.corpus, "corpora/mine", changes)
        bench.place(bench.student, "teachers/en", {})
        return [*trained(bench, "direct", run, **keys), *more]

    case(name, words, arguments)


def steps(**settings: Any) -> dict[str, Any]:
    return {"steps": {"direct": settings}}


def rows_of_runs(**row: Any) -> dict[str, Any]:
    return {"runs": [{"datasets": ["mine"], "models": ["direct"], "seeds": [1], **row}]}


direct("corpus without stats", "stats.json", {"stats.json": None})
direct("empty training file", "train", {"train.jsonl": ""})
direct("training row without a label", "label of row", {"train.jsonl": row(label=None)})
direct("dev row of a class too many", "label of row", {"dev.jsonl": row(label=2)})
direct("negative class", "label of row", {"test.jsonl": row(label=-1)})
direct("misspelt setting", "did you mean epochs", {}, **steps(epoch=1))
direct("learning rate NaN", "finite|nan|learning_rate", {}, **steps(learning_rate=float("nan")))
direct("learning rate 1e999", "learning_rate", {}, **steps(learning_rate="1e999"))
direct("batches of a half", "batch_size", {}, **steps(batch_size=32.5))
direct("settings that are a list", "direct", {}, steps={"direct": [1]})
direct("no inner width", "mlp_ratio", {}, model={"mlp_ratio": 1e-9})
direct("rows of runs that are text", "runs", {}, runs="[1]")
direct("run without a seed", "seed", {}, runs=[{"datasets": ["mine"], "models": ["direct"]}])
direct("seed that is text", "seeds", {}, **rows_of_runs(seeds=["one"]))
direct("seed below zero", "seeds", {}, **rows_of_runs(seeds=[-1]))
direct("run that nobody asked for", "did you mean mine.direct.base.s1", {}, "mine.direct.base.s2")
direct("setting on the command line that is out of range", "beta", {}, RUN, "--set", "model.beta=2")
direct("setting on the command line without a value", "--set", {}, RUN, "--set", "model.beta")


def augment(name: str, words: str, changes: dict[str, Any], language: str = "en") -> None:
    def arguments(bench: Bench) -> list[Any]:
        bench.place(bench.corpus, "corpora/mine", changes)
        spec = corpus_spec(**FILE) | {"language": language}
        keys = {"datasets": {"mine": spec}, "teachers": {language: {"source": "pretrain"}}}
        keys["unlabelled"] = {language: {"description": "d", "files": []}}
        trained(bench, "stage2_only", **keys)
        try:
            plan = read_plan(bench.folder / "mine.yaml")
        except UserError:
            return ["run", "augment/mine/0", "--configfile", bench.folder / "mine.yaml"]
        run = plan.run_of("mine.stage2_only.base.s1")
        return trained(bench, "stage2_only", f"augment/{run.augmented}", **keys)

    case(name, words, arguments)


augment("held-out texts missing", "held_out.json", {"held_out.json": None})
augment("held-out texts cut short", "held_out.json", {"held_out.json": '["a'})
augment("held-out texts in an object", "held_out.json", {"held_out.json": "{}"})
augment("id that is no number", "id of", {"train.jsonl": row(id="first")})
augment("augmentation in French", r"unlabelled[\s\S]*fr|language", {}, "fr")


def missing_leaks(bench: Bench) -> list[Any]:
    return ["leaks", "--corpora", bench.folder / "none", "--out", bench.target]


case("search for leaks in no corpus", "make the corpus first", missing_leaks)


# --- published records -------------------------------------------------------------------------

RECORD = asdict(make_record("mr", "direct", 1, 0.75))


def published(bench: Bench, *words: str, models: tuple[str, ...] = ("direct",)) -> list[Any]:
    """A verb that reads what the base runs on MR published."""
    runs = [{"datasets": ["mr"], "models": [*models], "seeds": [1]}]
    keys = {"datasets": {"mr": corpus_spec(**FILE)}, "runs": runs, "model": SIZE}
    keys["teachers"] = {"en": {"source": "pretrain"}}
    keys["unlabelled"] = {"en": {"description": "d", "files": []}}
    return [*words, *bench.configure(**keys)]


def record(
    name: str, words: str, data: bytes | str | dict[str, Any], verb: str = "table accuracy"
) -> None:
    """A record that a table or figure reads."""

    def arguments(bench: Bench) -> list[Any]:
        content = json.dumps(data) if isinstance(data, dict) else data
        bench.write("results/mine/records/mr.direct.base.s1.json", content)
        return published(bench, *verb.split())

    case(name, words, arguments)


for verb in ("table accuracy", "figure accuracy", "figure sweeps"):
    record(f"{verb}: record cut short", "expected: JSON", json.dumps(RECORD)[:-40], verb)
    record(f"{verb}: accuracy NaN", "accuracy_test", RECORD | {"accuracy_test": float("nan")}, verb)
record("record in UTF-16", "expected: JSON", json.dumps(RECORD).encode("utf-16"))
record("empty record", "expected: JSON", b"")
record("record of 100,000 brackets", "expected: JSON", "[" * 100_000)
record("record that is a list", "fields", json.dumps([RECORD]))
record("record with a field too many", "fields", RECORD | {"accuracy": 1})
record("record with a field too few", "fields", {k: v for k, v in RECORD.items() if k != "seed"})
record("record of another schema", "schema", RECORD | {"schema": 99})
record("accuracy in percent", "accuracy_dev", RECORD | {"accuracy_dev": 75.0})
record("accuracy as text", "accuracy_test", RECORD | {"accuracy_test": "0.75"})
record("accuracy true", "accuracy_test", RECORD | {"accuracy_test": True})
record("seed as text", "seed", RECORD | {"seed": "1"})
record("rows as a list", "n_test", RECORD | {"n_test": [1060]})
record("history of numbers", "history", RECORD | {"history": [1, 2]})
record("history with words", "history", RECORD | {"history": [{"step": "first"}]})
record("settings in a list", "settings", RECORD | {"settings": []})
record("id of another run", "id", RECORD | {"id": "mr.direct.base.s2"})
record(
    "record of another run",
    "mr.direct.base.s1.json",
    RECORD | {"seed": 2, "id": "mr.direct.base.s2"},
)
case("missing record", "record", lambda bench: published(bench, "table", "accuracy"))
case("table that nobody writes", "accurcy", lambda bench: published(bench, "table", "accurcy"))
case(
    "probes of a run without a student",
    "--probe|probe",
    lambda bench: published(bench, "figure", "probes"),
)

PREDICTIONS = "row,label,prediction\n" + "".join(f"{i:016x},1,{int(i < 3)}\n" for i in range(4))


def claims(name: str, words: str, predictions: bytes | str, energy: str | None = None) -> None:
    def arguments(bench: Bench) -> list[Any]:
        run = "mr.direct.base.s1"
        bench.write(f"results/mine/records/{run}.json", json.dumps(RECORD | {"n_test": 4}))
        bench.write(f"results/mine/predictions/{run}.csv", predictions)
        if energy is not None:
            bench.write("results/mine/tables/energy.csv", energy)
        return published(bench, "table", "claims")

    case(name, words, arguments)


claims("empty predictions", "predictions", "")
claims("predictions without rows", "predictions", "row,label,prediction\n")
claims("predictions of other columns", "predictions", PREDICTIONS.replace("prediction", "guess"))
claims("predictions cut short", "predictions", PREDICTIONS[:-3])
claims("predictions that are words", "predictions", PREDICTIONS.replace(",1,1", ",1,good"))
claims(
    "predictions of one row twice", "predictions", PREDICTIONS + PREDICTIONS.splitlines()[1] + "\n"
)
claims("predictions in UTF-16", "predictions", PREDICTIONS.encode("utf-16"))
claims(
    "predictions of another accuracy", "accuracy of its record", PREDICTIONS.replace(",1,1", ",1,0")
)
claims("empty table of energy", "energy", PREDICTIONS, "")
claims(
    "table of energy of words",
    "energy",
    PREDICTIONS,
    "dataset,model,convention,length,energy_pj\nmr,teacher,dense,real,much\n",
)
claims(
    "table of energy with ragged rows",
    "energy",
    PREDICTIONS,
    "dataset,model,convention,length,energy_pj\nmr,a\nmr,a,b,c,1,2,3,4\n",
)


def energy(name: str, data: bytes | str) -> None:
    def arguments(bench: Bench) -> list[Any]:
        bench.write("results/mine/energy/mr.direct.base.s1.json", data)
        return published(bench, "table", "energy")

    case(name, "energy record", arguments)


RATES = {"macs": 1.0, "sops": 1.0, "spike_rate": 0.5, "energy_pj": 1.0}
REAL = RATES | {"energy_pj_p5": 1.0, "energy_pj_p50": 1.0, "energy_pj_p95": 1.0}
ENERGY: dict[str, Any] = {"id": "mr.direct.base.s1", "dataset": "mr", "source": "s"}
ENERGY |= {"model": "direct", "variant": "base", "seed": 1, "split": "test", "samples": 4}
ENERGY |= {"timesteps": 4, "fixed_length": 128, "parameters": 9, "layers": [], "schema": 1}
ENERGY |= dict.fromkeys(("tokens_mean", "tokens_p5", "tokens_p50", "tokens_p95"), 9.0)
ENERGY |= {"accounts": {"paper": {"real": REAL, "fixed": RATES}}}
energy("energy record cut short", json.dumps(ENERGY)[:-9])
energy("energy record of 100,000 brackets", "[" * 100_000)
energy("energy record without accounts", json.dumps(ENERGY | {"accounts": None}))
energy(
    "energy that is text",
    json.dumps(ENERGY | {"accounts": {"paper": {"real": REAL | {"macs": "many"}, "fixed": None}}}),
)
energy(
    "energy that is NaN",
    json.dumps(
        ENERGY
        | {"accounts": {"paper": {"real": REAL | {"energy_pj": float("nan")}, "fixed": None}}}
    ),
)


def saved(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def probes(name: str, data: bytes) -> None:
    def arguments(bench: Bench) -> list[Any]:
        for place in ("mr.spikebert.base.s1", "cka.en"):
            bench.write(f"results/mine/probes/{place}.npz", data)
        return published(bench, "figure", "probes", models=("spikebert",))

    case(name, "file [^\n]*mr.spikebert.base.s1.npz", arguments)


plain = io.BytesIO()
np.save(plain, np.zeros(3))
probes("pickle named npz", pickle.dumps([1, 2]))
probes("npz that holds pickles", saved(model=np.array([{"a": 1}], dtype=object)))
probes("npz cut short", saved(model="m", rates=np.zeros((9, 9)))[:-50])
probes("npy named npz", plain.getvalue())
probes("empty npz", b"")
probes("npz without its arrays", saved(model="m"))


# --- model folders -----------------------------------------------------------------------------


class Marker:
    """Pickled, it would write a file when it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


MARKER = "executed"
CODE = "from pathlib import Path\nPath(__file__).parent.joinpath('executed').touch()\n"
CODE += "raise RuntimeError('this code must never run')\n"
REMOTE = {
    "AutoConfig": "modeling_evil.EvilConfig",
    "AutoModelForSequenceClassification": "modeling_evil.EvilModel",
    "AutoTokenizer": ["modeling_evil.EvilTokenizer", None],
}


def predict(
    name: str,
    words: str,
    changes: Callable[[Bench], dict[str, Any]],
    texts: tuple[str, ...] = ("a film",),
) -> None:
    def arguments(bench: Bench) -> list[Any]:
        folder = bench.copy(bench.student, changes(bench))
        return ["predict", folder, *texts]

    case(name, words, arguments)


def config_with(**keys: Any) -> Callable[[Bench], dict[str, Any]]:
    """The student's config.json with other values."""

    def changes(bench: Bench) -> dict[str, Any]:
        config = json.loads((bench.student / "config.json").read_text("utf-8"))
        return {"config.json": json.dumps(config | keys)}

    return changes


def weights(change: Callable[[dict[str, Any]], None]) -> Callable[[Bench], dict[str, Any]]:
    """The student's weights, changed in place."""

    def changes(bench: Bench) -> dict[str, Any]:
        from safetensors.torch import load_file, save

        tensors = load_file(bench.student / "model.safetensors")
        change(tensors)
        return {"model.safetensors": save(tensors, {"format": "pt"})}

    return changes


def first_nan(tensors: dict[str, Any]) -> None:
    next(iter(tensors.values())).view(-1)[0] = float("nan")


def one_missing(tensors: dict[str, Any]) -> None:
    del tensors["classifier.weight"]


def one_narrow(tensors: dict[str, Any]) -> None:
    tensors["classifier.weight"] = tensors["classifier.weight"][:, :-1].contiguous()


def five_words(bench: Bench) -> dict[str, Any]:
    """A model that knows the first five words of its tokenizer."""
    name = "spikebert.embeddings.word_embeddings.weight"
    change = weights(lambda tensors: tensors.update({name: tensors[name][:5].contiguous()}))
    return change(bench) | config_with(vocab_size=5)(bench)


def pickled(bench: Bench) -> dict[str, Any]:
    marker = Marker(bench.folder / bench.student.name / MARKER)
    return {"model.safetensors": None, "pytorch_model.bin": pickle.dumps(marker)}


def pickled_as_safetensors(bench: Bench) -> dict[str, Any]:
    return {"model.safetensors": pickled(bench)["pytorch_model.bin"]}


def remote(model_type: str) -> Callable[[Bench], dict[str, Any]]:
    def changes(bench: Bench) -> dict[str, Any]:
        made = config_with(model_type=model_type, auto_map=REMOTE)(bench)
        return made | {"modeling_evil.py": CODE}

    return changes


def remote_tokenizer(_: Bench) -> dict[str, Any]:
    tokenizer = json.dumps({"tokenizer_class": "EvilTokenizer", "auto_map": REMOTE})
    changes = {"tokenizer_config.json": tokenizer, "tokenizer.json": None, "vocab.txt": None}
    return changes | {"modeling_evil.py": CODE}


def cut_weights(bench: Bench) -> dict[str, Any]:
    return {"model.safetensors": (bench.student / "model.safetensors").read_bytes()[:-100]}


predict("no configuration", "no config.json", lambda _: {"config.json": None})
predict("configuration cut short", "config.json", lambda _: {"config.json": '{"model_type": "spi'})
predict("configuration of a model that is a list", "config.json", lambda _: {"config.json": "[]"})
predict("unknown model type", "nosuch", config_with(model_type="nosuch"))
predict("no model type", "model_type", lambda _: {"config.json": "{}"})
predict("another model type", "model ", config_with(model_type="gpt2"))
predict("beta out of range", "beta", config_with(beta=7))
predict("width of another model", "model ", config_with(hidden_size=16))
predict("heads that do not divide", "num_attention_heads", config_with(num_attention_heads=3))
predict("code of its own, type unknown", "model ", remote("evil"))
predict("tokenizer of its own code", "tokenizer", remote_tokenizer)
predict("no weights", "model.safetensors", lambda _: {"model.safetensors": None})
predict("weights cut short", "model ", cut_weights)
predict("empty weights", "model ", lambda _: {"model.safetensors": b""})
predict(
    "header of weights of 2^60 bytes",
    "model ",
    lambda _: {"model.safetensors": struct.pack("<Q", 2**60) + b"{}"},
)
predict("pickled weights alone", "pickled", pickled)
predict("pickle named safetensors", "model ", pickled_as_safetensors)
predict("a weight that is NaN", "finite", weights(first_nan))
predict("a weight that is missing", "classifier.weight", weights(one_missing))
predict("a weight of another shape", "classifier.weight", weights(one_narrow))
predict(
    "no tokenizer",
    "tokenizer",
    lambda _: {"tokenizer.json": None, "tokenizer_config.json": None, "vocab.txt": None},
)
predict("tokenizer cut short", "tokenizer", lambda _: {"tokenizer.json": '{"version": "1.0"'})
predict("tokens beyond the vocabulary", "vocabulary of the model", five_words)
predict("empty text", "an empty text", lambda _: {}, ("",))
predict("spaces alone", "an empty text", lambda _: {}, (" \t\n\u3000",))
predict("zero-width text", "text", lambda _: {}, ("\u200b",))
predict("text with a lone surrogate", "text", lambda _: {}, ("a \udc80 film",))
case("model that is a file", "model ", lambda bench: ["predict", bench.write("m", "x"), "a film"])


def fetched(bench: Bench, spec: Any) -> list[Any]:
    return ["fetch-teacher", "en", *bench.configure(teachers={"en": spec}), "--out", bench.target]


def fetch(name: str, words: str, changes: dict[str, Any]) -> None:
    def arguments(bench: Bench) -> list[Any]:
        folder = bench.copy(bench.teacher, changes)
        return fetched(bench, {"source": "folder", "path": str(folder)})

    case(name, words, arguments)


fetch("teacher's configuration cut short", "config.json", {"config.json": "{"})
fetch("teacher's configuration a list", "config.json", {"config.json": "[]"})
fetch("teacher that is no BERT", "choose a BERT", {"config.json": '{"model_type": "gpt2"}'})
fetch(
    "teacher without weights",
    "pickled weights are never read",
    {"model.safetensors": None, "pytorch_model.bin": b"x"},
)
fetch(
    "teacher without a tokenizer",
    "tokenizer.json or vocab.txt",
    {"tokenizer.json": None, "vocab.txt": None},
)
case("specification of nothing", "source", lambda bench: fetched(bench, {}))


def pretrained(bench: Bench) -> list[Any]:
    text = {"en": {"description": "d", "files": []}}
    options = bench.configure(teachers={"en": {"source": "pretrain"}}, unlabelled=text)
    return ["fetch-teacher", "en", *options, "--out", bench.target]


case("specification of a teacher to be made", "run pretrain/en", pretrained)


def finetune(name: str, words: str, changes: Callable[[Bench], dict[str, Any]]) -> None:
    def arguments(bench: Bench) -> list[Any]:
        bench.place(bench.corpus, "corpora/mine", {})
        bench.place(bench.teacher, "teachers/en", changes(bench))
        return trained(bench, "teacher", "mine.teacher.base.s1")

    case(name, words, arguments)


def cut_teacher(bench: Bench) -> dict[str, Any]:
    return {"model.safetensors": (bench.teacher / "model.safetensors").read_bytes()[:-100]}


def teacher_code(bench: Bench) -> dict[str, Any]:
    config = json.loads((bench.teacher / "config.json").read_text("utf-8"))
    config |= {"model_type": "evil", "auto_map": REMOTE}
    return {"config.json": json.dumps(config), "modeling_evil.py": CODE}


finetune("teacher's weights cut short", "model ", cut_teacher)
finetune("teacher's weights gone", "model.safetensors", lambda _: {"model.safetensors": None})
finetune("teacher of code of its own", "model ", teacher_code)
finetune(
    "teacher's tokenizer gone",
    "tokenizer",
    lambda _: {"tokenizer.json": None, "tokenizer_config.json": None, "vocab.txt": None},
)
