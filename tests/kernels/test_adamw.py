"""AdamW by rows: torch's values, whenever its rows are brought up to date."""

import copy

import pytest
import torch
from torch import Tensor, nn

from spikebert.kernels.ops import library
from spikebert.training.table_adamw import TableAdamW, clip_grad_norm, tables_of

pytestmark = pytest.mark.skipif(library() is None, reason="no C++ compiler")

SETTINGS = {"lr": 3e-3, "weight_decay": 0.01, "betas": (0.9, 0.98), "eps": 1e-8}


class Words(nn.Module):
    """A table of 1,200 words, of a width that no vector divides, and a linear layer."""

    def __init__(self, width: int = 37):
        super().__init__()
        self.table = nn.Embedding(1200, width, padding_idx=0)
        self.head = nn.Linear(width, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.table(ids).mean(1).tanh())


def model_of(seed: int = 0, width: int = 37) -> Words:
    torch.manual_seed(seed)
    return Words(width)


def batches(steps: int, seed: int = 1) -> list[tuple[Tensor, Tensor]]:
    """Ids of which some come often, some once, most never, and the answers wanted."""
    draw = torch.Generator().manual_seed(seed)
    return [
        (
            (torch.rand(8, 5, generator=draw) ** 3 * 600).long(),
            torch.randint(3, (8,), generator=draw),
        )
        for _ in range(steps)
    ]


def by_rows(model: Words) -> TableAdamW:
    return TableAdamW(model.parameters(), tables=tables_of(model), **SETTINGS)


def train(
    model: nn.Module, optimiser: torch.optim.Optimizer, seen: list, clip: float = 0.05
) -> list[float]:
    """Updates with a rate that changes; the norms of the gradients."""
    norms = []
    for ids, wanted in seen:
        for group in optimiser.param_groups:
            group["lr"] *= 0.99
        nn.functional.cross_entropy(model(ids), wanted).backward()
        norms.append(clip_grad_norm(model.parameters(), clip).item())
        optimiser.step()
        optimiser.zero_grad()
    return norms


@pytest.mark.parametrize("width", [1, 37, 128])
def test_values_are_those_of_torch(width: int) -> None:
    ours, plain = model_of(width=width), model_of(width=width)
    optimiser, twin = by_rows(ours), torch.optim.AdamW(plain.parameters(), **SETTINGS)
    assert train(ours, optimiser, batches(60)) == pytest.approx(train(plain, twin, batches(60)))
    found, expected = optimiser.state_dict(), twin.state_dict()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name], rtol=2e-6, atol=2e-6)
    assert found["param_groups"] == expected["param_groups"]
    for number, state in expected["state"].items():
        assert found["state"][number].keys() == state.keys()
        for name, value in state.items():
            torch.testing.assert_close(found["state"][number][name], value, rtol=1e-4, atol=1e-7)


def test_bits_do_not_depend_on_when_rows_are_brought_up_to_date() -> None:
    waiting, hurried = model_of(), model_of()
    first, second = by_rows(waiting), by_rows(hurried)
    for batch in batches(40):
        train(waiting, first, [batch])
        train(hurried, second, [batch])
        second.catch_up()
    for a, b in zip(waiting.state_dict().values(), hurried.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_state_goes_on_where_it_was_saved(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model = model_of()
        optimiser = by_rows(model)
        train(model, optimiser, batches(20))
        resumed = model_of(seed=5)
        resumed.load_state_dict(copy.deepcopy(model.state_dict()))
        again = by_rows(resumed)
        again.load_state_dict(copy.deepcopy(optimiser.state_dict()))
        for trained, by in ((model, optimiser), (resumed, again)):
            train(trained, by, batches(20, seed=2))
            by.release()
    finally:
        torch.set_num_threads(before)
    assert torch.equal(model.table.weight, resumed.table.weight)
    assert not model.table.sparse
    assert not model.table._forward_pre_hooks


def test_torch_goes_on_from_its_state() -> None:
    model, plain = model_of(), model_of()
    optimiser, twin = by_rows(model), torch.optim.AdamW(plain.parameters(), **SETTINGS)
    train(model, optimiser, batches(10))
    train(plain, twin, batches(10))
    twin.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    for trained, by in ((model, optimiser), (plain, twin)):
        train(trained, by, batches(10, seed=2))
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=2e-6, atol=2e-6)


def test_weights_that_are_loaded_miss_no_step() -> None:
    model = model_of()
    optimiser = by_rows(model)
    train(model, optimiser, batches(10))
    best = copy.deepcopy(model.state_dict())
    train(model, optimiser, batches(10, seed=2))
    model.load_state_dict(best)
    model(torch.arange(1200)[None])
    assert torch.equal(model.table.weight, best["table.weight"])


def test_a_step_without_a_gradient_leaves_the_table_alone() -> None:
    model = model_of()
    optimiser = by_rows(model)
    before = model.table.weight.clone()
    optimiser.step()
    optimiser.catch_up()
    assert torch.equal(model.table.weight, before)


def test_tables_that_must_stay_dense() -> None:
    model = model_of()
    assert tables_of(model) == [model.table]
    model.tied = nn.Linear(37, 1200)
    model.tied.weight = model.table.weight
    assert tables_of(model) == []
    assert tables_of(nn.Embedding(999, 4)) == []
    assert tables_of(nn.Embedding(1200, 4, max_norm=1.0)) == []
    assert tables_of(nn.Embedding(1200, 4).to(torch.float64)) == []
    assert tables_of(nn.Embedding(1200, 4).requires_grad_(False)) == []
