"""A configuration of one's own, and where its files lie, for tests of the verbs that read one."""

import json
from pathlib import Path
from typing import Any

from spikebert.config.plan import Layout, read_plan

FILE = {"source": "file", "path": "rows.tsv", "format": "label_text"}
SET = {"language": "en", "description": "d", "labels": ["bad", "good"], "files": [FILE]}


def configure(
    folder: Path, models: tuple[str, ...] = ("tfidf",), **keys: Any
) -> tuple[list[str], Path]:
    """The options `--configfile FILE --root FOLDER` of a configuration named `mine` with a set of
    that name, and its file; `keys` add to it or replace what is there."""
    config = {"run": "mine", "datasets": {"mine": SET}}
    config["runs"] = [{"datasets": ["mine"], "models": [*models], "seeds": [1]}]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mine.yaml"
    path.write_text(json.dumps(config | keys, indent=1), encoding="utf-8")
    return ["--configfile", str(path), "--root", str(folder)], path


def layout_of(folder: Path) -> Layout:
    """Where the files of `configure` lie."""
    return Layout.of(read_plan(folder / "mine.yaml"), str(folder))
