"""A mistake is answered with its key as it was written, what was expected in words, and a way
out."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from spikebert.config import plugins
from spikebert.config.plan import content, make_plan
from spikebert.config.plugins import load_plugins
from spikebert.data import readers
from spikebert.errors import UserError
from spikebert.models import neurons

ROOT = Path(__file__).parents[2]
TINY = yaml.safe_load((ROOT / "tests/inputs/tiny.yaml").read_text("utf-8"))
FILMS = TINY["datasets"]["films"]
ROW = {"datasets": ["films"], "models": ["direct"], "seeds": [1]}


def variant(**changes: Any) -> dict[str, Any]:
    return {"runs": [ROW, ROW | {"variant": "leaky", "overrides": {"model.beta": 0.8}} | changes]}


@pytest.mark.parametrize(
    ("changes", "what", "expected", "got", "fix"),
    [
        (
            {"model": {"hidden_size": "big"}},
            "setting model.hidden_size in the configuration",
            "a whole number from 1",
            "'big'",
            "give a whole number from 1",
        ),
        (
            {"model": {"beta": 2}},
            "setting model.beta in the configuration",
            "a number from 0 below 1",
            "2",
            "give a number from 0 below 1",
        ),
        (
            {"datasets": {"films": {**FILMS, "description": 0}}},
            "setting datasets.films.description in the configuration",
            "text that is not empty",
            "0",
            'put it into quotes: "0"',
        ),
        (
            variant(variant="T2"),
            "setting runs.1.variant in the configuration",
            "at most 64 small letters, digits, ., - and _, the first and last a letter or digit",
            "'T2'",
            "did you mean t2?",
        ),
        (
            {"runs": [{**ROW, "models": ["spikbert"]}]},
            "setting runs.0.models.0 in the configuration",
            "one of tfidf, textcnn, teacher, distilbert, tinybert, dense_direct, dense_distilled, "
            "snn_textcnn, direct, stage2_only, spikebert",
            "'spikbert'",
            "did you mean spikebert?",
        ),
        (
            variant(overrides={"model.beta": 2}),
            "setting model.beta in row 2 of runs",
            "a number from 0 below 1",
            "2",
            "give a number from 0 below 1",
        ),
        (
            {"model": {"neuron": "LIFF"}},
            "setting model.neuron in the configuration",
            "lif, relu, sj.<class> of spikingjelly, or a name that a plugin enters",
            "'LIFF'",
            "did you mean lif?",
        ),
        (
            {"steps": {"snn_textcnn": {"surrogate": "fst_sigmoid"}}},
            "setting steps.snn_textcnn.surrogate in the configuration",
            "atan, sigmoid, triangle, rectangle, sj.<class> of spikingjelly, or a name that a "
            "plugin enters",
            "'fst_sigmoid'",
            "did you mean sigmoid?",
        ),
        (
            {"datasets": {"films": {**FILMS, "files": [{"source": "fil", "path": "a"}]}}},
            "setting datasets.films.files.0.source in the configuration",
            "file, hub, package or url",
            "fil",
            "did you mean file?",
        ),
        (
            {"datasets": {"films": {**FILMS, "files": [{"path": "a"}]}}},
            "setting datasets.films.files.0.source in the configuration",
            "file, hub, package or url",
            "none",
            "add source",
        ),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, str) else "",
)
def test_a_mistake_is_explained(
    changes: dict[str, Any], what: str, expected: str, got: str, fix: str
) -> None:
    with pytest.raises(UserError) as caught:
        make_plan({**copy.deepcopy(TINY), "runs": [ROW], **changes})
    error = caught.value
    assert (error.what, str(error.expected), str(error.got), error.fix) == (
        what,
        expected,
        got,
        fix,
    )


def test_snakemake_says_which_setting_is_out_of_range() -> None:
    command = [sys.executable, "-m", "snakemake", "-n", "--configfile", "tests/inputs/tiny.yaml"]
    command += ["--config", "model={beta: 2}", "--", "all"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    for words in ("setting model.beta", "a number from 0 below 1", "got:      2"):
        assert words in done.stdout + done.stderr


# --- plugins -----------------------------------------------------------------------------------


def planned(plugins: list[str], **changes: Any) -> Any:
    return make_plan({**TINY, "runs": [ROW], **changes, "plugins": plugins})


MINE = """
from spikebert.models.neurons import LIF, register_neuron

