"""Spiking self-attention: both orders, the mask, and an independent product."""

import pytest
import torch

from spikebert.attention import SpikingSelfAttention, product, product_macs
from spikebert.neurons import LIF


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
    assert torch.equal(module(x, timesteps=4), module(x.expand(4, -1, -1, -1)))


def test_orders_agree_in_the_module():
    x = spikes(4, 3, 7, 26)
    assert torch.equal(attention("qk_first")(x), attention("kv_first")(x))
