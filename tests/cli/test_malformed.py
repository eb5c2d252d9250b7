"""Malformed input gives one screen of words, a status, and nothing under the target's name."""

import contextlib
import io
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from malformed import CASES, CSV, MARKER, Bench

from spikebert import cli
from spikebert.data.corpus import make_corpus
from spikebert.data.splits import make_splits

AS_PROCESS = (  # as a user meets them; the others run in this process, which is quicker
    "UTF-16 without a mark",
    "zip that grows a thousandfold",
    "table accuracy: record cut short",
    "text with a lone surrogate",
)


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A corpus, a student and a teacher that are as they should be."""
    from transformers import BertConfig, BertModel

    from spikebert.config.settings import ModelSettings
    from spikebert.models.modeling import SpikeBertForSequenceClassification
    from spikebert.models.students import new_student
    from spikebert.training.steps.pretrain import train_tokenizer

    folder = tmp_path_factory.mktemp("good")
    (folder / "rows.csv").write_text(CSV, encoding="utf-8")
    file = {"source": "file", "path": str(folder / "rows.csv"), "format": "csv"}
    file |= {"text_column": "text", "label_column": "label"}
    spec = {"language": "en", "description": "d", "labels": ["bad", "good"], "files": [file]}
    make_splits("mine", spec, folder / "splits", folder)
    make_corpus("mine", folder / "splits", [], folder / "corpus")
    tokenizer = train_tokenizer(iter(CSV.splitlines()), 100)
    model = ModelSettings(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, timesteps=2)
    student = SpikeBertForSequenceClassification(new_student(model, tokenizer, num_labels=2))
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    teacher = BertModel(BertConfig(vocab_size=len(tokenizer), intermediate_size=8, **shape))
    for name, made in {"student": student, "teacher": teacher}.items():
        made.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return {name: folder / name for name in ("corpus", "student", "teacher")}


def in_process(arguments: list[str]) -> tuple[int, str]:
    """Exit status and standard error of the command line; any other exception comes through."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            cli.main(arguments)
        except SystemExit as end:
            return int(end.code or 0), errors.getvalue()
    return 0, errors.getvalue()


def as_process(arguments: list[str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "spikebert", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run.returncode, run.stderr


def test_cases_have_names_of_their_own() -> None:
    assert [name for name, count in Counter(c.name for c in CASES).items() if count > 1] == []
    assert set(AS_PROCESS) <= {c.name for c in CASES}
    assert len(CASES) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_malformed_input(case, good: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    bench = Bench(tmp_path / "in", tmp_path / "out" / "target", **good)
    arguments = [str(argument) for argument in case.arguments(bench)]
    before = set(tmp_path.rglob("*"))
    status, message = (as_process if case.name in AS_PROCESS else in_process)(arguments)
    assert status != 0
    assert "Traceback" not in message
    assert len(message.splitlines()) <= 24
    assert len(message) <= 2000
    assert re.search(case.words, message), message
    assert not [c for c in message if c != "\n" and not c.isprintable()], ascii(message)
    assert list((tmp_path / "out").iterdir()) == []
    made = {path.relative_to(tmp_path / "in") for path in set(tmp_path.rglob("*")) - before}
    assert not [
        path
        for path in made
        if not path.is_relative_to("work/downloads")
        and not path.is_relative_to("work/mine/checkpoints")
    ]
    assert not list(tmp_path.rglob(MARKER))


def test_code_in_a_folder_of_a_known_type_is_ignored(good: dict[str, Path], tmp_path: Path) -> None:
    from malformed import remote

    bench = Bench(tmp_path, tmp_path / "out", **good)
    folder = bench.copy(bench.student, remote("spikebert")(bench))
    assert in_process(["predict", str(folder), "a film"])[0] == 0
    assert not list(tmp_path.rglob(MARKER))
    assert json.loads((folder / "config.json").read_text("utf-8"))["auto_map"]