register_neuron("mine", LIF)
"""


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plugin enters in one test is not known in another."""
    monkeypatch.setattr(plugins, "_FILES", {})
    monkeypatch.setattr(neurons, "NEURONS", {**neurons.NEURONS})
    for name in [name for name in sys.modules if name.startswith("spikebert_plugin_")]:
        monkeypatch.delitem(sys.modules, name)


READER = """
from spikebert.data.readers import read_lines, register_reader

register_reader("mine", read_lines)
"""


def test_a_format_of_a_plugin_is_known_and_its_file_decides_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "READERS", {**readers.READERS})
    path = tmp_path / "mine.py"
    path.write_text(READER, encoding="utf-8")
    file = {"source": "file", "path": "a.txt", "format": "mine"}
    datasets = {"films": {**FILMS, "files": [file]}}
    made = planned([str(path)], datasets=datasets)
    assert made.plugins[str(path)] in content(made.datasets["films"])
    assert "plugins" not in content(FILMS)
    with pytest.raises(UserError, match=r"files\.0\.format[\s\S]*wikitext, mine"):
        planned([str(path)], datasets={"films": {**FILMS, "files": [{**file, "format": "my"}]}})


def test_a_misspelt_part_of_a_plugin_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MINE, encoding="utf-8")
    with pytest.raises(UserError, match=r"model\.neuron[\s\S]*did you mean mine\?"):
        planned([str(path)], model={**TINY["model"], "neuron": "mien"})
    with pytest.raises(UserError, match=r"steps\.stage2\.losses\.rat in [\s\S]*got: +'rat'"):
        planned([], steps={**TINY["steps"], "stage2": {"losses": {"rat": 1}}})


def test_a_plugin_is_part_of_what_makes_a_run_run_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("A = 1\n", encoding="utf-8")
    without, first = planned([]).runs[0], planned([str(path)]).runs[0]
    assert "plugins" not in without.last_step
    path.write_text(MINE, encoding="utf-8")
    second = planned([str(path)], model={**TINY["model"], "neuron": "mine"}).runs[0]
    assert first.plugins.keys() == {str(path)}
    assert len({without.last_step, first.last_step, second.last_step}) == 3
    assert first.last_step.replace(first.plugins[str(path)], "") != first.last_step
    with pytest.raises(UserError, match=r"plugin .*no.py[\s\S]*No such file[\s\S]*check the path"):
        planned([str(tmp_path / "no.py")])


def test_a_plugin_is_run_once_and_its_error_is_named(tmp_path: Path) -> None:
    good, bad, typo = (tmp_path / f"{name}.py" for name in ("good", "bad", "typo"))
    good.write_text("PARTS = []\n", encoding="utf-8")
    bad.write_text("A = 1\nB = A / 0\n", encoding="utf-8")
    typo.write_text("A = 1\nB = (\n", encoding="utf-8")
    (first,), (second,) = load_plugins([good]), load_plugins([str(good)])
    assert first is second
    for _ in range(2):
        with pytest.raises(UserError, match=r"bad.py, line 2\n[\s\S]*ZeroDivisionError"):
            load_plugins([bad])
    with pytest.raises(UserError, match=r"typo.py, line 2\n[\s\S]*SyntaxError"):
        load_plugins([typo])


def test_parts_of_spikingjelly_pass_the_plan() -> None:
    made = planned([], model={**TINY["model"], "neuron": "sj.PSN", "surrogate": "sj.Sigmoid"})
    assert made.runs[0].settings["model"]["neuron"] == "sj.PSN"
    with pytest.raises(UserError, match=r"model\.neuron"):
        planned([], model={**TINY["model"], "neuron": "sj.PSN; rm"})
