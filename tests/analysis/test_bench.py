"""The benchmark's arithmetic and its builds, on shapes small enough to check by hand."""

import json

import pytest
import torch
from typer.testing import CliRunner

from spikebert.analysis.bench import (
    attention_orders,
    growth,
    run_products,
    spread,
)
from spikebert.analysis.builds import BUILDS, Build
from spikebert.cli import app
from spikebert.config.settings import ModelSettings
from spikebert.data.corpus import write_rows
from spikebert.models.flops import product_shapes, training_macs
from spikebert.training.steps.pretrain import train_tokenizer

SHAPE = ModelSettings(hidden_size=14, num_hidden_layers=2, num_attention_heads=2, timesteps=3)
WORDS = ["warm", "and", "funny", "film", "dull", "or", "clumsy", "scenes"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(iter([" ".join(WORDS)] * 20), 120)


def batch(tokenizer, lengths=(5, 7, 3)):
    mask = torch.tensor([[i < n for i in range(max(lengths))] for n in lengths]).long()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, len(tokenizer), mask.shape, generator=generator) * mask
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1, 0])}


def test_macs_are_those_of_a_hand_count():
    # 5 sentences of 11 tokens: 55 rows, 165 with time; a step of 14 x 14 or 14 x 56 products.
    first = 3 * 55 * 14 * 14 + 165 * 14 * 14 + 2 * 165 * 14 * 56
    second = 4 * 165 * 14 * 14 + 2 * 165 * 14 * 56
    # 2 heads of width 7 at 3 steps: Q (K^T V) costs 2 * 11 * 7 * 7, less than 2 * 11 * 11 * 7.
    attention = 2 * 3 * 5 * 2 * (2 * 11 * 7 * 7)
    assert training_macs(SHAPE, 5, 11) == 3 * (first + second + attention)
    assert len(list(product_shapes(SHAPE, 5, 11))) == 12
    run_products(SHAPE, 5, 11)


def test_growth_of_a_power_is_its_exponent():
    assert growth([1, 2, 4, 8], [3, 12, 48, 192]) == pytest.approx(2)
    assert growth([10, 20, 40], [7, 7, 7]) == pytest.approx(0)


def test_builds_of_one_seed_agree_where_they_compute_the_same(tokenizer):
    """Without padding and in float32: fused, plain and spikingjelly's neuron give one answer."""
    fed = batch(tokenizer, (7, 7, 7))
    answers = {}
    for name in ("ours", "plain", "field"):
        build = Build.make(name, SHAPE, tokenizer)
        build.bf16 = False
        answers[name] = build.infer(fed)
    torch.testing.assert_close(answers["ours"], answers["plain"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(answers["field"], answers["plain"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", BUILDS)
def test_every_build_trains(name, tokenizer):
    build = Build.make(name, SHAPE, tokenizer)
    fed = build.inputs(batch(tokenizer), 13)
    assert ("attention_mask" in fed) == (name != "field")
    assert fed["input_ids"].shape == (3, 13 if name == "field" else 7)
    first = build.train(fed)
    for _ in range(30):
        last = build.train(fed)
    assert last < first


def test_timed_batches_stand_for_all_lengths(tokenizer):
    batches = [batch(tokenizer, (n, 1)) for n in (9, 3, 12, 6, 1, 8, 2, 11, 5)]
    lengths = [b["input_ids"].shape[1] for b in spread(batches, 3)]
    assert lengths == [2, 6, 11]
    assert [b["input_ids"].shape[1] for b in spread(batches[:1], 2)] == [9, 9]


def test_orders_of_attention_are_equal_and_cost_what_their_macs_say():
    found = attention_orders(SHAPE, 4, rounds=1, lengths=(3, 7, 20))
    assert found["equal"] == [True] * 3
    assert found["qk_first"]["macs"] == [2 * n * n * 7 for n in (3, 7, 20)]
    assert found["kv_first"]["macs"] == [2 * n * 7 * 7 for n in (3, 7, 20)]
    assert all(len(found[order]["ms"]) == 3 for order in ("qk_first", "kv_first"))


@pytest.mark.slow
def test_bench_from_the_command_line(tokenizer, tmp_path):
    rows = [
        {"id": str(i), "text": " ".join(WORDS[i % 5 : i % 5 + 3]), "label": i % 2}
        for i in range(12)
    ]
    for split in ("train", "dev"):
        write_rows(tmp_path / "corpus" / f"{split}.jsonl", rows)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    words = [
        "bench", "--corpus", tmp_path / "corpus", "--tokenizer", tmp_path / "tokenizer",
        "--layers", SHAPE.num_hidden_layers, "--width", SHAPE.hidden_size,
        "--heads", SHAPE.num_attention_heads, "--timesteps", SHAPE.timesteps,
        "--length", 8, "--batch-size", 4, "--rounds", 1, "--quality-steps", 2,
        "--quality-seeds", 2,
        "--out", tmp_path / "bench.json", "--figures", tmp_path,
    ]  # fmt: skip
    printed = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert printed.exit_code == 0, printed.output
    assert "over its products alone" in printed.output
    found = json.loads((tmp_path / "bench.json").read_text("utf-8"))
    assert (tmp_path / "bench.svg").exists()
    assert found["speedup"]["ours"] == 1
    assert found["training_s_per_sentence"].keys() == set(BUILDS)
    assert found["memory"]["ours"].keys() == {"1", "4"}
    assert all(found["attention"]["equal"])
    assert "tokens; equal values" in printed.output
    losses = {name: found["quality"][name]["losses"] for name in ("ours", "field", "field_masked")}
    assert {name: len(each) for name, each in losses.items()} == {
        "ours": 2, "field": 1, "field_masked": 2,
    }  # fmt: skip
    gaps = [a - b for a, b in zip(losses["ours"], losses["field_masked"], strict=True)]
    assert found["quality"]["difference"]["mean"] == pytest.approx(sum(gaps) / 2)
    assert found["scaling"].keys() == {"timesteps", "tokens", "hidden_size", "batch_size"}
