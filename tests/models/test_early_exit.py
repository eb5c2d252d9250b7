"""Early exit: the steps that are run are those of the whole model, and no other."""

import pytest
import torch

from spikebert.analysis.early_exit import exit_curve, exit_early
from spikebert.errors import UserError
from spikebert.models.configuration import SpikeBertConfig
from spikebert.models.fuse import PLAIN, fuse
from spikebert.models.modeling import SpikeBertForSequenceClassification

VARIANTS = [
    {},
    {"encoder": "lif", "position": "learned"},
    {"residual": "membrane", "reset": "hard", "decay_input": True},
]


def student(**settings):
    torch.manual_seed(0)
    shape = {"hidden_size": 26, "num_hidden_layers": 2, "num_attention_heads": 2, "timesteps": 5}
    config = SpikeBertConfig(vocab_size=37, num_labels=3, **shape, **settings)
    return SpikeBertForSequenceClassification(config).eval()


def batch():
    ids = torch.randint(1, 37, (7, 13), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(13) < torch.tensor([13, 2, 9, 1, 5, 12, 7])[:, None]).long()
    return ids * mask, mask


@pytest.mark.parametrize("settings", VARIANTS)
def test_never_exiting_gives_the_whole_model(settings):
    model, (ids, mask) = student(**settings), batch()
    fuse(model)  # put aside for the single steps, which need the states
    logits, used = exit_early(model, ids, mask, margin=2.0)
    assert used.tolist() == [5] * 7
    assert any(type(module) in PLAIN for module in model.modules())
    fuse(model, fast=False)
    with torch.no_grad():
        torch.testing.assert_close(logits, model(ids, mask).logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("settings", VARIANTS)
def test_rows_stop_at_the_first_clear_mean(settings):
    model, (ids, mask) = student(**settings), batch()
    with torch.no_grad():
        steps = model(ids, mask).step_logits
    means = steps.cumsum(0) / torch.arange(1, 6)[:, None, None]
    best = means.softmax(-1).topk(2).values
    gaps = best[..., 0] - best[..., 1]  # [T, B]
    margin = gaps[1].median().item()  # some rows stop before the second step, some after
    clear = gaps >= margin
    clear[-1] = True
    expected = clear.int().argmax(0)
    assert len(set(expected.tolist())) > 1
    logits, used = exit_early(model, ids, mask, margin)
    assert used.tolist() == (expected + 1).tolist()
    torch.testing.assert_close(logits, means[expected, torch.arange(7)], rtol=1e-5, atol=1e-6)


def test_margin_zero_is_one_step():
    model, (ids, mask) = student(), batch()
    assert exit_early(model, ids, mask, 0.0)[1].tolist() == [1] * 7


def test_curve_counts_steps_and_right_answers():
    model, (ids, mask) = student(), batch()
    with torch.no_grad():
        labels = model(ids, mask).logits.argmax(-1)
    examples = [
        {"input_ids": i[:n], "attention_mask": m[:n], "labels": label}
        for i, m, n, label in zip(ids, mask, mask.sum(1), labels, strict=True)
    ]

    def collate(rows):
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    first, last = exit_curve(model, examples, collate, (0.0, 2.0))
    assert (first.mean_steps, last.mean_steps) == (1, 5)
    assert last.accuracy == 1
    assert first.ms_per_sentence > 0


def test_a_model_without_neurons_is_refused():
    with pytest.raises(UserError, match="a student with spiking neurons"):
        exit_early(torch.nn.ReLU(), *batch(), margin=1.0)
