"""The kernel against the plain neuron, layer norm and products."""

import ctypes
import subprocess

import pytest
import torch

from spikebert.kernels.build import FLAGS, SOURCES, compiler, library
from spikebert.kernels.ops import norm_lif, weight_gradient
from spikebert.models.neurons import SURROGATES, lif


def settings_grid():
    for reset in ("soft", "hard"):
        for decay_input in (False, True):
            for detach_reset in (True, False):
                yield {"reset": reset, "decay_input": decay_input, "detach_reset": detach_reset}


FULL = {
    "beta": 0.9,
    "threshold": 1.0,
    "reset": "soft",
    "decay_input": False,
    "detach_reset": True,
    "surrogate": "atan",
    "alpha": 2.0,
}
needs_compiler = pytest.mark.skipif(library() is None, reason="no compiler")


def random(*shape, seed, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def gradients(function, *inputs, grad):
    """Spikes, and the gradient of every input."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    spikes = function(*leaves)
    spikes.backward(grad)
    return spikes.detach(), [leaf.grad for leaf in leaves]


@needs_compiler
@pytest.mark.parametrize("settings", settings_grid())
@pytest.mark.parametrize("steps", [1, 2, 4, 7])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_fused_equals_plain_without_a_norm(settings, steps, surrogate):
    settings = {**FULL, **settings, "surrogate": surrogate}
    x, grad = random(steps, 13, 37, seed=5), random(steps, 13, 37, seed=6)
    ours = gradients(lambda c: norm_lif(c, **settings), x, grad=grad)
    plain = gradients(lambda c: lif(c, **settings)[0], x, grad=grad)
    assert torch.equal(ours[0], plain[0])  # the same sums in the same order
    torch.testing.assert_close(ours[1], plain[1], rtol=1e-5, atol=1e-6)


@needs_compiler
@pytest.mark.parametrize("settings", settings_grid())
@pytest.mark.parametrize(("given", "steps"), [(1, 1), (2, 2), (4, 4), (7, 7), (1, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_equals_plain_after_a_norm(settings, given, steps, dtype):
    settings = {**FULL, **settings}
    y, grad = random(given, 5, 13, 37, seed=7, dtype=dtype), random(steps, 5, 13, 37, seed=8)
    weight, bias = 1 + 0.3 * random(37, seed=9), 0.3 * random(37, seed=10)
    grad = grad.to(dtype)

    def plain(y, weight, bias):
        x = torch.nn.functional.layer_norm(y.float(), (37,), weight, bias)
        return lif(x.expand(steps, -1, -1, -1), **settings)[0].to(dtype)

    expected = gradients(plain, y, weight, bias, grad=grad)
    ours = gradients(
        lambda y, w, b: norm_lif(y, w, b, steps, **settings), y, weight, bias, grad=grad
    )
    assert ours[0].dtype == dtype
    assert torch.equal(ours[0], expected[0])  # no membrane is within rounding of the threshold here
    # a gradient of 8 bits for a bfloat16 input; the others are sums of 65 or more float32 products
    loose = (
        {"rtol": 1e-2, "atol": 1e-2} if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-5}
    )
    torch.testing.assert_close(ours[1][0], expected[1][0], **loose)
    torch.testing.assert_close(ours[1][1:], expected[1][1:], rtol=1e-4, atol=1e-4)


@needs_compiler
def test_fused_sums_do_not_depend_on_when_threads_end():
    y, grad = random(4, 91, 37, seed=11), random(4, 91, 37, seed=12)
    weight, bias = random(37, seed=13), random(37, seed=14)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        runs = [
            gradients(lambda *a: norm_lif(*a, **FULL), y, weight, bias, grad=grad) for _ in range(5)
        ]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for run in runs for a, b in zip(run[1], runs[0][1], strict=True))


@needs_compiler
def test_finite_differences_of_a_silent_layer():
    """Where nothing fires and the surrogate is flat, the gradient of the norm is the true one.

    With a rectangle of width 2 alpha^-1 around the threshold and no spike, dL/dx[t] is
    alpha sum_t' beta^(t'-t) dL/ds[t']; a loss of that form differentiates LN(y) alone.
    """
    settings = {**FULL, "surrogate": "rectangle", "alpha": 0.01, "threshold": 10.0}
    y, grad = random(3, 5, 7, seed=15), random(3, 5, 7, seed=16)
    weight, bias = random(7, seed=17), random(7, seed=18)
    spikes, (dy, *_) = gradients(lambda *a: norm_lif(*a, **settings), y, weight, bias, grad=grad)
    assert not spikes.any()
    decayed = torch.stack(
        [sum(0.9 ** (u - t) * grad[u] for u in range(t, 3)) for t in range(3)]
    ).double()

    def loss(y):
        x = torch.nn.functional.layer_norm(y, (7,), weight.double(), bias.double())
        return (0.01 * decayed * x).sum()

    eps, found = 1e-6, torch.zeros_like(y, dtype=torch.float64)
    for i in range(y.numel()):
        shift = torch.zeros(y.numel(), dtype=torch.float64)
        shift[i] = eps
        shift = shift.view_as(y)
        found.view(-1)[i] = (loss(y + shift) - loss(y - shift)) / (2 * eps)
    torch.testing.assert_close(dy.double(), found, rtol=1e-4, atol=1e-6)


@needs_compiler
def test_kernel_is_built_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.cache_clear()
    try:
        assert library() is not None
        (built,) = (tmp_path / "spikebert").glob("*.so")
        before = built.stat().st_mtime_ns
        library.cache_clear()
        assert library() is not None
        assert built.stat().st_mtime_ns == before
    finally:
        library.cache_clear()


def test_kernel_refuses_what_it_cannot_compute():
    with pytest.raises(
        ValueError, match=r"expected float32 or bfloat16 on the CPU, got torch\.int64"
    ):
        norm_lif(torch.ones(4, 3, dtype=torch.int64), **FULL)
    with pytest.raises(ValueError, match="expected 1 or 4 given, got 2"):
        norm_lif(torch.ones(2, 3), steps=4, **FULL)


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [1, 31, 32, 33, 300, 700])
@pytest.mark.parametrize(("outputs", "inputs"), [(32, 64), (160, 96), (256, 32), (48, 32), (7, 5)])
def test_gradient_of_a_weight(rows, outputs, inputs, threads):
    dy = random(rows, outputs, seed=20, dtype=torch.bfloat16)
    x = random(rows, inputs, seed=21, dtype=torch.bfloat16)
    exact = dy.double().T @ x.double()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = weight_gradient(dy, x)
    finally:
        torch.set_num_threads(before)
    # float32 sums of 24 bits from tiles, torch's rounded to 8 elsewhere
    loose = 1e-6 if found.dtype == torch.float32 else 1e-2
    torch.testing.assert_close(found.double(), exact, rtol=loose, atol=loose * rows**0.5)
    wide = weight_gradient(dy.float(), x.float())
    torch.testing.assert_close(wide.double(), exact, rtol=1e-5, atol=1e-6 * rows)


@pytest.fixture(scope="module")
def portable(tmp_path_factory):
    """The kernel as any processor of the family can run it."""
    target = tmp_path_factory.mktemp("kernel") / "portable.so"
    subprocess.run([compiler(), *FLAGS, *map(str, SOURCES), "-o", str(target)], check=True)
    return ctypes.CDLL(str(target))


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [37, 48])
def test_kernel_for_any_processor_is_the_same(portable, monkeypatch, dtype, width):
    y, grad = (random(4, 91, width, seed=s, dtype=dtype) for s in (22, 23))
    weight, bias = 1 + 0.3 * random(width, seed=24), 0.3 * random(width, seed=25)

    def run():
        return gradients(lambda *a: norm_lif(*a, **FULL), y, weight, bias, grad=grad)

    ours = run()
    monkeypatch.setattr("spikebert.kernels.ops.library", lambda: portable)
    theirs = run()
    assert torch.equal(ours[0], theirs[0])
    loose = 1e-5 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(ours[1], theirs[1], rtol=loose, atol=loose)
    assert not portable.has_tiles()
