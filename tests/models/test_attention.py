"""Spiking self-attention: both orders, the mask, and an independent product."""

import pytest
import torch

from spikebert.kernels.build import library
from spikebert.models.attention import SpikingSelfAttention, product
from spikebert.models.flops import product_macs
from spikebert.models.fuse import fire_projection, fuse
from spikebert.models.neurons import LIF


def spikes(*shape, rate=0.3, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


@pytest.mark.parametrize("tokens", [1, 7, 37])
def test_orders_are_equal_exactly(tokens):
    q, k, v = (spikes(2, 3, 2, tokens, 13, seed=s) for s in range(3))
    by_tokens, by_width = product(q, k, v, "qk_first"), product(q, k, v, "kv_first")
    assert torch.equal(by_tokens, by_width)
    assert torch.equal(by_tokens, product(q, k, v))
    assert torch.equal(by_tokens, torch.einsum("tbhnd,tbhmd,tbhme->tbhne", q, k, v))


def test_auto_takes_the_order_with_fewer_products():
    assert product_macs(7, 37) == {"qk_first": 2 * 49 * 37, "kv_first": 2 * 7 * 1369}
    macs = product_macs(128, 64)
    assert macs["kv_first"] < macs["qk_first"]


def attention(order="auto"):
    torch.manual_seed(0)
    return SpikingSelfAttention(26, 2, lambda threshold: LIF(threshold=threshold), order=order)


def test_padding_changes_nothing():
    module = attention()
    x = spikes(4, 3, 7, 26)
    alone = module(x)
    padded = torch.cat([x, spikes(4, 3, 5, 26, rate=0.9, seed=1)], 2)
    mask = torch.cat([torch.ones(3, 7), torch.zeros(3, 5)], 1)
    torch.testing.assert_close(module(padded, mask)[:, :, :7], alone, rtol=0, atol=1e-5)


def test_one_step_stands_for_equal_steps():
    module = attention()
    x = spikes(1, 3, 7, 26)
    assert torch.equal(module(x.expand(4, -1, -1, -1)), module(x.repeat(4, 1, 1, 1)))


def test_orders_agree_in_the_module():
    x = spikes(4, 3, 7, 26)
    assert torch.equal(attention("qk_first")(x), attention("kv_first")(x))


def fused_and_plain(given, steps, dtype, heads, width=15):
    """[out, gradients] of an attention layer with padding and a residual, fused and plain, on
    `given` steps, which are `steps` equal ones if they are fewer."""
    found = []
    for fused in (True, False):
        torch.manual_seed(3)
        attention = SpikingSelfAttention(width, heads, lambda threshold: LIF(threshold=threshold))
        neuron = LIF()
        fuse(attention, fused)
        for module in attention.modules():
            if isinstance(module, torch.nn.Linear) and dtype == torch.bfloat16:
                torch.nn.init.zeros_(module.bias)  # added before or after rounding: see below
        leaf = (torch.rand(given, 5, 7, width) < 0.5).float().to(dtype).requires_grad_()
        x = leaf.expand(steps, -1, -1, -1)
        mask = (torch.arange(7) < torch.tensor([7, 3, 1, 6, 5])[:, None]).long()
        grad = torch.randn(steps, 5, 7, width)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            if fused:
                out = fire_projection(attention.context(x, mask), attention.output, neuron, x)
            else:
                out = x + neuron(attention(x, mask))[0]
        out.backward(grad.to(out.dtype))
        named = attention.named_parameters()
        found.append([out.detach(), {"x": leaf.grad, **{n: p.grad for n, p in named}}])
    return found


@pytest.mark.skipif(library() is None, reason="no compiler")
@pytest.mark.parametrize(("given", "steps"), [(1, 1), (2, 2), (4, 4), (7, 7), (1, 4)])
@pytest.mark.parametrize("heads", [1, 3])
def test_fused_equals_plain(given, steps, heads):
    (ours, gradients), (plain, expected) = fused_and_plain(given, steps, torch.float32, heads)
    assert torch.equal(ours, plain)
    for name, value in expected.items():
        torch.testing.assert_close(gradients[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.skipif(library() is None, reason="no compiler")
@pytest.mark.parametrize(("given", "steps"), [(1, 1), (2, 2), (4, 4), (7, 7), (1, 4)])
def test_fused_is_near_plain_in_bfloat16(given, steps):
    """Products of 8 bits round differently in one product and in three; a spike that hangs on it
    may differ. The plain form also normalises in bfloat16, the fused one in float32."""
    (ours, gradients), (plain, expected) = fused_and_plain(given, steps, torch.bfloat16, 3)
    assert ours.dtype == plain.dtype == torch.bfloat16
    assert (ours != plain).float().mean() < 0.01
    for name, value in expected.items():
        if not name.endswith("linear.bias"):  # before a norm it hardly matters: mostly rounding
            likeness = torch.cosine_similarity(gradients[name].flatten(), value.flatten(), 0)
            assert likeness > 0.98, (name, likeness)
