"""The command line: help, errors on one screen, and what it does not import."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from spikebert.cli import app, kind_of, parse, settings_of
from spikebert.errors import UserError

VERBS = [command.name or command.callback.__name__ for command in app.registered_commands]


def spikebert(*arguments):
    command = [sys.executable, "-m", "spikebert", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb):
    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 5


def test_help_loads_nothing_heavy():
    code = (
        "import sys, spikebert.cli; "
        "print([m for m in ('torch', 'transformers', 'pandas', 'datasets', 'sklearn', 'matplotlib')"
        " if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_mistake_is_one_screen_and_status_2(tmp_path):
    result = spikebert(
        "stage1", "--settings", '{"stage1": {"learning_rat": 1}}', "--text", tmp_path / "t",
        "--teacher", tmp_path, "--checkpoints", tmp_path / "c", "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "learning_rat" in result.stderr
    assert "did you mean learning_rate?" in result.stderr
    assert len(result.stderr.splitlines()) < 25
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"model": {"beta": 1.5}}', "beta"),
        ('{"model": {"beta": "0,9"}}', "beta"),
        ('{"stage2": {}}', "expected: model, stage1"),
        ('{"algorithm": 99}', "algorithm version"),
        ("[1]", "a JSON object"),
        ("{", "a JSON object"),
        ("no/such/file.json", "a JSON object or a file"),
    ],
)
def test_settings_are_checked_before_anything_heavy(text, reason):
    with pytest.raises(UserError, match=reason):
        settings_of(text, "model", "stage1")


def test_settings_say_which_kind_of_student():
    assert kind_of('{"model": {}, "stage1": {}}', "stage1") == "stage1"
    assert kind_of('{"model": {}}', "stage1") == "stage1"
    dense = '{"model": {"hidden_size": 24}, "dense_stage1": {"epochs": 2}}'
    model, chosen = settings_of(dense, "model", kind_of(dense, "stage1"))
    assert (model.hidden_size, type(chosen).__name__) == (24, "DenseStage1Settings")
    assert (chosen.epochs, chosen.batch_size) == (2, 128)


def test_settings_may_stand_in_a_file(tmp_path):
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"model": {"beta": 0.5}}), encoding="utf-8")
    model, stage1 = settings_of(str(file), "model", "stage1")
    assert model.beta == 0.5
    assert stage1.batch_size == 128
    assert parse('{"a": 1}') == {"a": 1}
