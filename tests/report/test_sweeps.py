"""Which runs make a sweep, and what is drawn of them."""

from pathlib import Path

import pytest
from sample_records import make_record

from spikebert.records.records import write_record
from spikebert.report.published import Published, group
from spikebert.report.sweep_figures import FIGURES, sweep_figure, write_sweeps
from spikebert.report.sweeps import sweep, text_points


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


def test_a_sweep_does_not_mix_runs_of_more_and_fewer_rows():
    def make(variant, rows, **model):
        chosen = settings(**model)
        return make_record("mr", "spikebert", 1, 0.8, variant, settings=chosen, n_train=rows)

    few, as_many = make("few", 1000, timesteps=2), make("as_many", 1990, timesteps=8)
    groups = group([make("base", 2000), few, as_many])
    assert list(sweep(groups, "mr", "model.timesteps")) == [4, 8]


def test_a_sweep_does_not_mix_augmentations_where_both_are_known():
    def make(variant, augment, **model):
        chosen = settings(**model) | ({"augment": augment} if augment else {})
        return make_record("mr", "spikebert", 1, 0.8, variant, settings=chosen)

    made = [
        make("base", {"p_mask": 0.1}),
        make("masked", {"p_mask": 0.2}, timesteps=2),
        make("same", {"p_mask": 0.1}, timesteps=8),
        make("older", None, timesteps=12),
    ]
    assert list(sweep(group(made), "mr", "model.timesteps")) == [4, 8, 12]
    assert list(sweep(group(made), "mr", "augment.p_mask")) == [0.1]


def test_a_sweep_may_stand_on_another_variant():
    def make(accuracy, variant, timesteps, epochs=0.5):
        chosen = settings(timesteps=timesteps) | {"stage2": {"epochs": epochs}}
        return make_record("mr", "spikebert", 1, accuracy, variant, settings=chosen)

    short = [make(0.7 + n / 100, f"short-t{n}", n) for n in (1, 2)]
    made = [make(0.8, "base", 4, 1.0), make(0.81, "t8", 8, 1.0), make(0.74, "short", 4), *short]
    found = sweep(group(made), "mr", "model.timesteps")
    assert {value: variant for value, (_, variant) in found.items()} == {
        1: "short-t1",
        2: "short-t2",
        4: "short",
    }
    (panel,) = sweep_figure(
        group(made), FIGURES["sweep_timesteps"], {"mr": {"analogue": True}}
    ).axes
    assert panel.get_legend().get_texts()[0].get_text() == "mr* (short)"
    # As many values: the line of the base.
    as_many = sweep(group(made[:-1]), "mr", "model.timesteps")
    assert [variant for _, variant in as_many.values()] == ["base", "t8"]


def test_the_line_goes_through_the_means():
    figure = sweep_figure(group(records()), FIGURES["sweep_timesteps"], {"mr": {"analogue": True}})
    (panel,) = figure.axes
    assert panel.get_title() == "paper: best at T = 4"
    (line,) = [line for line in panel.get_lines() if line.get_label() == "mr*"]
    assert list(line.get_xdata()) == [1, 4]
    assert list(line.get_ydata()) == pytest.approx([72, 81])
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["1", "4"]


def test_a_sweep_without_runs_says_so():
    (panel,) = sweep_figure(group(records()), FIGURES["sweep_depth"], {}).axes
    (words,) = panel.texts
    assert "differ in model.num_hidden_layers alone" in words.get_text()


def kinds():
    def make(variant, accuracy, **model):
        return make_record("mr", "spikebert", 1, accuracy, variant, settings=settings(**model))

    return [
        make("base", 0.80, surrogate="atan"),
        make("s", 0.82, surrogate="sigmoid"),
        make("a1", 0.70, surrogate="atan", surrogate_alpha=1.0),
    ]


def test_kinds_stand_at_their_names_without_a_line():
    kind, sharpness = sweep_figure(group(kinds()), FIGURES["sweep_surrogate"], {}).axes
    assert [tick.get_text() for tick in kind.get_xticklabels()] == ["atan", "sigmoid"]
    (dots,) = kind.get_lines()
    assert (list(dots.get_xdata()), dots.get_linestyle()) == ([0, 1], "None")
    assert list(dots.get_ydata()) == pytest.approx([80, 82])
    # The base record says nothing of the sharpness: it is the default.
    (line,) = sharpness.get_lines()
    assert list(line.get_xdata()) == [1, 2]


def text_runs(**stage2):
    """Stage 1 on 32 and on all 96 sentences, and none of it."""

    def make(model, variant, accuracy, seen=None, **stage1):
        chosen = settings() | ({} if seen is None else {"stage1": stage1})
        upstream = {} if seen is None else {"stage1": {"samples": seen}}
        return make_record("mr", model, 1, accuracy, variant, settings=chosen, upstream=upstream)

    alone = make("stage2_only", "base", 0.7)
    alone.settings["stage2"].update(stage2)
    full = make("spikebert", "base", 0.8, seen=96)  # from before the setting
    return [alone, full, make("spikebert", "text-32", 0.75, seen=32, max_sentences=32)]


def test_text_of_stage1_starts_without_any():
    groups = group(text_runs())
    assert text_points(groups, "mr") == {
        0: ("stage2_only", "base"),
        32: ("spikebert", "text-32"),
        96: ("spikebert", "base"),
    }
    (panel,) = sweep_figure(groups, FIGURES["stage1_text"], {}).axes
    (line,) = panel.get_lines()
    assert list(line.get_xdata()) == [0, 32, 96]
    assert list(line.get_ydata()) == pytest.approx([70, 75, 80])


def test_stage2_alone_with_other_settings_is_no_point():
    groups = group(text_runs(temperature=2.0))
    assert list(text_points(groups, "mr")) == [32, 96]
    assert text_points(groups, "sst2") == {}


def test_figures_are_written(tmp_path: Path):
    paths = []
    for record in records():
        paths.append(tmp_path / f"{record.id}.json")
        write_record(paths[-1], record)
    write_sweeps(Published(paths), tmp_path / "figures")
    made = {path.name for path in (tmp_path / "figures").iterdir()}
    assert made == {f"{name}.{kind}" for name in FIGURES for kind in ("svg", "png")}
    assert [axis.setting for axis in FIGURES["sweep_beta"]] == ["model.beta"]
