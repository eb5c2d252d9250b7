"""Which runs make a sweep, and what is drawn of them."""

from pathlib import Path

import pytest
from sample_records import make_record

from spikebert.records import write_record
from spikebert.sweeps import AXES, sweep, sweep_figure, write_sweep_figures
from spikebert.tables import group

TIMESTEPS, DEPTH, BETA = AXES


def settings(**model):
    return {"model": {"timesteps": 4, "num_hidden_layers": 4, "beta": 0.9} | model, "stage2": {}}


def records():
    def make(seed, accuracy, variant="base", dataset="mr", **model):
        changed = settings(**model)
        return make_record(dataset, "spikebert", seed, accuracy, variant, settings=changed)

    return [
        make(1, 0.80),
        make(2, 0.82),
        make(1, 0.70, "t1", timesteps=1),
        make(2, 0.74, "t1", timesteps=1),
        make(1, 0.60, "both", timesteps=2, beta=0.5),  # changes two: in no sweep
        make(1, 0.78, "b", beta=0.5),
        make(1, 0.90, dataset="sst2"),  # one point is no sweep
        make_record("mr", "direct", 1, 0.5, "t1", settings=settings(timesteps=1)),
    ]


def test_a_sweep_changes_one_setting_alone():
    groups = group(records())
    base = ("spikebert", "base")
    assert sweep(groups, "mr", "model.timesteps") == {1: ("spikebert", "t1"), 4: base}
    assert sweep(groups, "mr", "model.beta") == {0.5: ("spikebert", "b"), 0.9: base}
    assert sweep(groups, "sst2", "model.beta") == {0.9: base}
    assert sweep(groups, "subj", "model.beta") == {}
    assert sweep(groups, "mr", "model.nothing") == {}


def test_the_line_goes_through_the_means():
    figure = sweep_figure(group(records()), TIMESTEPS, {"mr": {"analogue": True}})
    (panel,) = figure.axes
    assert panel.get_title() == "paper: best at T = 4"
    (line,) = [line for line in panel.get_lines() if line.get_label() == "mr*"]
    assert list(line.get_xdata()) == [1, 4]
    assert list(line.get_ydata()) == pytest.approx([72, 81])
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["1", "4"]


def test_a_sweep_without_runs_says_so():
    (panel,) = sweep_figure(group(records()), DEPTH, {}).axes
    (words,) = panel.texts
    assert "differ in model.num_hidden_layers alone" in words.get_text()


def test_three_figures_are_written(tmp_path: Path):
    paths = []
    for record in records():
        paths.append(tmp_path / f"{record.id}.json")
        write_record(paths[-1], record)
    write_sweep_figures(paths, tmp_path / "figures", {})
    made = {path.name for path in (tmp_path / "figures").iterdir()}
    assert made == {
        f"sweep_{axis.name}.{kind}" for axis in (TIMESTEPS, DEPTH, BETA) for kind in ("svg", "png")
    }
