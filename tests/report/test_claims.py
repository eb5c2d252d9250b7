"""Verdicts, the claim sheet and the ablation, from made-up records and predictions."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from docutils.core import publish_parts
from sample_records import make_record

from spikebert.errors import UserError
from spikebert.records.paper import (
    ABLATION,
    ABLATION_BASE,
    AVERAGES,
    ENGLISH,
    PAPER,
    SETS,
    paper_difference,
)
from spikebert.records.records import write_predictions, write_record
from spikebert.report import ablation, claims
from spikebert.report.ablation import ablation_table
from spikebert.report.claims import (
    HELD,
    NOT_HELD,
    NOT_TESTABLE,
    UNDECIDED,
    claims_table,
    front,
    verdict,
)
from spikebert.report.evidence import compare, gather
from spikebert.report.published import Published

ROWS = 400
OWN = {name: {"source": f"rows of {name}", "analogue": False} for name in SETS}
MODEL = {"timesteps": 4, "beta": 0.9, "num_hidden_layers": 4}


def rows(seed: int, accuracy: float):
    """Test rows of which `accuracy` are right: other ones for each seed."""
    right = np.zeros(ROWS, bool)
    right[: round(accuracy * ROWS)] = True
    right = np.random.default_rng(seed).permutation(right)
    return [
        {"row": f"r{i}", "label": "1", "prediction": str(int(good))} for i, good in enumerate(right)
    ]


class Runs:
    """Records and predictions that agree, collected one group after the other."""

    def __init__(self) -> None:
        self.records, self.predictions = [], {}

    def add(self, dataset, model, accuracies, variant="base", settings=None):
        for seed, accuracy in enumerate(accuracies, 1):
            record = make_record(
                dataset, model, seed, accuracy, variant, n_test=ROWS, settings=settings or {}
            )
            self.records.append(record)
            self.predictions[record.id] = rows(seed, accuracy)
        return self

    def evidence(self, notes=OWN):
        return gather(self.records, self.predictions, notes)


def line(evidence, name: str, **more) -> pd.Series:
    return claims_table(evidence, **more).set_index("id").loc[name]


# Verdicts


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.1, 2, HELD),
        (-2, -0.1, NOT_HELD),
        (-1, 1, UNDECIDED),
        (0, 1, UNDECIDED),
        (-1, 0, UNDECIDED),
        (0, 0, UNDECIDED),
        (float("nan"), float("nan"), NOT_TESTABLE),
    ],
)
def test_verdict_at_the_boundary(low, high, expected):
    assert verdict(low, high) == expected
    assert verdict(low - 4, high - 4, boundary=-4) == expected
    assert verdict(-high, -low, above=False) == expected


# What the paper prints


def test_the_papers_numbers_agree_with_each_other():
    assert np.mean([PAPER["spikebert"][name].mean for name in ENGLISH]) == pytest.approx(
        ABLATION_BASE, abs=0.006
    )
    assert PAPER.keys() == AVERAGES.keys()
    for model, average in AVERAGES.items():
        mean = np.mean([PAPER[model][name].mean for name in SETS])
        assert mean == pytest.approx(average.mean, abs=0.006)  # printed with two decimals


def test_a_difference_is_recalled_where_one_of_its_cells_is():
    assert paper_difference("spikebert", "direct", ("mr", "sst2")).status == "sourced"
    assert paper_difference("spikebert", "direct", ("mr", "sst5")).status == "recalled"
    whole = paper_difference("spikebert", "direct", SETS)  # of the printed averages
    assert (whole.mean, whole.status) == (pytest.approx(2.84), "sourced")
    for model, sets in (("tfidf", ("mr",)), ("direct", ("mine",)), ("direct", ())):
        with pytest.raises(ValueError, match="table 1 lacks"):
            paper_difference("spikebert", model, sets)


def test_every_row_of_table_3_has_runs_to_look_for():
    assert list(ablation.PARTS) == list(ABLATION)


# The sheet


def test_columns_and_that_nothing_is_testable_without_records():
    sheet = claims_table(gather([], {}, {}))
    assert tuple(sheet.columns) == tuple(claims.COLUMNS)
    assert sheet["id"].is_unique
    assert set(sheet["verdict"]) == {NOT_TESTABLE}
    assert sheet["ours"].isna().all()
    assert sheet["why"].str.len().min() > 5


def test_a_clear_difference_holds_and_its_reverse_does_not():
    better = Runs().add("mr", "spikebert", [0.9, 0.91, 0.9]).add("mr", "direct", [0.7, 0.7, 0.71])
    found = line(better.evidence(), "above_direct_mr")
    assert found[["verdict", "paper_status"]].tolist() == [HELD, "sourced"]
    assert found.paper == pytest.approx(80.69 - 76.38)
    assert found.ours == pytest.approx(20, abs=1e-9)
    assert found.ci_low < 20 < found.ci_high
    assert "3 of 3 pairs of runs, 3 of them higher" in found.why
    worse = Runs().add("mr", "spikebert", [0.7, 0.71]).add("mr", "direct", [0.9, 0.9])
    assert line(worse.evidence(), "above_direct_mr").verdict == NOT_HELD
    alike = Runs().add("mr", "spikebert", [0.8, 0.81]).add("mr", "direct", [0.8, 0.8])
    assert line(alike.evidence(), "above_direct_mr").verdict == UNDECIDED


def test_an_average_is_of_the_sets_at_hand_and_so_is_the_papers():
    runs = Runs()
    for name, gain in (("mr", 0.2), ("subj", 0.1)):
        runs.add(name, "spikebert", [0.7 + gain] * 2).add(name, "direct", [0.7, 0.7])
    found = line(runs.evidence(), "above_direct")
    assert found["where"] == "table 1, average of mr, subj"
    assert found.paper == pytest.approx((80.69 - 76.38 + 93.00 - 91.80) / 2)
    assert found.ours == pytest.approx(15)
    assert found.why.startswith("on mr, subj of 6 sets; mr +20.00")


def test_one_seed_is_not_enough_but_stands_there():
    runs = Runs().add("mr", "spikebert", [0.9]).add("mr", "direct", [0.7, 0.7])
    found = line(runs.evidence(), "above_direct_mr")
    assert found.verdict == NOT_TESTABLE
    assert found.why.startswith("one seed")
    assert found.test == "bootstrap over rows; McNemar's exact p"
    assert (found.ours, found.p < 1e-6) == (pytest.approx(20), True)


def test_stand_ins_are_not_the_papers_sets_and_are_left_out_of_averages():
    runs = Runs()
    for name in ("mr", "subj"):
        runs.add(name, "spikebert", [0.9, 0.9]).add(name, "direct", [0.7, 0.7])
    notes = {**OWN, "mr": {"source": "snippets", "analogue": True}}
    evidence = runs.evidence(notes)
    alone = line(evidence, "above_direct_mr")
    assert (alone.verdict, alone.ours) == (NOT_TESTABLE, pytest.approx(20))
    assert "on stand-ins (mr)" in alone.why
    assert line(evidence, "above_direct")["where"] == "table 1, average of subj"


def test_missing_runs_say_why():
    runs = Runs().add("mr", "spikebert", [0.9, 0.9])
    notes = {**OWN, "waimai": {"source": "no offline source", "analogue": False}}
    evidence = runs.evidence(notes)
    assert line(evidence, "above_direct_mr").why == "mr: no runs of direct"
    assert line(evidence, "above_direct_waimai").why == "waimai: no offline source"
    assert "no runs of snn_textcnn" in line(evidence, "above_snn_textcnn").why
    assert line(evidence, "above_direct_waimai").paper_status == "recalled"


def test_networks_without_a_transformer_and_the_dense_twin_are_rivals():
    runs = Runs().add("mr", "spikebert", [0.8, 0.8])
    for model, accuracy in (("snn_textcnn", 0.5), ("textcnn", 0.99), ("dense_distilled", 0.99)):
        runs.add("mr", model, [accuracy] * 2)
    sheet = claims_table(runs.evidence()).set_index("id")
    assert sheet.loc["above_snn_textcnn", ["verdict", "paper_status"]].tolist() == [HELD, "sourced"]
    found = sheet.loc["above_textcnn"]
    assert found[["verdict", "paper_status"]].tolist() == [NOT_HELD, "recalled"]
    assert found.paper == pytest.approx(80.69 - 77.41)
    assert found["where"] == "a question of ours to table 1, average of mr"
    found = sheet.loc["above_dense_distilled"]
    assert (found.verdict, found["where"]) == (NOT_HELD, "a question of ours, not the paper's")
    assert found.paper_status == ""


def test_missing_predictions_say_so():
    runs = Runs().add("mr", "spikebert", [0.9, 0.9]).add("mr", "direct", [0.7, 0.7])
    for seed in (1, 2):
        del runs.predictions[f"mr.direct.base.s{seed}"]
    assert line(runs.evidence(), "above_direct_mr").why == "mr: no predictions of direct"


@pytest.mark.parametrize(
    ("teacher", "expected"), [(0.81, HELD), (0.87, UNDECIDED), (0.99, NOT_HELD)]
)
def test_distance_to_the_teacher_is_held_against_the_papers(teacher, expected):
    # The paper's distance on MR is 6.94 points.
    runs = Runs().add("mr", "spikebert", [0.8, 0.8]).add("mr", "teacher", [teacher] * 2)
    found = line(runs.evidence(), "near_teacher")
    assert found.verdict == expected
    assert found.paper == pytest.approx(80.69 - 87.63)
    assert (found.p > 0.05) == (expected == UNDECIDED)


def test_shared_seeds_are_compared_and_tfidf_has_none():
    runs = Runs().add("mr", "spikebert", [0.8, 0.8, 0.9]).add("mr", "direct", [0.7, 0.7])
    evidence = runs.add("mr", "tfidf", [0.75]).evidence()
    pair = compare(evidence, "mr", ("spikebert", "base"), ("direct", "base"))
    assert (pair.seeds, pair.difference.estimate) == (2, pytest.approx(10))
    pair = compare(evidence, "mr", ("spikebert", "base"), ("tfidf", "base"))
    assert (pair.seeds, pair.difference.estimate) == (3, pytest.approx(100 * 0.25 / 3))
    assert (len(pair.mcnemar), pair.welch) == (3, None)
    found = line(evidence, "above_tfidf")
    assert found.verdict == HELD
    assert (pd.isna(found.paper), found.paper_status) == (True, "")


def test_predictions_have_to_fit_the_record_and_each_other():
    runs = Runs().add("mr", "spikebert", [0.9, 0.9])
    runs.records[0] = dataclasses.replace(runs.records[0], accuracy_test=0.8)
    with pytest.raises(UserError, match=r"the accuracy of its record, 0\.8"):
        runs.evidence()
    runs = Runs().add("mr", "spikebert", [0.9]).add("mr", "direct", [0.9])
    runs.predictions["mr.direct.base.s1"][3]["row"] = "other"
    with pytest.raises(UserError, match="the same test rows"):
        runs.evidence()


# Figure 3


def swept(setting: str, points: dict) -> Runs:
    runs = Runs()
    for value, accuracy in points.items():
        variant = "base" if value == MODEL[setting] else f"{setting}-{value}"
        settings = {"model": {**MODEL, setting: value}, "stage2": {"epochs": 1}}
        runs.add("mr", "spikebert", [accuracy] * 2, variant, settings)
    return runs


def test_the_best_of_a_sweep_is_compared_with_its_best_rival():
    runs = swept("timesteps", {2: 0.6, 4: 0.9, 8: 0.7})
    found = line(runs.evidence(), "best_timesteps")
    assert (found.verdict, found.ours) == (HELD, pytest.approx(20))
    assert found.why.startswith("4 against 8, the best other of 2, 4, 8")
    runs = swept("beta", {0.8: 0.9, 0.9: 0.7})
    assert line(runs.evidence(), "best_beta").verdict == NOT_HELD


def test_a_variant_that_changes_more_is_no_point_of_the_sweep():
    runs = swept("timesteps", {4: 0.7})
    settings = {"model": {**MODEL, "timesteps": 8}, "stage2": {"epochs": 2}}
    runs.add("mr", "spikebert", [0.9] * 2, "other", settings)
    assert "no runs of spikebert that differ" in line(runs.evidence(), "best_timesteps").why


@pytest.mark.parametrize(("deep", "expected"), [(0.6, HELD), (0.8, UNDECIDED), (0.95, NOT_HELD)])
def test_depth(deep, expected):
    runs = swept("num_hidden_layers", {2: 0.7, 4: 0.8, 8: deep})
    assert line(runs.evidence(), "deeper_not_better").verdict == expected


def test_a_sweep_without_the_papers_value():
    runs = swept("timesteps", {4: 0.7, 8: 0.7})
    for place, record in enumerate(runs.records):
        model = {**MODEL, "timesteps": 2 if record.variant == "base" else 8}
        settings = {**record.settings, "model": model}
        runs.records[place] = dataclasses.replace(record, settings=settings)
    assert (
        "no run of spikebert with model.timesteps 4" in line(runs.evidence(), "best_timesteps").why
    )


# Energy


def energy(twin: float | None = 10.0, **shares: float) -> pd.DataFrame:
    """Energies in percent of the teacher's; the dense twin of the student's shape takes `twin`."""
    lines = []
    for name, share in shares.items():
        lines += [
            (name, "teacher", "dense", "128", 10.0),
            (name, "teacher", "dense", "real", 3.0),
            (name, "spikebert", "strict", "128", 9.0),
            (name, "spikebert", "paper", "128", share / 10),
            *([] if twin is None else [(name, "dense_direct", "dense", "128", twin)]),
        ]
    return pd.DataFrame(lines, columns=list(claims.ENERGY_COLUMNS))


def test_energy_is_a_share_of_the_teachers():
    evidence = gather([], {}, OWN)
    found = line(evidence, "energy", energy=energy(mr=20.0, sst2=21.0, subj=22.0))
    assert (found.verdict, found.ours) == (HELD, pytest.approx(21))
    assert found.ci_high == pytest.approx(21 + 2.48414, rel=1e-6)
    found = line(evidence, "energy", energy=energy(mr=40.0, sst2=41.0, subj=42.0))
    assert found.verdict == NOT_HELD
    found = line(evidence, "energy", energy=energy(mr=20.0))
    assert found.verdict == NOT_TESTABLE
    assert found.why.startswith("mr 20.00; ")
    assert found.why.endswith("; one set: no interval")
    stand_in = gather([], {}, {"mr": {"analogue": True}, "sst2": {"analogue": True}})
    found = line(stand_in, "energy", energy=energy(mr=20.0, sst2=21.0))
    assert (found.verdict, found.ours) == (NOT_TESTABLE, pytest.approx(20.5))


def test_energy_is_judged_between_models_of_one_shape_alone():
    evidence = gather([], {}, OWN)
    shares = {"mr": 1.3, "sst2": 1.4, "subj": 1.5}
    found = line(evidence, "energy", energy=energy(twin=0.8, **shares))
    assert (found.verdict, found.ours) == (NOT_TESTABLE, pytest.approx(1.4))
    assert "takes 8.00 % of its energy, too; beside that BERT it takes 17.50 %" in found.why
    found = line(evidence, "energy", energy=energy(twin=None, **shares))
    assert found.verdict == NOT_TESTABLE
    assert "no dense BERT of the student's shape" in found.why


def test_each_verdict_says_what_would_refute_it():
    sheet = claims.claims_table(gather([], {}, OWN), None)
    assert sheet["refuted_if"].str.fullmatch(r"the interval lies (above|below) -?\d+\.\d\d").all()


def test_energy_needs_both_models_and_its_columns(tmp_path: Path):
    evidence = gather([], {}, OWN)
    assert "lacks" in line(evidence, "energy", energy=energy(mr=20.0)[:1]).why
    assert "none of the paper's sets" in line(evidence, "energy", energy=energy(mine=20.0)).why
    path = tmp_path / "energy.csv"
    energy(mr=20.0).rename(columns={"energy_pj": "joules"}).to_csv(path, index=False)
    with pytest.raises(UserError, match="energy_pj"):
        claims.read_energy(path)


# The ablation


def test_ablation_rows_and_the_claims_that_rest_on_them():
    runs = Runs().add("mr", "spikebert", [0.9, 0.9, 0.9]).add("mr", "stage2_only", [0.7, 0.72])
    runs.add("mr", "spikebert", [0.9], "no_ce", {"stage2": {"ce_weight": 0.0}})
    evidence = runs.evidence()
    table = ablation_table(evidence).set_index(["row", "dataset"])
    assert table.columns.tolist() == [c for c in ablation.COLUMNS if c not in ("row", "dataset")]
    cells = table.loc[("without stage 1", "mr")]
    assert (cells.seeds, cells["mean"]) == (2, pytest.approx(71))
    assert cells.sd == pytest.approx(2**0.5)
    assert cells.difference == pytest.approx(-19)  # on the two seeds that both have
    assert cells.ci_low < -19 < cells.ci_high
    average = table.loc[("without stage 1", "average")]
    assert average[["paper_difference", "paper_status"]].tolist() == [-3.23, "sourced"]
    assert (average.difference, average.note) == (cells.difference, "mr of the paper's 4 sets")
    assert table.loc[("without L_ce", "mr")].note == "one seed"
    assert "76.30" in table.loc[("both stages", "average")].note
    found = line(evidence, "no_stage1")
    assert (found.verdict, found.ours, found.paper) == (HELD, cells.difference, -3.23)
    assert line(evidence, "no_ce").verdict == NOT_TESTABLE


def test_ablation_rows_without_runs_are_there_and_say_why():
    table = ablation_table(Runs().add("mr", "spikebert", [0.9]).evidence())
    empty = table[table["row"] == "without L_logits"].squeeze()
    assert (empty.seeds, empty.paper_difference) == (0, -3.03)
    assert empty[["mean", "sd", "difference", "ci_low", "ci_high"]].isna().all()
    assert empty.note.startswith("mr: no runs of spikebert no_logits")
    assert set(table["row"]) == {"both stages", *(part.words for part in ablation.PARTS.values())}


def test_a_distilled_dense_model_is_compared_with_runs_of_as_many_rows():
    runs = Runs().add("mr", "spikebert", [0.95, 0.95]).add("mr", "spikebert", [0.9, 0.9], "plain")
    runs.add("mr", "spikebert", [0.8, 0.8], "plain-no_ce").add("mr", "dense_distilled", [0.7, 0.7])
    assert line(runs.evidence(), "above_dense_distilled").ours == pytest.approx(25)
    more = 2 * runs.records[0].n_train
    runs.records[:2] = [dataclasses.replace(r, n_train=more) for r in runs.records[:2]]
    found = line(runs.evidence(), "above_dense_distilled")
    assert found.ours == pytest.approx(20)
    assert found.why.startswith("runs like plain, not the base")


def test_parts_may_be_left_out_of_another_line_than_the_base():
    runs = Runs().add("mr", "spikebert", [0.95, 0.95]).add("mr", "stage2_only", [0.94, 0.94])
    runs.add("mr", "spikebert", [0.9, 0.9], "plain").add("mr", "stage2_only", [0.7, 0.7], "plain")
    runs.add("mr", "spikebert", [0.8, 0.8], "plain-no_ce", {"stage2": {"ce_weight": 0.0}})
    table = ablation_table(runs.evidence()).set_index(["row", "dataset"])
    assert table.loc[("both stages", "mr"), "variant"] == "plain"
    assert table.loc[("both stages", "mr"), "mean"] == pytest.approx(90)
    assert table.loc[("without L_ce", "mr"), "difference"] == pytest.approx(-10)
    assert table.loc[("without stage 1", "mr"), "difference"] == pytest.approx(-20)
    assert line(runs.evidence(), "no_stage1").ours == pytest.approx(-20)
    assert line(runs.evidence(), "no_stage1").why.startswith("runs like plain, not the base")
    runs.add("mr", "spikebert", [0.9], "plain-no_logits", {"stage2": {"logits_weight": 1.0}})
    with pytest.raises(UserError, match="plain-no_logits"):
        ablation_table(runs.evidence())


def test_a_row_on_a_set_without_the_base():
    runs = Runs().add("mine", "stage2_only", [0.7, 0.7])
    table = ablation_table(runs.evidence()).set_index(["row", "dataset"])
    assert table.loc[("without stage 1", "mine")].note == "no runs of spikebert"
    assert pd.isna(table.loc[("without stage 1", "average"), "mean"])


def test_a_variant_has_to_be_what_its_name_says():
    runs = Runs().add("mr", "spikebert", [0.9], "no_logits", {"stage2": {"logits_weight": 1.0}})
    for table in (ablation_table, claims_table):
        with pytest.raises(UserError, match=r"mr\.spikebert\.no_logits\.s1[\s\S]*logits_weight 0"):
            table(runs.evidence())
    known = Runs().add("mr", "spikebert", [0.9], "no_augmentation", {"augment": {"enabled": True}})
    with pytest.raises(UserError, match=r"augment\.enabled False"):
        ablation_table(known.evidence())
    ablation_table(Runs().add("mr", "spikebert", [0.9], "no_augmentation").evidence())


# Files


def test_files_are_the_same_each_time_and_mark_what_is_recalled(tmp_path: Path):
    runs = Runs().add("mr", "spikebert", [0.9, 0.9]).add("mr", "direct", [0.7, 0.7])
    records, predictions = [], []
    for record in runs.records:
        records.append(tmp_path / "records" / f"{record.id}.json")
        write_record(records[-1], record)
        predictions.append(tmp_path / "predictions" / f"{record.id}.csv")
        columns = zip(*(row.values() for row in runs.predictions[record.id]), strict=True)
        write_predictions(predictions[-1], *columns)
    for name in ("first", "second"):
        claims.write_claims(Published(records, predictions, notes=OWN), tmp_path / name)
    for name in ("claims", "ablation"):
        for suffix in (".csv", ".md", ".tex"):
            first, second = (tmp_path / d / f"{name}{suffix}" for d in ("first", "second"))
            assert first.read_bytes() == second.read_bytes()
    sheet = pd.read_csv(tmp_path / "first/claims.csv").set_index("id")
    assert sheet.loc["above_direct_mr", "ours"] == 20
    markdown = (tmp_path / "first/claims.md").read_text("utf-8")
    assert "4.09†" in markdown
    assert "† recalled, not seen in a public source." in markdown
    latex = (tmp_path / "first/claims.tex").read_text("utf-8")
    assert r"4.09\dag{}" in latex
    assert r"95 \%" in latex
    assert "†" not in (tmp_path / "first/ablation.md").read_text("utf-8")


def test_the_first_page_counts_verdicts_and_shows_intervals():
    rows = [
        ("held", 4.0, "sourced", 2.0, 1.0, 3.0, "above"),
        ("undecided", 1.0, "recalled", 0.5, -1.0, 2.0, "a_*b*|"),
        ("cannot be judged", None, "", None, None, None, "no runs"),
    ]
    names = ["verdict", "paper", "paper_status", "ours", "ci_low", "ci_high", "claim"]
    text = front(pd.DataFrame(rows, columns=names))
    assert "**1 held, 0 not held, 1 undecided, 1 cannot be judged**" in text
    parts = publish_parts(text, writer_name="html", settings_overrides={"halt_level": 2})
    cells = re.findall(r"<td>(.*?)</td>", parts["body"])
    assert cells[:4] == ["above", "4.00", "2.00 (1.00 to 3.00)", "held"]
    assert cells[4:8] == ["a_*b*|", "1.00†", "0.50 (-1.00 to 2.00)", "undecided"]
