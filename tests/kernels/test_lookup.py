"""Products of spikes by table: against the exact product, and within a layer."""

import pytest
import torch

from spikebert.errors import UserError
from spikebert.kernels.ops import LOOK_UPS, library, look_up, look_up_gradient, packed, planes_of
from spikebert.models.attention import Projection
from spikebert.models.neurons import LIF

CAN = library() is not None and bool(library().has_lookups())
pytestmark = pytest.mark.skipif(not CAN, reason="no processor that can look up, or no compiler")
SHAPES = [(32, 32), (96, 64), (32, 416), (128, 192)]  # outputs and inputs
ROWS = [1, 15, 33, 181, 2100]


@pytest.fixture(autouse=True)
def _wherever_they_can_run(monkeypatch):
    monkeypatch.setenv(LOOK_UPS, "1")


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def counts(rows, width, planes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 2 if planes == 1 else 4, (rows, width), generator=generator)
    return (x * (torch.rand(rows, width, generator=generator) < 0.6)).bfloat16()


def normal(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def unit(values, dim):
    """The most by which rounding to 16 bits can move a sum, where it is over all of `dim`."""
    above, below = values.clamp(min=0).sum(dim), -values.clamp(max=0).sum(dim)
    return torch.maximum(above, below) / 32670 / 2 * values.shape[dim]


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
def test_product_is_the_exact_one_but_for_rounding(outputs, inputs, rows, planes):
    x, weight = counts(rows, inputs, planes), normal(outputs, inputs)
    exact = x.double() @ weight.double().T
    found = look_up(x, weight, planes).double()
    error = (found - exact).abs()
    most = (2**planes - 1) * unit(weight.double(), 1)
    assert (error <= exact.abs() * 2**-8 + most).all()
    multiplied = (x.float() @ weight.bfloat16().float().T).bfloat16().double()
    assert error.square().mean() <= (multiplied - exact).square().mean()


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
def test_gradient_is_the_exact_one_but_for_rounding(outputs, inputs, rows, planes):
    x = counts(rows, inputs, planes)
    dy = (normal(rows, outputs) * normal(rows, 1, seed=2) ** 3).bfloat16()  # rows of unlike size
    exact = dy.double().T @ x.double()
    found = look_up_gradient(dy, packed(x, planes)).double()
    most = (2**planes - 1) * unit(dy.double(), 0)[:, None]
    assert ((found - exact).abs() <= most + 1e-5 * exact.abs().max()).all()
    rounded = (found - exact).norm() / exact.norm()
    assert rounded < 2**-9  # a number's own rounding in bfloat16


def test_sums_do_not_depend_on_threads():
    x, weight, dy = counts(700, 192, 1), normal(96, 192), normal(700, 96).bfloat16()
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append((look_up(x, weight, 1), look_up_gradient(dy, packed(x, 1))))
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found for a, b in zip(found[0], other, strict=True))


def test_rows_do_not_depend_on_each_other():
    x, weight = counts(700, 192, 2), normal(96, 192)
    assert torch.equal(look_up(x, weight, 2)[300:450], look_up(x[300:450], weight, 2))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_not_hidden(value):
    x, weight, dy = counts(200, 64, 1), normal(32, 64), normal(200, 32).bfloat16()
    weight[3, 5] = dy[7, 3] = value
    y, dweight = look_up(x, weight, 1), look_up_gradient(dy, packed(x, 1))
    assert not y[:, 3].isfinite().any()
    assert not dweight[3].isfinite().any()
    assert y[:, :3].isfinite().all()
    assert dweight[:3].isfinite().all()


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_do_not_overflow(sign):
    """Where all inputs fire, equal numbers round the same way."""
    n = torch.arange(1, 193)
    ones = torch.ones(192, 192).bfloat16()
    weight = sign * (n[None, :] <= n[:, None]).float()  # row n: n ones
    y = look_up(ones, weight, 1).float()
    torch.testing.assert_close(y, (sign * n).float().expand(192, -1), rtol=2**-8, atol=0)
    dweight = look_up_gradient(weight.T.contiguous().bfloat16(), packed(ones, 1))
    torch.testing.assert_close(
        dweight, (sign * n).float()[:, None].expand(-1, 192), rtol=4e-3, atol=0
    )


