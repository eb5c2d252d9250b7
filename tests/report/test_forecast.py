"""Costs against counts by hand, the fit against laws it was given, the forecast against sums."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from spikebert.analysis.energy import watch
from spikebert.cli import app
from spikebert.config.plan import make_plan
from spikebert.config.settings import ModelSettings
from spikebert.errors import UserError
from spikebert.models.configuration import SpikeBertConfig
from spikebert.models.flops import bert_macs, neuron_values, student_parameters, training_macs
from spikebert.models.modeling import SpikeBertForSequenceClassification
from spikebert.records.records import read_records
from spikebert.report.forecast import (
    Measured,
    against_records,
    benchmark_points,
    fit_cost,
    forecast,
)

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "results/small/records"
BENCH = ROOT / "results/small/bench.json"
AUGMENT = {"n_iter": 3, "transfer_sentences": 20_000}
SMALL = ModelSettings(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, timesteps=2)


def published():
    return list(read_records(sorted(RECORDS.glob("*.json"))))


def paper():
    return make_plan(yaml.safe_load((ROOT / "config/paper.yaml").read_text("utf-8")))


def student():
    config = SpikeBertConfig(**dataclasses.asdict(SMALL), vocab_size=50, num_labels=3)
    return SpikeBertForSequenceClassification(config)


def test_values_of_neurons_by_hand():
    # Q, K, V, context and both residuals of 16, the MLP's 64; 3 blocks, 2 steps, 5 x 7 tokens.
    assert neuron_values(SMALL, 5, 7) == (6 * 16 + 64) * 3 * 2 * 35


def test_parameters_are_those_of_the_model():
    found = sum(p.numel() for p in student().parameters())
    assert student_parameters(SMALL, vocabulary=50, labels=3) == found


def test_macs_are_those_that_hooks_count():
    """The energy account counts an input that is the same at every step T times: so does LIF."""
    shape = dataclasses.replace(SMALL, encoder="lif")
    config = SpikeBertConfig(**dataclasses.asdict(shape), vocab_size=50, num_labels=3)
    model = SpikeBertForSequenceClassification(config).eval()
    with watch(model, timesteps=2, time_first=True) as layers, torch.no_grad():
        model(torch.arange(1, 8)[None])
    head = 16 * 3 * 2  # a product for each step
    assert sum(layer.macs for layer in layers.values()) - head == training_macs(shape, 1, 7) // 3


def test_a_bert_by_hand():
    # Four projections and an MLP of twice 4: 12 D^2 a token; scores and their product: 2 N D.
    assert bert_macs(2, 8, 3, 5) == 2 * (15 * 12 * 64 + 3 * 2 * 25 * 8)


def test_the_fit_finds_the_law_it_was_given():
    shapes = [
        (dataclasses.replace(SMALL, hidden_size=d), b, 16) for d in (16, 64, 256) for b in (4, 32)
    ]
    points = [(*s, 0.01 + 2e-12 * training_macs(*s) + 3e-9 * neuron_values(*s)) for s in shapes]
    cost = fit_cost(points)
    assert cost.fixed == pytest.approx(0.01)
    assert cost.per_mac == pytest.approx(2e-12)
    assert cost.per_value == pytest.approx(3e-9)
    assert cost.largest_error < 1e-6


def test_the_fit_takes_no_negative_cost():
    points = [(SMALL, rows, 16, 1 / rows) for rows in (1, 2, 4, 8)]
    cost = fit_cost(points)
    assert min(cost.fixed, cost.per_mac, cost.per_value) >= 0


def test_too_few_points_are_refused():
    with pytest.raises(UserError, match="points of the cost model"):
        fit_cost([(SMALL, 1, 1, 1.0)])


def test_the_published_benchmark_fits():
    cost = fit_cost(benchmark_points(json.loads(BENCH.read_text("utf-8"))))
    assert cost.median_error < 0.1
    assert 0.2 < against_records(cost, published()) < 20


def test_the_paper_by_sums():
    measured = Measured.of(published(), draws=3, transfer=20_000)
    table = forecast(paper(), measured, times=(1, 10)).set_index(["text", "step", "language"])
    once, ten = (table.loc[(f"x {n}", "stage 1", "en")] for n in (1, 10))
    assert once["sentences"] == 10_000_000
    assert ten["macs"] == pytest.approx(10 * once["macs"])
    assert once["tokens"] == pytest.approx(1e7 * measured.text_tokens)
    # A tenth of 494.5e12 MAC/s for an hour.
    assert once["gpu_hours_10"] == pytest.approx(once["macs"] / (494.5e12 * 0.1 * 3600))
    # 13 layers of 768 numbers of two bytes for each token, and some five bytes of text.
    assert once["disk_gib"] == pytest.approx(once["tokens"] * (13 * 768 * 2 + 5) / 2**30)
    assert table.loc[("", "spikebert", "")]["jobs"] == len(paper().of("spikebert"))


def test_a_transfer_set_is_not_taken_for_draws():
    # Seed 1 on MR: 7,064 rows, 46,555 with their copies and 20,000 sentences.
    ids = ("mr.direct.base.s1", "mr.spikebert.base.s1")
    base = [record for record in published() if record.id in ids]
    kept = Measured.of(base, draws=3, transfer=20_000).kept
    assert kept == pytest.approx((46_555 - 20_000 - 7_064) / 3 / 7_064)
    said = [dataclasses.replace(r, settings={**r.settings, "augment": AUGMENT}) for r in base]
    assert Measured.of(said, draws=1).kept == kept
    with pytest.raises(UserError, match="augmentation of the records"):
        Measured.of(base, draws=3)


def test_stage_1_without_a_cap_is_refused():
    config = yaml.safe_load((ROOT / "config/paper.yaml").read_text("utf-8"))
    del config["unlabelled"]["en"]["max_sentences"]
    with pytest.raises(UserError, match="unlabelled text en"):
        forecast(make_plan(config), Measured.of(published(), draws=3, transfer=20_000))


def test_records_without_both_stages_are_refused():
    direct = [record for record in published() if record.model == "direct"]
    with pytest.raises(UserError, match="records for a forecast"):
        Measured.of(direct, draws=3)
    assert math.isnan(
        against_records(fit_cost(benchmark_points(json.loads(BENCH.read_text("utf-8")))), [])
    )


def test_the_verb_writes_both_files(tmp_path):
    words = ["--configfile", ROOT / "config/paper.yaml", "--records", RECORDS, "--bench", BENCH]
    words += ["--transfer", 20_000]
    result = CliRunner().invoke(app, ["forecast", *map(str, words), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "A forecast, not a measurement" in (tmp_path / "forecast.md").read_text("utf-8")
    assert (tmp_path / "forecast.csv").read_text("utf-8").startswith("text,step,language")
