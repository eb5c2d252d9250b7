"""The loss of a classifier, or of scores, under gold labels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..utils.distributed import global_mean


def row_mean(values: Tensor, counted: Tensor) -> Tensor:
    """Mean of values [B] over the rows of all shares that are counted [B]."""
    weight = counted.to(values.dtype)
    return (values * weight).sum() / global_mean(weight.sum()).clamp_min(1)


def gold_loss(logits: Tensor, labels: Tensor, counted: Tensor | None = None) -> Tensor:
    """Cross-entropy of logits [B, C] with classes [B], or the mean squared error of [B, 1] with
    scores [B]."""
    if logits.shape[-1] == 1:
        return squared_error(logits.squeeze(-1), labels, counted)
    if counted is None:
        return F.cross_entropy(logits.float(), labels)
    return row_mean(F.cross_entropy(logits.float(), labels, reduction="none"), counted)


def squared_error(scores: Tensor, wanted: Tensor, counted: Tensor | None) -> Tensor:
    """Mean squared error of scores [B]."""
    if counted is None:
        return F.mse_loss(scores.float(), wanted.float())
    return row_mean((scores.float() - wanted.float()).square(), counted)
