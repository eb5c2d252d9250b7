"""What the figures show, read back from the drawn objects."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sample_records import NOTES, RECORDS, make_record

from spikebert.config.schema import MODELS
from spikebert.records.records import write_record
from spikebert.report import FIGURES, write_output
from spikebert.report.accuracy_figures import accuracy_figure, curves_figure
from spikebert.report.published import Published
from spikebert.report.style import OTHER, colour_of
from spikebert.report.sweep_figures import bench_figure, write_bench

FILES = ("accuracy.svg", "accuracy.png", "curves.svg", "curves.png")


def lines(panel) -> list[tuple[list[float], list[float]]]:
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in panel.get_lines()]


def test_accuracy_shows_seeds_mean_interval_and_paper() -> None:
    figure = accuracy_figure(RECORDS, NOTES)
    panel = figure.axes[0]
    assert panel.get_title() == "mr*\n1,060 test rows"
    names = [label.get_text() for label in panel.get_yticklabels()]
    assert names == ["tfidf", "direct", "spikebert", "spikebert (beta-0.8)"]
    spikebert = [x for x, y in lines(panel) if set(y) == {2}]
    interval, seeds, mean, paper = spikebert
    assert interval == pytest.approx([81 - 2.48414, 81 + 2.48414], rel=1e-6)
    assert sorted(seeds) == pytest.approx([80, 81, 82])
    assert (mean, paper) == ([pytest.approx(81)], [80.69])


def test_one_seed_is_drawn_without_interval() -> None:
    panel = accuracy_figure(RECORDS, NOTES).axes[1]
    assert panel.get_title() == "sst2\n1,060 test rows"
    assert lines(panel) == [([81.55], [1]), ([79.0], [2]), ([85.39], [2])]


def test_recalled_values_are_hollow_and_missing_sets_say_why() -> None:
    panel = accuracy_figure(RECORDS, NOTES).axes[2]
    assert panel.get_title() == "waimai\nno offline source"
    faces = {line.get_xdata()[0]: line.get_markerfacecolor() for line in panel.get_lines()}
    assert faces == {86.93: "white", 89.66: "0.25"}


def test_stand_ins_are_explained_only_where_there_are_any() -> None:
    def title(notes) -> str:
        return accuracy_figure(RECORDS, notes).legends[0].get_title().get_text()

    assert title(NOTES).startswith("* a stand-in")
    assert title({}) == ""


def test_a_dense_network_is_a_hollow_square_in_its_twins_colour() -> None:
    pairs = [
        ("textcnn", "snn_textcnn"),
        ("dense_direct", "direct"),
        ("dense_distilled", "spikebert"),
    ]
    records = [make_record("own", model, 1, 0.8) for pair in pairs for model in pair]
    figure = accuracy_figure(records, {})
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    marks = dict(zip(names, figure.axes[0].get_lines(), strict=True))
    assert len({marks[spiking].get_color() for _, spiking in pairs}) == 3
    for dense, spiking in pairs:
        assert marks[dense].get_color() == marks[spiking].get_color()
        assert (marks[dense].get_marker(), marks[dense].get_markerfacecolor()) == ("s", "white")
        assert marks[spiking].get_marker() == "o"
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any("dense" in entry for entry in entries)
    entries = [text.get_text() for text in accuracy_figure(RECORDS, NOTES).legends[0].get_texts()]
    assert not any("dense" in entry for entry in entries)
    curves = curves_figure(records, {}).axes[0].get_lines()
    assert len({(line.get_color(), line.get_marker()) for line in curves}) == 6


def test_every_model_has_a_colour() -> None:
    assert OTHER not in map(colour_of, MODELS)


def test_curves_show_loss_and_accuracy_of_every_seed() -> None:
    figure = curves_figure(RECORDS, NOTES)
    loss, accuracy = figure.axes[0], figure.axes[2]
    assert loss.get_title() == "mr*"
    assert len(loss.get_lines()) == 5  # three seeds, one variant, one direct; TF-IDF has no updates
    assert lines(accuracy)[0] == ([10, 20], [60.0, 76.0])
    styles = {line.get_linestyle() for line in loss.get_lines()}
    assert styles == {"-", "--"}  # the variant is dashed


def test_variants_that_no_pattern_tells_apart_are_left_out() -> None:
    variants = ["base", "a", "b", "c", "d"]
    for count in (4, 5):
        records = [make_record("mr", "spikebert", 1, 0.8, v) for v in variants[:count]]
        drawn = curves_figure(records, NOTES).axes[0].get_lines()
        assert len(drawn) == len({line.get_linestyle() for line in drawn}) == {4: 4, 5: 1}[count]
        rows = accuracy_figure(records, {}).axes[0].get_yticklabels()
        assert len(rows) == {4: 4, 5: 1}[count]
        assert rows[0].get_text() == "spikebert"


def test_curves_without_history_say_so() -> None:
    figure = curves_figure([make_record("mr", "tfidf", 1, 0.8, history=[])], NOTES)
    assert figure.axes[0].get_title() == "no training history in the records"


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("records")
    for record in RECORDS:
        write_record(folder / f"{record.id}.json", record)
    return sorted(folder.glob("*.json"))


def test_the_same_records_give_the_same_bytes(records: list[Path], tmp_path: Path) -> None:
    for name in ("first", "second"):
        for figure in ("accuracy", "curves"):
            write_output(FIGURES[figure], Published(records, notes=NOTES), tmp_path / name)
    for name in FILES:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_figures_and_tables_load_no_torch(records: list[Path], tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from spikebert.report import FIGURES, TABLES, write_output; "
        "from spikebert.report.published import Published; out, *records = sys.argv[1:]; "
        "chosen = [FIGURES['accuracy'], FIGURES['curves'], *TABLES.values()]; "
        "run = Published(records, compression={'datasets': {}, 'models': {}}); "
        "[write_output(place, run, pathlib.Path(out)) for place in chosen]; "
        "print({'torch', 'transformers'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", code, str(tmp_path), *map(str, records)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
    assert {path.name for path in tmp_path.iterdir()} >= set(FILES)


def test_bench_figure_has_a_panel_for_each_axis(tmp_path: Path) -> None:
    scaling = {
        "timesteps": {"values": [1, 2, 4], "s": [0.01, 0.02, 0.04], "exponent": 1.0},
        "hidden_size": {"values": [64, 128], "s": [0.01, 0.03], "exponent": 1.58},
    }
    panels = bench_figure({"scaling": scaling}).axes
    assert [panel.get_title() for panel in panels] == ["time ~ T^1.00", "time ~ D^1.58"]
    fitted, measured = lines(panels[0])
    assert measured == ([1, 2, 4], [10, 20, 40])  # ms
    assert fitted[1] == pytest.approx(measured[1])
    (tmp_path / "bench.json").write_text(json.dumps({"scaling": scaling}), encoding="utf-8")
    write_bench(Published(bench=tmp_path / "bench.json"), tmp_path)
    assert (tmp_path / "bench.svg").stat().st_size > 1000
    assert (tmp_path / "bench.png").stat().st_size > 1000
