"""The table of GLUE, from made-up records."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sample_records import make_record

from spikebert.errors import UserError
from spikebert.records.paper import GLUE
from spikebert.records.records import (
    Record,
    read_predictions,
    read_record,
    write_predictions,
    write_record,
)
from spikebert.report import FIGURES, write_output
from spikebert.report.glue_table import COLUMNS, glue_table, write_glue
from spikebert.report.published import Published

NOTES = {name: {"metric": "accuracy", "test": "validation", "analogue": False} for name in GLUE}
NOTES["glue_stsb"] = NOTES["glue_stsb"] | {"metric": "pearson_spearman"}


def stsb(seed: int, pearson: float, spearman: float, model: str = "spikebert") -> Record:
    values = {"pearson": pearson, "spearman": spearman}
    changes: dict[str, Any] = {
        "accuracy_dev": None,
        "accuracy_test": None,
        "metric": "pearson_spearman",
        "metrics_dev": values,
        "metrics_test": values,
    }
    return make_record("glue_stsb", model, seed, 0, **changes)


RECORDS = [
    stsb(1, 0.30, 0.20),
    stsb(2, 0.40, 0.30),
    stsb(1, 0.90, 0.80, "teacher"),
    make_record("glue_rte", "spikebert", 1, 0.55),
    make_record("glue_rte", "spikebert", 1, 0.99, "beta-0.8"),
]


def row(table: pd.DataFrame, dataset: str) -> pd.Series:
    return table.set_index("dataset").loc[dataset]


def test_rows_are_the_sets_of_glue_and_their_mean() -> None:
    table = glue_table(RECORDS, NOTES)
    assert tuple(table.columns) == tuple(COLUMNS)
    assert list(table["dataset"]) == [*GLUE, "average"]


def test_values_are_the_mean_of_the_metric_by_hand() -> None:
    cells = row(glue_table(RECORDS, NOTES), "glue_stsb")
    # 25 and 35: mean 30, deviation 50 ** 0.5, t(0.975, 1) = 12.7062 times 5
    assert cells[["mean", "sd", "ci_low", "ci_high"]].tolist() == pytest.approx(
        [30, 50**0.5, 30 - 63.531, 30 + 63.531], rel=1e-5
    )
    assert cells["teacher"] == pytest.approx(85)
    assert (cells["seeds"], cells["metric"]) == (2, "pearson_spearman")
    assert (cells["paper"], cells["paper_status"]) == (18.7, "sourced")
    assert "tested on validation" in cells["note"]
    assert row(glue_table(RECORDS, NOTES), "glue_rte")["mean"] == pytest.approx(
        55
    )  # base runs alone


def test_empty_rows_say_why() -> None:
    notes = NOTES | {"glue_cola": {"reason": "no offline source"}}
    table = glue_table(RECORDS, notes)
    assert row(table, "glue_cola")["note"] == "no offline source"
    assert row(table, "glue_qqp")["note"].startswith("no runs of spikebert")
    assert pd.isna(row(table, "glue_cola")["mean"])
    assert pd.isna(row(table, "average")["mean"])
    assert row(table, "average")["note"] == "7 of 9 sets have no runs of spikebert"


def test_the_average_is_over_all_nine_or_none() -> None:
    records = [make_record(name, "spikebert", 1, place / 100) for place, name in enumerate(GLUE)]
    assert row(glue_table(records, NOTES), "average")["mean"] == pytest.approx(4)
    stand_in = NOTES | {"glue_rte": NOTES["glue_rte"] | {"analogue": True}}
    cells = row(glue_table(records, stand_in), "average")
    assert pd.isna(cells["mean"])
    assert cells["note"] == "stand-ins: glue_rte"


def test_three_formats_are_written_and_figures_leave_scores_out(tmp_path: Path) -> None:
    paths = [tmp_path / f"{record.id}.json" for record in RECORDS]
    for path, record in zip(paths, RECORDS, strict=True):
        write_record(path, record)
    write_glue(Published(paths, glue=NOTES), tmp_path)
    assert row(pd.read_csv(tmp_path / "glue.csv"), "glue_stsb")["mean"] == 30
    assert "|  30.00 |" in (tmp_path / "glue.md").read_text("utf-8")
    assert r"\begin{tabular}" in (tmp_path / "glue.tex").read_text("utf-8")
    sources = {name: {"source": name} for name in ("glue_stsb", "glue_rte")}
    write_output(FIGURES["accuracy"], Published(paths, notes=sources), tmp_path)
    svg = (tmp_path / "accuracy.svg").read_text("utf-8")
    assert "glue_rte" in svg
    assert "glue_stsb" not in svg


def test_records_of_before_still_load(tmp_path: Path) -> None:
    file = tmp_path / f"{RECORDS[3].id}.json"
    write_record(file, RECORDS[3])
    value = json.loads(file.read_text("utf-8"))
    for name in ("metric", "metrics_dev", "metrics_test"):
        del value[name]
    file.write_text(json.dumps(value), encoding="utf-8")
    write_glue(Published([file], glue=NOTES), tmp_path)
    assert row(pd.read_csv(tmp_path / "glue.csv"), "glue_rte")["mean"] == pytest.approx(55)


BAD_RECORDS: dict[str, tuple[int, dict[str, Any]]] = {
    "a score without its values": (0, {"metrics_test": {}}),
    "a score with an accuracy": (0, {"accuracy_test": 0.5}),
    "classes without an accuracy": (3, {"accuracy_test": None}),
    "a metric that there is not": (3, {"metric": "bleu"}),
    "a correlation of two": (0, {"metrics_test": {"pearson": 2.0}}),
}


@pytest.mark.parametrize(("place", "change"), BAD_RECORDS.values(), ids=BAD_RECORDS.keys())
def test_records_that_cannot_be_are_refused(
    tmp_path: Path, place: int, change: dict[str, Any]
) -> None:
    file = tmp_path / f"{RECORDS[place].id}.json"
    write_record(file, dataclasses.replace(RECORDS[place], **change))
    with pytest.raises(UserError, match="record"):
        read_record(file)


def test_predictions_are_classes_or_scores(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    write_predictions(file, ["a", "b"], [2.5, 0.0], [-1e-07, 3.0])
    assert [r["prediction"] for r in read_predictions(file)] == ["-1e-07", "3.0"]
    for line in ("a,1,2.5", "a,1.0,nan", "a,-1,0", "a,1.0,x"):
        file.write_text(f"row,label,prediction\n{line}\n", encoding="utf-8")
        with pytest.raises(UserError):
            read_predictions(file)