def test_zeros_give_zeros():
    x = counts(200, 64, 1)
    assert not look_up(x, torch.zeros(32, 64), 1).any()
    assert not look_up(torch.zeros_like(x), normal(32, 64), 1).any()
    assert not look_up_gradient(torch.zeros(200, 32).bfloat16(), packed(x, 1)).any()


@pytest.mark.usefixtures("threads")
def test_only_small_counts_are_looked_up(monkeypatch):
    ones, threes = counts(9000, 64, 1), counts(9000, 64, 2)
    assert planes_of(ones, 32) == planes_of(torch.zeros_like(ones), 32) == 1
    assert planes_of(threes, 32) == 2
    for place in (0, 4567, 8999):
        for value in (4.0, -1.0, 0.5, 1.0078125, float("nan"), float("inf")):
            other = ones.clone()
            other[place, 63] = value
            assert planes_of(other, 32) == 0, (place, value)
    assert planes_of(ones.float(), 32) == planes_of(ones[:, :48].contiguous(), 32) == 0
    assert planes_of(ones, 40) == planes_of(ones[:100], 32) == 0
    monkeypatch.setenv(LOOK_UPS, "0")
    assert planes_of(ones, 32) == 0


def test_an_unknown_switch_says_which_are_known(monkeypatch):
    monkeypatch.setenv(LOOK_UPS, "yes")
    with pytest.raises(UserError, match=r"expected: 0 .*, 1 .* or nothing\n +got: +yes\n +fix:"):
        planes_of(counts(200, 64, 1), 32)


def layer(x, given_grad, monkeypatch, switch):
    """Spikes and gradients of a linear layer, its norm and LIF under autocast."""
    monkeypatch.setenv(LOOK_UPS, switch)
    torch.manual_seed(0)
    module, neuron = Projection(64, 96), LIF()
    neuron.fused = True
    x = x.clone().requires_grad_()
    saved = []

    def note(tensor):
        saved.append(tensor)
        return tensor

    with (
        torch.autocast("cpu", torch.bfloat16),
        torch.autograd.graph.saved_tensors_hooks(note, lambda t: t),
    ):
        out = module(x, neuron)
    out.backward(given_grad)
    gradients = {"x": x.grad, **{n: p.grad for n, p in module.named_parameters()}}
    return out.detach(), gradients, saved


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("steps", [1, 2, 4, 7])
def test_layer_is_near_the_multiplied_one(steps, planes, monkeypatch):
    """Rounding differs; a spike that hangs on it may, too."""
    x = counts(steps * 3 * 61, 64, planes).view(steps, 3, 61, 64)
    grad = normal(steps, 3, 61, 96).bfloat16()
    ours, gradients, saved = layer(x, grad, monkeypatch, "1")
    plain, expected, kept = layer(x, grad, monkeypatch, "0")
    assert (ours != plain).float().mean() < 0.01
    for name, value in expected.items():
        if name != "linear.bias":  # before a norm it hardly matters: mostly rounding
            likeness = torch.cosine_similarity(gradients[name].flatten(), value.flatten(), 0)
            assert likeness > 0.98, (name, likeness)
    inputs = x.numel() * x.element_size()
    held = [sum(t.numel() * t.element_size() for t in tensors) for tensors in (saved, kept)]
    assert held[1] - held[0] > 0.8 * inputs  # its bits, in words of 15, for bfloat16


def test_frozen_weights_keep_no_input(monkeypatch):
    monkeypatch.setenv(LOOK_UPS, "1")
    module, neuron = Projection(64, 96).requires_grad_(False), LIF()
    neuron.fused = True
    x = counts(200, 64, 1).view(1, 1, 200, 64).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        module(x, neuron).sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad is None for p in module.parameters())
