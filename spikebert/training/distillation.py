"""The modules that a training step optimises: a classifier, a student beside its teacher, and a
teacher that is yet to be.

Their forward returns {"loss", "logits", named losses}; `training.fit` needs no more.
"""

from __future__ import annotations

import inspect
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from ..config.settings import DistillSettings, Stage2Settings
from ..errors import UserError
from ..models.modeling import SpikeBertPreTrainedModel
from ..models.students import (
    DenseStudent,
    as_spiking,
    choose_attention,
    identity_of,
    prepare_last_layer,
)
from .losses import LOSSES, Alignment, TeacherOutput, gold_loss, label_loss, logits_loss


class Classifier(nn.Module):
    """Any Hugging Face classifier under its labels alone: the teacher, the direct student.

    Only logits are read, so the last layer of a BERT is computed at the first token, unless it is
    to be `whole`: the same values.
    """

    def __init__(self, model: nn.Module, whole: bool = False):
        super().__init__()
        self.model = model
        bert = model.bert if isinstance(model, BertForSequenceClassification) else None
        first = not whole and bert is not None and prepare_last_layer(bert)
        self.reading = {"read_first": True} if first else {}

    def train(self, mode: bool = True) -> Self:
        choose_attention(self.model, mode)
        return super().train(mode)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        counted: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """ids, mask and, of pairs, types [B, N], labels [B] -> logits [B, C] and, with labels,
        the `gold_loss` of the rows that are counted [B]."""
        options = types_for(self.model, token_type_ids) | self.reading
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask, **options).logits
        if labels is None:
            return {"logits": logits}
        return {"loss": gold_loss(logits, labels, counted), "logits": logits}


class MaskedWords(BertForMaskedLM):
    """A BERT that learns to guess the words behind its masks.

    Its parent says a word for every token, and learns from the masked ones: here only they go on
    from the last layer's attention to the vocabulary, which is most of the work of a small model.
    The loss is the same.
    """

    def __init__(self, config: BertConfig):
        super().__init__(config)
        if not prepare_last_layer(self.bert):
            raise ValueError("MaskedWords: expected a BERT that reads both ways, got a decoder")

    def train(self, mode: bool = True) -> Self:
        choose_attention(self, mode)
        return super().train(mode)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """ids, mask and labels [B, N], -100 for what was not masked -> the mean cross-entropy."""
        words = labels.flatten()
        masked = (words >= 0).nonzero().squeeze(1)
        states = self.bert(input_ids, attention_mask, read_at=masked).last_hidden_state
        logits = self.cls(states).float()
        total = nn.functional.cross_entropy(logits, words[masked], reduction="sum")
        return {"loss": total / max(1, len(masked))}


def types_for(model: nn.Module, token_type_ids: Tensor | None) -> dict[str, Tensor]:
    """The argument that tells a model the sides of a pair; none for a model that takes none (the
    student, DistilBERT)."""
    if (
        token_type_ids is None
        or "token_type_ids" not in inspect.signature(model.forward).parameters
    ):
        return {}
    return {"token_type_ids": token_type_ids}


