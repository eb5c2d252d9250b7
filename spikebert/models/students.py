"""The two kinds of student: the spiking one, and a dense BERT of its shape, which has learned
positions and BERT's own dropout (0.1) and is otherwise trained as the spiking one is.

A dense BERT, student or teacher, trains at less cost with the same values and gradients. Its last
layer is computed only where it is read. A classifier reads the first token, a masked language model
the words behind its masks. Of the other tokens such a state needs keys and values alone: all
products after attention are left out for them and, where only the first token is read, queries.

Its attention is the one that is faster: PyTorch's fused attention has no dropout on a processor,
and a training step by products and a softmax takes 3 to 13 % less time than by what it then falls
back to.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.bert.modeling_bert import BertCrossAttention, BertLayer

from ..config.registry import SHAPE
from ..config.settings import ModelSettings
from .configuration import SpikeBertConfig
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


attend: Any = BertCrossAttention.forward  # it uses nothing that self-attention lacks


class LastLayer(BertLayer):
    """A layer of the same weights, which is whole unless a call says where it is read."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        *others: Any,
        read_first: bool = False,
        read_at: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """States [B, N, D] and mask [B, 1, N or 1, N] -> [B, N, D]; with `read_first` those of the
        first token, [B, 1, D]; with `read_at` [M], numbers of tokens from 0 to B N - 1, [M, D]."""
        if read_first:
            tokens = hidden_states[:, :1]
            mask = None if attention_mask is None else attention_mask[:, :, :1]
            context = attend(self.attention.self, tokens, hidden_states, mask, **kwargs)[0]
        elif read_at is not None:
            tokens = hidden_states.flatten(0, 1).index_select(0, read_at)
            context = self.attention.self(hidden_states, attention_mask, **kwargs)[0]
            context = context.flatten(0, 1).index_select(0, read_at)
        else:
            whole: Tensor = super().forward(hidden_states, attention_mask, *others, **kwargs)
            return whole
        read: Tensor = self.feed_forward_chunk(self.attention.output(context, tokens))
        return read


def prepare_last_layer(bert: BertModel) -> bool:
    """Let calls of this BERT say where its last layer is read; False for one that is left as it
    is, a decoder. Its weights, their names and what it says without being told stay the same."""
    layers = bert.encoder.layer
    if bert.config.is_decoder or not layers or type(layers[-1]) not in (BertLayer, LastLayer):
        return False
    layers[-1].__class__ = LastLayer
    return True


def choose_attention(model: nn.Module, training: bool) -> None:
    """Let a dense model attend by products and a softmax ("eager") where it is trained on a
    processor, and by PyTorch's fused attention ("sdpa") elsewhere; others are left as they are."""
    if not isinstance(model, PreTrainedModel) or not model._supports_sdpa:
        return
    wanted = "eager" if training and model.device.type == "cpu" else "sdpa"
    if model.config._attn_implementation != wanted:
        model.set_attn_implementation(wanted)


class DenseStudent(nn.Module):
    """A dense BERT that answers as a spiking student of one time step does.

    Its embeddings are the output of its embedding layer, as the teacher's are in L_emb.
    """

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model, self.config = model, model.config

    def train(self, mode: bool = True) -> Self:
        choose_attention(self.model, mode)
        return super().train(mode)

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
