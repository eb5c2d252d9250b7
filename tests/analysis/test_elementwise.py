"""What `full` charges beside products, against counts by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from spikebert.analysis.elementwise import RULES, free
from spikebert.analysis.energy import measure
from spikebert.models.configuration import SpikeBertConfig
from spikebert.models.modeling import SpikeBertForSequenceClassification
from spikebert.records.energy import Elementwise, Operations, read_energy

T, N, D, H, INNER, C, L = 4, 20, 128, 4, 512, 2, 4
IDS = torch.arange(1, N + 1)[None]


def student() -> SpikeBertForSequenceClassification:
    config = SpikeBertConfig(
        vocab_size=50,
        hidden_size=D,
        num_hidden_layers=L,
        num_attention_heads=H,
        timesteps=T,
        encoder="lif",
        position="none",
        attention_order="qk_first",
    )
    return SpikeBertForSequenceClassification(config)


def norm(rows: int, width: int) -> tuple[int, int]:
    """Two means, difference, square, root, gain and shift: multiplications, additions."""
    return rows * (3 * width + 2 + 6), rows * (4 * width + 1 + 2)


def test_a_student_by_hand_in_each_convention() -> None:
    torch.manual_seed(0)
    found = measure(student(), [IDS], IDS, time_first=True, timesteps=T)
    states = T * N * D
    # Of each block: Q, K, V, O and the second layer of the MLP are 128 wide, the first 512; 5
    # neurons of width 128 before and after them (Q, K, V, attention, two residuals) and one of 512.
    narrow, wide = norm(T * N, D), norm(T * N, INNER)
    block_multiplications = 5 * narrow[0] + wide[0] + 6 * states + T * N * INNER + states
    block_additions = (
        5 * narrow[1]
        + wide[1]
        + 3 * (6 * states + T * N * INNER)
        + 5 * states
        + T * N * INNER
        + 2 * states
    )
    last = norm(T * N, D)
    multiplications = L * block_multiplications + last[0] + states + T * D + C
    additions = L * block_additions + last[1] + 3 * states + states + T * C + T * C
    beside = 3.7 * multiplications + 0.9 * additions
    assert found.elementwise.unknown == []
    for got in (found.elementwise.real, found.elementwise.fixed):
        assert got is not None
        assert 3.7 * got.multiplications + 0.9 * got.additions == pytest.approx(beside, rel=1e-3)
    # The products: MACs of each layer by hand, at the rates that were seen.
    by_name = {layer.name: layer for layer in found.layers}
    sums = {"paper": 4.6 * T * D * C, "strict": 4.6 * T * D * C, "unary": 4.6 * T * D * C}
    for name, layer in by_name.items():
        if name == "classifier":
            continue
        inner = INNER if ".mlp." in name else D
        macs = T * N * N * D if ".product." in name else T * N * D * inner
        macs = 0 if name.endswith("product.q") else macs
        assert layer.kind in ("binary", "integer")
        sums["paper"] += 0.9 * macs * layer.rate
        sums["unary"] += 0.9 * macs * layer.magnitude
        integer = layer.kind == "integer"
        sums["strict"] += 4.6 * macs if integer else 0.9 * macs * layer.rate
    for convention, energy in sums.items():
        account = found.accounts[convention]
        assert account.real.energy_pj == pytest.approx(energy, rel=1e-3)


def test_a_dense_bert_by_hand() -> None:
    config = BertConfig(
        vocab_size=50,
        hidden_size=D,
        num_hidden_layers=L,
        num_attention_heads=H,
        intermediate_size=INNER,
    )
    found = measure(BertForSequenceClassification(config), [{"input_ids": IDS}])
    m, a = norm(N, D)
    scores, sums = H * N * N, H * N
    multiplications = L * (2 * m + 8 * scores + 5 * sums + 22 * N * INNER) + m + 12 * D
    additions = L * (2 * a + 9 * scores + 2 * sums + 15 * N * INNER + 7 * N * D + N * INNER) + a
    additions += 2 * N * D + D + 10 * D + C
    assert found.elementwise.unknown == []
    got = found.elementwise.real
    assert got.multiplications == pytest.approx(multiplications, rel=1e-3)
    assert got.additions == pytest.approx(additions, rel=1e-3)


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x).softmax(-1)


def test_modules_of_your_own_are_named_not_free() -> None:
    own = Own()
    found = measure(own, [torch.rand(1, 2)]).elementwise
    assert found.unknown == ["Own"]
    known = measure(own, [torch.rand(1, 2)], rules={**RULES, "Own": free}).elementwise
    assert (known.unknown, known.real.additions) == ([], 3)


RESULTS = Path(__file__).parents[2] / "results" / "small" / "energy"


def test_full_is_paper_and_the_rest_where_that_is_known() -> None:
    old = read_energy(RESULTS / "mr.spikebert.base.s1.json")
    assert "full" not in old.costs()
    beside = Elementwise(Operations(10, 100), Operations(20, 200), unknown=[])
    real, fixed = dataclasses.replace(old, elementwise=beside).costs()["full"]
    paper = old.accounts["paper"]
    assert paper.fixed is not None
    assert fixed is not None
    assert real.energy_pj == pytest.approx(paper.real.energy_pj + 37 + 90)
    assert fixed.energy_pj == pytest.approx(paper.fixed.energy_pj + 74 + 180)
    unknown = dataclasses.replace(beside, unknown=["Own"])
    assert "full" not in dataclasses.replace(old, elementwise=unknown).costs()
