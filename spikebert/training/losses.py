"""The four losses of the distillation, and the projections that two of them need.

    L_emb    = mean over tokens of || E_teacher - MLP(E_student) ||^2 / D_teacher
    L_fea    = sum over aligned pairs (i, j) of
               mean over tokens of || F_teacher^j - LN(MLP(mean over T of F_student^i)) ||^2 / D_t
    L_logits = tau^2 KL(softmax(z_teacher / tau) || softmax(z_student / tau))
    L_ce     = cross-entropy with the gold label, or the teacher's on augmented rows

Of a score (one output) in place of classes both are mean squared errors: L_logits to the teacher's
score, since KL has no meaning for one number, and L_ce to the gold one.

Padding is left out of every mean, and so are rows that are not `counted` [B], of a batch that is
shared by several processes; a mean is over the rows or tokens of all shares (`distributed`). The
projections belong to the losses: they are saved between the stages and are no part of the final
model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedConfig

from ..config.plugins import register
from ..models.modeling import gold_loss, row_mean, squared_error
from ..utils.distributed import global_mean


class TeacherOutput(NamedTuple):
    """What the teacher says of a batch."""

    states: tuple[Tensor | None, ...]
    """[B, N, D_teacher] of its embeddings and each layer; None of one that L_fea does not use,
    where the teacher's answers are cached"""
    logits: Tensor | None
    """[B, C]; None in stage 1"""


# Of plugins, by name. (student, teacher, mask [B, N]) -> a scalar; the student's output is a
# `SpikeBertOutput` with embeddings and hidden states, and the mask is 0 at padding.
Loss = Callable[[Any, TeacherOutput, Tensor], Tensor]
LOSSES: dict[str, Loss] = {}
OURS = ("embedding", "feature", "logits", "ce")


def register_loss(name: str, function: Loss) -> None:
    """Let `losses: {<name>: weight}` of a distillation add a loss, which leaves out padding."""
    register("loss", LOSSES, name, function, taken=OURS)


def align(student_layers: int, teacher_layers: int, ignored: int = 0) -> list[tuple[int, int]]:
    """Pairs (student layer i, teacher layer ceil(i B / M)), counted from 1; the last is always
    aligned with the last. The first `ignored` student layers are left out.

    >>> align(4, 6)
    [(1, 2), (2, 3), (3, 5), (4, 6)]
    """
    if not 0 <= ignored < student_layers:
        raise ValueError(
            f"ignored layers: expected 0 to {student_layers - 1} of {student_layers} student "
            f"layers, got {ignored}; lower ignored_layers or make the student deeper"
        )
    pairs = [(i, -(-i * teacher_layers // student_layers)) for i in range(1, student_layers + 1)]
    return pairs[ignored:]


def masked_mse(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared distance over the tokens of mask [B, N]; both [B, N, D_teacher]."""
    if student.shape != teacher.shape:
        raise ValueError(
            f"features: expected equal shapes [B, N, D], got {tuple(student.shape)} from the "
            f"student's projection and {tuple(teacher.shape)} from the teacher; was the "
            "projection built for this teacher?"
        )
    distance = (student.float() - teacher.float()).square().mean(-1)
    weight = mask.to(distance.dtype)
    return (distance * weight).sum() / global_mean(weight.sum()).clamp_min(1)


class Mlp(nn.Sequential):
    """Linear, GELU, Linear: from the student's width to the teacher's."""

    def __init__(self, student: int, teacher: int):
        super().__init__(nn.Linear(student, teacher), nn.GELU(), nn.Linear(teacher, teacher))


class Alignment(nn.Module):
    """L_emb and L_fea, with their projections as its only parameters."""

    def __init__(
        self, student: PreTrainedConfig, teacher: PreTrainedConfig, ignored_layers: int = 0
    ):
        super().__init__()
        widths = (student.hidden_size, teacher.hidden_size)
        layers = (student.num_hidden_layers, teacher.num_hidden_layers)
        self.pairs = align(*layers, ignored_layers)
        self.embedding = Mlp(*widths)
        self.features = nn.ModuleDict(
            {str(i): nn.Sequential(Mlp(*widths), nn.LayerNorm(widths[1])) for i, _ in self.pairs}
        )

    def embedding_loss(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """Token embeddings [B, N, D] and [B, N, D_teacher] -> L_emb."""
        return masked_mse(self.embedding(student), teacher, mask)

    def feature_loss(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor
    ) -> Tensor:
        """Per block [T, B, N, D], per teacher layer [B, N, D_teacher] -> L_fea.

        `teacher` holds its layers only, without the embedding output that transformers puts first.
        """
        losses = [
            masked_mse(self.features[str(i)](student[i - 1].mean(0)), teacher[j - 1], mask)
            for i, j in self.pairs
        ]
        return torch.stack(losses).sum()


def logits_loss(
    student: Tensor, teacher: Tensor, temperature: float = 1.0, counted: Tensor | None = None
) -> Tensor:
    """KL(teacher || student) of logits [B, C], times temperature^2 (Hinton et al., 2015); of scores
    [B, 1] the mean squared distance, at any temperature."""
    if student.shape[-1] == 1:
        return squared_error(student.squeeze(-1), teacher.squeeze(-1), counted)
    log_p = F.log_softmax(student.float() / temperature, -1)
    log_q = F.log_softmax(teacher.float() / temperature, -1)
    if counted is None:
        divergence = F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
    else:
        rows = F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(-1)
        divergence = row_mean(rows, counted)
    return divergence * temperature**2


def label_loss(
    student: Tensor, labels: Tensor, teacher: Tensor, counted: Tensor | None = None
) -> Tensor:
    """`gold_loss` of logits [B, C] with labels [B]; -100 stands for the teacher's class, NaN for
    its score."""
    if student.shape[-1] == 1:
        scores = torch.where(labels.isnan(), teacher.squeeze(-1).to(labels.dtype), labels)
        return gold_loss(student, scores, counted)
    labels = torch.where(labels < 0, teacher.argmax(-1), labels)
    return gold_loss(student, labels, counted)
