"""The losses against values worked out by hand."""

import math

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from spikebert.config import plugins
from spikebert.config.settings import Stage2Settings
from spikebert.errors import UserError
from spikebert.training import losses
from spikebert.training.distillation import Distillation
from spikebert.training.losses import (
    Alignment,
    align,
    label_loss,
    logits_loss,
    masked_mse,
    register_loss,
)


@pytest.mark.parametrize(
    ("student", "teacher", "pairs"),
    [
        (4, 6, [(1, 2), (2, 3), (3, 5), (4, 6)]),
        (12, 12, [(i, i) for i in range(1, 13)]),
        (6, 12, [(i, 2 * i) for i in range(1, 7)]),
        (4, 2, [(1, 1), (2, 1), (3, 2), (4, 2)]),
    ],
)
def test_layers_align_and_the_last_with_the_last(student, teacher, pairs):
    assert align(student, teacher) == pairs
    assert align(student, teacher, ignored=2) == pairs[2:]


def test_too_many_ignored_layers():
    with pytest.raises(ValueError, match="expected 0 to 3 of 4 student layers, got 4"):
        align(4, 6, ignored=4)


def test_masked_mse_by_hand():
    student = torch.tensor([[[1.0, 3.0], [0.0, 0.0]], [[2.0, 2.0], [9.0, 9.0]]])
    teacher = torch.zeros(2, 2, 2)
    mask = torch.tensor([[1, 1], [1, 0]])
    # token means of squares: 5, 0, 4; the padded 81 is left out
    assert masked_mse(student, teacher, mask).item() == pytest.approx(3.0)


def test_masked_mse_names_both_shapes():
    with pytest.raises(ValueError, match=r"\(1, 2, 3\).*\(1, 2, 4\)"):
        masked_mse(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4), torch.ones(1, 2))


def test_logits_loss_by_hand():
    student = torch.tensor([[0.0, 0.0]])
    teacher = torch.tensor([[math.log(3.0), 0.0]])
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert logits_loss(student, teacher).item() == pytest.approx(expected, rel=1e-6)
    assert logits_loss(teacher, teacher, temperature=4.0).item() == pytest.approx(0, abs=1e-7)


def test_temperature_keeps_the_size_of_gradients():
    """T^2 KL(T) of close logits does not depend on T, to first order."""
    teacher = torch.tensor([[1.0, -1.0, 0.5]])
    near = teacher + torch.tensor([[0.5, -0.5, 0.0]])
    hot, hotter = (logits_loss(near, teacher, t).item() for t in (20.0, 40.0))
    assert hot == pytest.approx(hotter, rel=0.05)


def test_label_loss_asks_the_teacher_on_augmented_rows():
    student = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    teacher = torch.tensor([[5.0, 0.0], [0.0, 5.0]])
    given = label_loss(student, torch.tensor([0, -100]), teacher)
    expected = torch.nn.functional.cross_entropy(student, torch.tensor([0, 1]))
    assert torch.equal(given, expected)


def test_alignment_leaves_padding_out_and_sums_over_pairs():
    torch.manual_seed(0)
    alignment = Alignment(
        BertConfig(hidden_size=13, num_hidden_layers=2, num_attention_heads=1),
        BertConfig(hidden_size=7, num_hidden_layers=3, num_attention_heads=1),
    )
    student = [torch.randn(4, 2, 5, 13) for _ in range(2)]
    teacher = [torch.randn(2, 5, 7) for _ in range(3)]
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    loss = alignment.feature_loss(student, teacher, mask)
    parts = sum(
        masked_mse(alignment.features[str(i)](student[i - 1].mean(0)), teacher[j - 1], mask)
        for i, j in ((1, 2), (2, 3))
    )
    torch.testing.assert_close(loss, parts)
    for x in student:
        x[:, 0, 3:] += 10
    assert torch.equal(alignment.feature_loss(student, teacher, mask), loss)


def test_a_loss_of_ones_own_is_weighed_and_leaves_out_what_is_not_counted(monkeypatch):
    monkeypatch.setattr(losses, "LOSSES", {})
    monkeypatch.setattr("spikebert.training.distillation.LOSSES", losses.LOSSES)
    monkeypatch.setattr(plugins, "_FILES", {})

    def tokens(student, teacher, mask):
        """Those of the batch, times the classes of both."""
        return mask.sum() * student.logits.shape[-1] * teacher.logits.shape[-1]

    register_loss("tokens", tokens)
    with pytest.raises(UserError, match="loss feature of"):
        register_loss("feature", tokens)
    config = BertConfig(
        vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, num_labels=2
    )
    student, teacher = (BertForSequenceClassification(config) for _ in range(2))
    settings = Stage2Settings(losses={"tokens": 0.5})
    module = Distillation(student, teacher, settings).train()
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    out = module(
        torch.ones(2, 3, dtype=torch.long),
        mask,
        labels=torch.tensor([0, 1]),
        counted=torch.tensor([1, 0]),
    )
    assert out["loss_tokens"] == 2 * 2 * 2  # of the first row alone
    ours = {"feature": 0.1, "embedding": 0.1, "logits": 1.0, "ce": 0.1}  # the defaults
    total = sum(weight * out[f"loss_{name}"] for name, weight in ours.items())
    torch.testing.assert_close(out["loss"], total + 0.5 * out["loss_tokens"])
