"""A configuration is read from its file, or the file, the line and the way out are named."""

from pathlib import Path

import pytest

from spikebert.config.plan import read_plan, read_yaml, with_changes
from spikebert.errors import UserError

TINY = Path(__file__).parents[1] / "inputs/tiny.yaml"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run: a\nmodel: {beta: 0.8\nsteps: 1\n", r"mine.yaml, line 3[\s\S]*valid YAML"),
        ("run: a\n\tmodel: 1\n", r"mine.yaml, line 2"),
        ("run: 2024-13-45\n", r"mine.yaml[\s\S]*month"),
        ("[" * 5000, r"mine.yaml"),
        ("", "an empty file"),
        ("- a\n", "a list"),
        ("run: \x00", "mine.yaml"),
    ],
)
def test_what_is_no_configuration_is_named(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        read_yaml(path)


def test_a_file_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text("run: small\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"no such file[\s\S]*did you mean .*small.yaml\?"):
        read_yaml(tmp_path / "smal.yaml")
    with pytest.raises(UserError, match="check the path"):
        read_yaml(tmp_path / "no" / "small.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"run: \xe9")
    with pytest.raises(UserError, match=r"latin.yaml[\s\S]*valid YAML"):
        read_yaml(tmp_path / "latin.yaml")


def test_changes_reach_their_setting() -> None:
    made = read_plan(TINY, ["model.beta=0.8", "steps.stage2.epochs=2", "model.tau=null"])
    run = made.run_of("films.spikebert.base.s1")
    assert run.settings["model"]["beta"] == 0.8
    assert run.settings["model"]["tau"] is None
    assert run.settings["stage2"]["epochs"] == 2
    given = {"model": {"beta": 0.9}}
    assert with_changes(given, ["model.beta=0.5", "steps.direct.seed = 1"]) != given
    assert given == {"model": {"beta": 0.9}}


@pytest.mark.parametrize("text", ["model.beta", "=1", "run.name=1", "model.=1", "model.beta={"])
def test_a_change_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--set [\s\S]*write it as model.beta=0.8"):
        read_plan(TINY, [text])


def test_a_run_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"did you mean films.spikebert.base.s1\?"):
        read_plan(TINY).run_of("films.spikbert.base.s1")
