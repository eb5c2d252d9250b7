"""What holds of every neuron, attention, mean and account, whatever their shapes and settings."""

import math
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
from examples import examples
from hypothesis import assume, given
from hypothesis import strategies as st

from spikebert.analysis.energy import count_macs, measure
from spikebert.kernels.build import library
from spikebert.kernels.ops import norm_lif
from spikebert.models.attention import product
from spikebert.models.configuration import SpikeBertConfig
from spikebert.models.modeling import SpikeBertForSequenceClassification, masked_mean
from spikebert.models.neurons import lif
from spikebert.records.energy import (
    CONVENTIONS,
    DENSE,
    KINDS,
    Workload,
    charge,
    charge_samples,
    percentile,
)
from spikebert.records.metrics import summarise
from spikebert.records.significance import from_draws, mcnemar
from spikebert.training.losses import align, logits_loss, masked_mse

SEED = st.integers(0, 2**31)
SIZE = st.integers(1, 9)
NEURON = st.fixed_dictionaries(
    {
        "beta": st.floats(0, 0.999),
        "threshold": st.floats(0.01, 3),
        "reset": st.sampled_from(["soft", "hard"]),
        "decay_input": st.booleans(),
        "detach_reset": st.booleans(),
        "surrogate": st.sampled_from(["atan", "sigmoid", "triangle", "rectangle"]),
        "alpha": st.floats(0.25, 8),
    }
)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def spikes(seed: int, *shape: int, most: int = 1) -> torch.Tensor:
    return torch.randint(0, most + 1, shape, generator=torch.Generator().manual_seed(seed)).float()


@given(NEURON, SEED, SIZE, SIZE, SIZE)
@pytest.mark.skipif(library() is None, reason="no compiler")
def test_fused_neurons_are_the_plain_ones(
    neuron: dict[str, Any], seed: int, steps: int, rows: int, width: int
) -> None:
    found = []
    for form in (norm_lif, lambda x, **keys: lif(x, **keys)[0]):
        x = normal(seed, steps, rows, width).requires_grad_()
        out = form(x, **neuron)
        out.backward(normal(seed + 1, steps, rows, width))
        assert x.grad is not None
        found.append((out.detach(), x.grad))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-5)


@given(NEURON, SEED, SIZE, SIZE, st.data())
def test_a_neuron_goes_on_where_it_stopped_and_sees_no_future(
    neuron: dict[str, Any], seed: int, steps: int, width: int, data: st.DataObject
) -> None:
    x = normal(seed, steps, width)
    cut = data.draw(st.integers(0, steps))
    whole, end = lif(x, **neuron)
    assert set(whole.unique().tolist()) <= {0, 1}
    if cut not in (0, steps):
        first, v = lif(x[:cut], **neuron)
        second, v = lif(x[cut:], v, **neuron)
        assert torch.equal(whole, torch.cat([first, second]))
        assert torch.equal(end, v)
    other = x.clone()
    other[cut:] += 100
    assert torch.equal(lif(other, **neuron)[0][:cut], whole[:cut])


