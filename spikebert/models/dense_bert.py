"""A dense BERT at less cost: the same values and gradients.

Its last layer is computed only where it is read. A classifier reads the first token, a masked
language model the words behind its masks. Of the other tokens such a state needs keys and values
alone: all products after attention are left out for them and, where only the first token is read,
queries.

Its attention is the one that is faster: PyTorch's fused attention has no dropout on a processor,
and a training step by products and a softmax takes 3 to 13 % less time than by what it then falls
back to.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import BertModel, PreTrainedModel
from transformers.models.bert.modeling_bert import BertCrossAttention, BertLayer

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
