"""The two kinds of student: the spiking one, and a dense BERT of its shape, which has learned
positions and BERT's own dropout (0.1) and is otherwise trained as the spiking one is."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import BertConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ..config.registry import SHAPE
from ..config.settings import ModelSettings
from .configuration import SpikeBertConfig
from .dense_bert import choose_attention
from .modeling import SpikeBertModel, SpikeBertOutput, SpikeBertPreTrainedModel


def new_student(
    model: ModelSettings, tokenizer: PreTrainedTokenizerBase, dense: bool = False, **labels: Any
) -> SpikeBertConfig | BertConfig:
    """The configuration of a student that reads with `tokenizer`."""
    words = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, **labels}
    if not dense:
        return SpikeBertConfig(**dataclasses.asdict(model), **words)
    return BertConfig(
        hidden_size=model.hidden_size,
        num_hidden_layers=model.num_hidden_layers,
        num_attention_heads=model.num_attention_heads,
        intermediate_size=round(model.mlp_ratio * model.hidden_size),
        max_position_embeddings=model.max_position_embeddings,
        **words,
    )


def check_student(model: ModelSettings) -> None:
    """Build a student as small as can be, so that what its neuron, surrogate, encoder or attention
    does not take is said before any data is read.

    Raises:
        UserError: one of them is unknown or takes other arguments, or spikingjelly is missing.
    """
    heads = model.num_attention_heads
    small = dataclasses.replace(
        model, hidden_size=heads, num_hidden_layers=1, max_position_embeddings=1, mlp_ratio=1.0
    )
    with torch.random.fork_rng(devices=[]):
        SpikeBertModel(SpikeBertConfig(**dataclasses.asdict(small), vocab_size=2))


def describe(model: ModelSettings, dense: bool) -> dict[str, Any]:
    """The settings of the model that a student of this kind depends on."""
    values = dataclasses.asdict(model)
    return {name: values[name] for name in SHAPE} if dense else values


def identity_of(config: PreTrainedConfig) -> dict[str, Any]:
    """What has to agree for one student's weights to be another's."""
    if isinstance(config, SpikeBertConfig):
        return {"model_type": config.model_type, **config.settings()}
    names = (*(name for name in SHAPE if name != "mlp_ratio"), "intermediate_size")
    return {"model_type": config.model_type, **{name: getattr(config, name) for name in names}}


class DenseStudent(nn.Module):
    """A dense BERT that answers as a spiking student of one time step does.

    Its embeddings are the output of its embedding layer, as the teacher's are in L_emb.
    """

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def train(self, mode: bool = True) -> Self:
        choose_attention(self.model, mode)
        return super().train(mode)

    @property
    def config(self) -> PreTrainedConfig:
        return self.model.config

    @property
    def device(self) -> torch.device:
        return self.model.device

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        output_hidden_states: bool = False,
        token_type_ids: Tensor | None = None,
    ) -> SpikeBertOutput:
        """ids, mask and, of pairs, types [B, N] -> logits [B, C], embeddings [B, N, D], a state
        [1, B, N, D] per layer; the last two where they are asked for."""
        out = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            output_hidden_states=output_hidden_states,
        )
        embeddings, *states = out.hidden_states or (None,)
        return SpikeBertOutput(
            logits=getattr(out, "logits", None),
            hidden_states=tuple(state[None] for state in states) or None,
            embeddings=embeddings,
        )


def as_spiking(student: PreTrainedModel) -> SpikeBertPreTrainedModel | DenseStudent:
    """The student under the interface of a spiking one."""
    return student if isinstance(student, SpikeBertPreTrainedModel) else DenseStudent(student)