@given(NEURON, SEED, SIZE, SIZE, st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_currents_and_threshold_may_be_scaled_together(
    neuron: dict[str, Any], seed: int, steps: int, width: int, factor: float
) -> None:
    """By a power of two, so that nothing is rounded."""
    x = normal(seed, steps, width)
    scaled = neuron | {"threshold": neuron["threshold"] * factor}
    assert torch.equal(lif(x, **neuron)[0], lif(x * factor, **scaled)[0])


@given(SEED, st.tuples(*[st.integers(1, 7)] * 5), st.integers(1, 3))
def test_orders_of_attention_agree(seed: int, shape: tuple[int, ...], most: int) -> None:
    """Exactly, since sums of counts are whole numbers."""
    q, k, v = (spikes(seed + i, *shape, most=most) for i in range(3))
    expected = torch.einsum("tbhnd,tbhmd,tbhme->tbhne", q, k, v)
    for order in ("qk_first", "kv_first", "auto"):
        assert torch.equal(product(q, k, v, order), expected)


@given(SEED, SIZE, SIZE, SIZE, SIZE, st.integers(0, 5))
def test_means_and_losses_leave_padding_out(
    seed: int, steps: int, rows: int, tokens: int, width: int, padding: int
) -> None:
    x = normal(seed, steps, rows, tokens, width)
    lengths = torch.randint(1, tokens + 1, (rows, 1), generator=torch.Generator().manual_seed(seed))
    mask = (torch.arange(tokens + padding) < lengths).long()
    padded = torch.cat([x, normal(seed + 1, steps, rows, padding, width)], 2)
    alone = torch.stack([x[:, i, :n].mean(1) for i, (n,) in enumerate(lengths.tolist())], 1)
    torch.testing.assert_close(masked_mean(padded, mask), alone, rtol=1e-4, atol=1e-5)
    changed = padded.clone()
    changed[:, ~mask.bool()] += 1e3
    torch.testing.assert_close(masked_mean(changed, mask), alone, rtol=1e-4, atol=1e-5)
    zero = torch.zeros_like(padded[0])
    assert torch.equal(masked_mse(padded[0], zero, mask), masked_mse(changed[0], zero, mask))


@given(SEED, SIZE, st.integers(2, 6), st.floats(0.5, 8))
def test_the_loss_of_logits_is_a_divergence(
    seed: int, rows: int, classes: int, temperature: float
) -> None:
    one, other = normal(seed, rows, classes), normal(seed + 1, rows, classes)
    assert logits_loss(one, other, temperature) > -1e-6
    assert abs(logits_loss(one, one + 3, temperature)) < 1e-4


@given(st.integers(1, 30), st.integers(1, 30), st.data())
def test_layers_align_in_order_and_end_together(
    student: int, teacher: int, data: st.DataObject
) -> None:
    ignored = data.draw(st.integers(0, student - 1))
    pairs = align(student, teacher, ignored)
    assert [s for s, _ in pairs] == list(range(ignored + 1, student + 1))
    assert [t for _, t in pairs] == sorted(t for _, t in pairs)
    assert pairs[-1] == (student, teacher)
    assert all(1 <= t <= teacher for _, t in pairs)


# --- energy ------------------------------------------------------------------------------------

LOADS = st.lists(
    st.builds(
        Workload,
        macs=st.integers(0, 2**40).map(float),
        kind=st.sampled_from(KINDS),
        rate=st.floats(0, 1),
        magnitude=st.floats(0, 50),
    ),
    max_size=8,
)
CONVENTION = st.sampled_from([*CONVENTIONS, DENSE])


def near(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-3)


@given(LOADS, LOADS, CONVENTION, st.integers(1, 16))
def test_bills_add_up_and_grow_with_the_steps(
    one: list[Workload], other: list[Workload], convention: str, steps: int
) -> None:
    a, b, both = (charge(loads, convention) for loads in (one, other, one + other))
    for name in ("macs", "sops", "energy_pj"):
        assert getattr(both, name) == near(getattr(a, name) + getattr(b, name))
    longer = charge(
        [Workload(x.macs * steps, x.kind, x.rate, x.magnitude) for x in one], convention
    )
    assert longer.energy_pj == near(steps * a.energy_pj)
    assert longer.spike_rate == (a.spike_rate if a.spike_rate is None else near(a.spike_rate))
    assert charge(one, "strict").macs >= charge(one, "paper").macs
    assert charge(one, "dense").macs == near(sum(x.macs for x in one))


@given(st.lists(LOADS, min_size=1, max_size=5), CONVENTION)
def test_a_mean_of_energy_lies_among_its_samples(samples: list[list[Workload]], name: str) -> None:
    real = charge_samples(samples, None, name).real
    energies = sorted(charge(loads, name).energy_pj for loads in samples)
    assert near(real.energy_pj) == fmean(energies)
    low, middle, high = real.energy_pj_p5, real.energy_pj_p50, real.energy_pj_p95
    assert energies[0] <= low <= middle <= high <= energies[-1]
    assert near(percentile(energies, 0.5)) == float(np.percentile(energies, 50))


@examples(4)
@given(st.integers(1, 4), st.integers(1, 6), st.sampled_from([(8, 2), (6, 3)]), SEED)
def test_products_of_a_student_grow_with_the_steps(
    steps: int, tokens: int, shape: tuple[int, int], seed: int
) -> None:
    """Every layer T times, but the head, which reads each step's mean, and so T times as well."""
    width, heads = shape
    torch.manual_seed(seed)
    counted = []
    for t in (1, steps):
        config = SpikeBertConfig(
            hidden_size=width, num_attention_heads=heads, num_hidden_layers=1, timesteps=t,
            vocab_size=11,
        )  # fmt: skip
        model = SpikeBertForSequenceClassification(config).eval()
        ids = torch.arange(tokens)[None]
        counted.append(count_macs(model, {"input_ids": ids}, time_first=True, timesteps=t))
        found = measure(model, [{"input_ids": ids}], time_first=True, timesteps=t)
        for one in found.accounts.values():
            assert math.isfinite(one.real.energy_pj)
        charged = sum(layer.macs_real for layer in found.layers)
        assert charged == sum(counted[-1].values())
    assert counted[1] == {name: steps * macs for name, macs in counted[0].items()}


# --- means, intervals, tests -------------------------------------------------------------------

ACCURACIES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(ACCURACIES, st.randoms(), st.floats(-5, 5))
def test_the_interval_holds_the_mean(values: list[float], chance: Any, shift: float) -> None:
    found = summarise(values)
    assert min(values) - 1e-12 <= found.mean <= max(values) + 1e-12
    if len(values) == 1:
        assert math.isnan(found.ci_low)
        return
    assert found.ci_low <= found.mean <= found.ci_high
    assert found.sd >= 0
    mixed = list(values)
    chance.shuffle(mixed)
    moved = summarise([value + shift for value in mixed])
    assert moved.mean == pytest.approx(found.mean + shift, abs=1e-9)
    assert moved.ci_high == pytest.approx(found.ci_high + shift, abs=1e-6)


RIGHT = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


@given(RIGHT)
def test_the_test_of_rows_has_no_side(rows: list[tuple[bool, bool]]) -> None:
    one, other = (np.array(side) for side in zip(*rows, strict=True))
    p = mcnemar(one, other)
    assert 0 < p <= 1
    assert p == pytest.approx(mcnemar(other, one))
    assert mcnemar(one, one) == 1


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=50))
def test_an_interval_of_draws_is_in_order(values: list[float]) -> None:
    assume(len(set(values)) > 1)
    found = from_draws(fmean(values), np.array(values))
    assert min(values) <= found.low <= found.high <= max(values)
    assert 0 <= found.p <= 1