class Distillation(nn.Module):
    """A student, the projections of its losses, and a frozen teacher, which is not saved.

    Of stage 1, on unlabelled text, the loss is sigma_1 L_fea + sigma_2 L_emb; of stage 2, on
    augmented, labelled rows, all four.
    """

    student: SpikeBertPreTrainedModel | DenseStudent
    teacher: PreTrainedModel

    def __init__(
        self, student: PreTrainedModel, teacher: PreTrainedModel, settings: DistillSettings
    ):
        super().__init__()
        self.student, self.settings = as_spiking(student), settings
        self.alignment = Alignment(student.config, teacher.config, settings.ignored_layers)
        # Not a submodule: it has no place in a checkpoint.
        object.__setattr__(self, "teacher", teacher.eval().requires_grad_(False))

    def _apply(self, fn: Any, recurse: bool = True) -> Distillation:
        self.teacher._apply(fn)  # to the student's device
        return super()._apply(fn, recurse)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        labels: Tensor | None = None,
        states: tuple[Tensor | None, ...] | None = None,
        teacher_logits: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        counted: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """ids, mask [B, N], in stage 2 labels [B] with -100 (of scores NaN) for the teacher's, and
        what the teacher says, if it is cached (`teacher_cache`): hidden states by layer
        [B, N, D_teacher], logits -> losses of the rows that are counted [B], and with labels the
        logits. The types of a pair are for the teacher and for a dense student; a spiking one
        takes none.

        In evaluation the teacher is not asked: `gold_loss` is the loss.
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        types = types_for(self.student, token_type_ids)
        if labels is not None and not self.training:
            logits: Tensor = self.student(**inputs, **types).logits
            return {"loss": gold_loss(logits, labels), "logits": logits}
        if states is None:
            sides = types_for(self.teacher, token_type_ids)
            with torch.no_grad():
                answer = self.teacher(**inputs, **sides, output_hidden_states=True)
            states, teacher_logits = answer.hidden_states, answer.get("logits")
        out = self.student(**inputs, **types, output_hidden_states=True)
        mask = attention_mask if counted is None else attention_mask * counted.unsqueeze(1)
        losses = self.aligned(out, TeacherOutput(tuple(states), teacher_logits), mask)
        if labels is None:
            return {"loss": self.total(losses), **losses}
        assert teacher_logits is not None
        temperature = cast(Stage2Settings, self.settings).temperature
        losses["loss_logits"] = logits_loss(out.logits, teacher_logits, temperature, counted)
        losses["loss_ce"] = label_loss(out.logits, labels, teacher_logits, counted)
        return {"loss": self.total(losses), "logits": out.logits, **losses}

    def aligned(self, out: Any, said: TeacherOutput, mask: Tensor) -> dict[str, Tensor]:
        """L_emb, L_fea and the losses of plugins of a batch; one whose weight is 0 is not
        computed."""
        embedded, *features = cast("tuple[Tensor, ...]", said.states)
        losses = {}
        if self.settings.embedding_weight:
            losses["loss_embedding"] = self.alignment.embedding_loss(out.embeddings, embedded, mask)
        if self.settings.feature_weight:
            losses["loss_feature"] = self.alignment.feature_loss(out.hidden_states, features, mask)
        for name, weight in self.settings.losses.items():
            if weight:
                losses[f"loss_{name}"] = LOSSES[name](out, said, mask)
        return losses

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum; the weight of "loss_x" is the setting "x_weight" or "losses.x"."""
        weights = vars(self.settings) | {f"{n}_weight": w for n, w in self.settings.losses.items()}
        terms = (weights[f"{name[5:]}_weight"] * loss for name, loss in losses.items())
        return sum(terms, torch.zeros((), device=self.student.device))


def check_same_model(found: PreTrainedConfig, student: PreTrainedConfig, where: str) -> None:
    """A stage-1 student of another kind or of other settings than the run's is a `UserError`."""
    theirs, wanted = identity_of(found), identity_of(student)
    other = {name for name in wanted if theirs.get(name) != wanted[name]}
    if theirs["model_type"] != wanted["model_type"]:
        other = {"model_type"}
    if other:
        raise UserError(
            f"student in {where}",
            expected={name: wanted[name] for name in sorted(other)},
            got={name: theirs[name] for name in sorted(other)},
            fix="run stage 1 with the model settings of this run",
        )


@torch.no_grad()
def copy_embeddings(
    student: PreTrainedModel, teacher: PreTrainedModel, std: float | None, mean: float = 0.0
) -> None:
    """Start the student's word embeddings [V, D] as the teacher's [V, D_teacher].

    Where D < D_teacher only the D leading principal directions are kept. They are then rotated at
    random, so that all columns share the variance (a Heaviside encoder sees nothing but signs),
    scaled to `std`, or left in the teacher's scale where that is None, and centred on `mean`.
    """
    words = cast(nn.Embedding, teacher.get_input_embeddings()).weight.float()
    target = cast(nn.Embedding, student.get_input_embeddings()).weight
    if words.shape[0] != target.shape[0]:
        raise UserError(
            "vocabulary of the student",
            expected=f"{words.shape[0]} tokens, the teacher's",
            got=target.shape[0],
            fix="use the teacher's tokenizer",
        )
    centred = words - words.mean(0)
    width = target.shape[1]
    _, directions = torch.linalg.eigh(centred.T @ centred)  # ascending
    kept = centred @ directions[:, -width:]
    rotation, _ = torch.linalg.qr(torch.randn(width, kept.shape[1], device=kept.device))
    mixed = kept @ rotation.T
    target.copy_(mixed / mixed.std() * (words.std() if std is None else std) + mean)
    padding = student.config.pad_token_id
    if padding is not None:
        target[padding].zero_()
