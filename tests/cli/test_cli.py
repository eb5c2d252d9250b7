"""The command line: help, errors on one screen, and what it does not import."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from configured import configure
from typer.testing import CliRunner

from spikebert.cli import app
from spikebert.config.plan import make_plan
from spikebert.errors import UserError

ROOT = Path(__file__).parents[2]
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
    options, _ = configure(tmp_path, steps={"stage1": {"learning_rat": 1}})
    result = spikebert("run", "mine.tfidf.base.s1", *options)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "learning_rat" in result.stderr
    assert "did you mean learning_rate?" in result.stderr
    assert len(result.stderr.splitlines()) < 25
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("model.beta=1.5", "beta"),
        ("model.beta=high", "beta"),
        ("steps.stage2.epoch=1", "did you mean epochs"),
        ("model.beta", "--set model.beta"),
        ("model.beta.x=1", "a name within a value|beta"),
    ],
)
def test_settings_of_the_command_line_are_checked_before_anything_heavy(tmp_path, change, reason):
    options, _ = configure(tmp_path, model={"beta": 0.9})
    with pytest.raises(UserError, match=reason):
        app(["run", "mine.tfidf.base.s1", *options, "--set", change], standalone_mode=False)
    assert not (tmp_path / "work").exists()


def test_a_verb_and_the_workflow_say_the_same_of_a_setting():
    """Both check the configuration that they read, and each shows what it was told."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
    with pytest.raises(UserError) as of_workflow:
        make_plan({**config, "model": {**config["model"], "beta": 2}})
    words = ["run", "mr.direct.base.s1", "--configfile", str(ROOT / "config/config.yaml")]
    with pytest.raises(UserError) as of_verb:
        app([*words, "--set", "model.beta=2"], standalone_mode=False)
    assert str(of_verb.value) == str(of_workflow.value)
    assert "model.beta" in str(of_verb.value)
