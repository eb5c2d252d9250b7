"""Every cell of the accuracy table, and how the three formats print it."""

import re
from pathlib import Path

import pandas as pd
import pytest
from sample_records import NOTES, RECORDS, make_record

from spikebert.config.schema import MODELS
from spikebert.errors import UserError
from spikebert.records.paper import GLUE, GLUE_AVERAGE, PAPER, paper_value
from spikebert.records.records import write_record
from spikebert.report.accuracy_table import COLUMNS, accuracy_table, faults_of, write_accuracy
from spikebert.report.published import Published
from spikebert.report.render import latex


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return accuracy_table(RECORDS, NOTES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables")
    files = [path / "records" / f"{record.id}.json" for record in RECORDS]
    for file, record in zip(files, RECORDS, strict=True):
        write_record(file, record)
    write_accuracy(Published(files, notes=NOTES), path)
    return path


def row(table: pd.DataFrame, dataset: str, model: str, variant: str = "base") -> pd.Series:
    return table.set_index(["dataset", "model", "variant"]).loc[(dataset, model, variant)]


def test_columns_and_order(table: pd.DataFrame) -> None:
    assert tuple(table.columns) == tuple(COLUMNS)
    assert table[["dataset", "model", "variant"]].values.tolist() == [
        ["mr", "tfidf", "base"],
        ["mr", "direct", "base"],
        ["mr", "spikebert", "base"],
        ["mr", "spikebert", "beta-0.8"],
        ["sst2", "spikebert", "base"],
        ["waimai", "tfidf", "base"],
        ["waimai", "direct", "base"],
        ["waimai", "spikebert", "base"],
    ]


def test_mean_deviation_and_interval_are_percent(table: pd.DataFrame) -> None:
    cells = row(table, "mr", "spikebert")
    # 80, 81, 82: mean 81, deviation 1, t(0.975, 2) / sqrt(3) = 2.48414
    assert cells[["mean", "sd", "ci_low", "ci_high"]].tolist() == pytest.approx(
        [81, 1, 81 - 2.48414, 81 + 2.48414], rel=1e-6
    )
    assert (cells.seeds, cells.n_test, cells.source) == (3, 1060, "snippets & ratings")


def test_one_seed_has_no_interval(table: pd.DataFrame) -> None:
    assert row(table, "sst2", "spikebert")[["sd", "ci_low", "ci_high"]].isna().all()


def test_paper_stands_beside_base_runs_alone(table: pd.DataFrame) -> None:
    assert row(table, "mr", "spikebert").paper == 80.69
    assert row(table, "waimai", "direct")[["paper", "paper_status"]].tolist() == [
        86.93,
        "recalled",
    ]
    for model, variant in (("spikebert", "beta-0.8"), ("tfidf", "base")):
        assert pd.isna(row(table, "mr", model, variant).paper)


def test_set_without_records_says_why(table: pd.DataFrame) -> None:
    cells = row(table, "waimai", "spikebert")
    assert (cells.source, cells.seeds) == ("no offline source", 0)
    assert pd.isna(cells["mean"])
    assert pd.isna(cells.n_test)


def test_test_splits_have_to_agree() -> None:
    records = [make_record("mr", "direct", seed, 0.8, n_test=100 + seed) for seed in (1, 2)]
    with pytest.raises(UserError, match=r"mr\.direct\.base[\s\S]*101 and 102 test rows"):
        accuracy_table(records, {})


def test_csv_has_the_numbers(folder: Path) -> None:
    read = pd.read_csv(folder / "accuracy.csv")
    assert tuple(read.columns) == tuple(COLUMNS)
    assert row(read, "mr", "spikebert").ci_low == 78.5159


def test_markdown_marks_stand_ins_and_recalled_values(folder: Path) -> None:
    lines = (folder / "accuracy.md").read_text("utf-8").splitlines()
    assert len({len(line) for line in lines if line.startswith("|")}) == 1  # aligned
    assert any(r"| mr\*" in line and "|  81.00 | 1.00 |" in line for line in lines)
    assert any("| waimai " in line and "86.93†" in line for line in lines)
    assert r"\* a stand-in, not the set of the paper: its accuracy is not comparable." in lines
    assert "† recalled, not seen in a public source." in lines


def test_notes_are_left_out_where_nothing_is_marked(tmp_path: Path) -> None:
    record = make_record("sst2", "spikebert", 1, 0.79)
    write_record(tmp_path / f"{record.id}.json", record)
    write_accuracy(Published([tmp_path / f"{record.id}.json"]), tmp_path)
    text = (tmp_path / "accuracy.md").read_text("utf-8")
    assert "stand-in" not in text
    assert "†" not in text
    assert record.source in text


def test_latex_is_escaped(folder: Path) -> None:
    text = (folder / "accuracy.tex").read_text("utf-8")
    assert r"snippets \& ratings" in text
    assert r"86.93\dag{}" in text
    assert "†" not in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1


def test_latex_has_a_cell_for_each_column_and_escaped_notes() -> None:
    table = pd.DataFrame({"a_b": ["x & y", "50 %"], "n": ["1", "2"]})
    text = latex(table, ["R&D of a_b: 5 % #1 at $2"], ["l", "r"])
    assert r"\begin{tabular}{lr}" in text
    assert r"R\&D of a\_b: 5 \% \#1 at \$2" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", line)) for line in rows] == [1, 1, 1]


def test_the_same_records_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    files = sorted(folder.glob("records/*.json"), reverse=True)
    write_accuracy(Published(files, notes=NOTES), tmp_path)
    for name in ("accuracy.csv", "accuracy.md", "accuracy.tex"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_paper_values_give_the_printed_averages() -> None:
    averages = {
        "textcnn": 79.23,
        "snn_textcnn": 76.71,
        "teacher": 84.33,
        "direct": 77.36,
        "spikebert": 80.20,
    }
    for model, average in averages.items():
        values = [cell.mean for cell in PAPER[model].values()]
        assert len(values) == 6
        assert sum(values) / 6 == pytest.approx(average, abs=0.006)  # printed with two decimals


def test_the_papers_row_of_glue_gives_its_average() -> None:
    values = [cell.mean for cell in GLUE.values()]
    assert sum(values) / len(values) == pytest.approx(GLUE_AVERAGE, abs=0.05)


def test_paper_names_models_of_the_plan() -> None:
    assert PAPER.keys() <= MODELS.keys()
    assert paper_value("spikebert", "beta-0.8", "mr") is None


def test_a_model_that_learned_nothing_is_named_beside_its_cell(tmp_path: Path) -> None:
    paths = []
    for record, answers in zip(RECORDS, ("0000", "0110", "0111"), strict=False):
        pairs = zip("0111", answers, strict=True)
        rows = [f"r{n},{label},{answer}" for n, (label, answer) in enumerate(pairs)]
        paths.append(tmp_path / f"{record.id}.csv")
        paths[-1].write_text("\n".join(["row,label,prediction", *rows, ""]))
    faults = faults_of(paths)
    assert list(faults.values()) == [
        "one answer for every row",
        "not above the largest class (75.0 %)",
    ]
    table = accuracy_table(RECORDS, NOTES, faults)
    assert "one answer for every row" in "".join(table["note"].dropna())
    assert "note" not in accuracy_table(RECORDS, NOTES)
