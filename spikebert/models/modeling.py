"""The spiking student: embedding -> spikes -> blocks -> head, as Hugging Face classes.

    X_0 = spikes of the word embedding, [T, B, N, D]
    X'  = X + SN(LN(SSA(X)))              residual: add (Spikformer; the stream holds counts)
    X   = X' + SN(LN(W_2 SN(LN(W_1 X'))))
    logits = mean over T of W mean over tokens of LN(X)

With `residual: membrane` the stream holds currents instead, every linear layer of a block sees
binary spikes, and each sub-block adds its current: X' = X + SSA(SN(X)), X = X' + MLP(SN(X')).

Inside, time is the first axis; ids and logits are [B, N] and [B, C], as everywhere in transformers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import ModelOutput

from ..config.plugins import claim, part, register
from ..errors import UserError
from ..utils.distributed import global_mean
from .attention import Projection, SpikingSelfAttention
from .configuration import SpikeBertConfig
from .neurons import ReLU, Spiking, State, build_neuron, spike


@dataclass
class SpikeBertOutput(ModelOutput):
    """What a student returns; T time steps, B batch, N tokens, D width, C classes."""

    loss: Tensor | None = None
    logits: Tensor | None = None  # [B, C], the mean over time
    step_logits: Tensor | None = None  # [T, B, C]
    last_hidden_state: Tensor | None = None  # [T, B, N, D]
    hidden_states: tuple[Tensor, ...] | None = None  # one [T, B, N, D] per block
    embeddings: Tensor | None = None  # [B, N, D], before they become spikes
    state: State | None = None  # of the neurons after the last step, where it was asked for


class Current(nn.Module):
    """No spikes: the embeddings themselves, at every step."""

    def forward(self, x: Tensor, _: Any = None) -> tuple[Tensor, None]:
        """x [T, ...] as it is."""
        return x, None


# What turns the current of the embeddings into spikes: a neuron of a configuration, or None for the
# Heaviside function.
ENCODERS: dict[str, Callable[[SpikeBertConfig], nn.Module | None]] = {
    "heaviside": lambda _: None,
    "lif": lambda config: build_neuron(config, config.threshold),
    "current": lambda _: Current(),
}
ATTENTIONS: dict[str, Callable[..., nn.Module]] = {"spiking": SpikingSelfAttention}


def register_encoder(name: str, encoder: Callable[[SpikeBertConfig], nn.Module]) -> None:
    """Let `model.encoder: <name>` select what is called as a neuron is: encoder(config)."""
    register("encoder", ENCODERS, name, encoder)


def register_attention(name: str, attention: Callable[..., nn.Module]) -> None:
    """Let `model.attention: <name>` select what is built and called as `SpikingSelfAttention`."""
    register("attention", ATTENTIONS, name, attention)


def sinusoids(tokens: int, width: int) -> Tensor:
    """Vaswani et al. (2017), 3.5: sines in the even columns, cosines in the odd, [N, D]."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angles = torch.arange(tokens)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width]


class Positions(nn.Embedding):
    """A table of learned positions, added to the words: about 0 at first, whatever these are."""


class SpikeBertEmbeddings(Spiking, nn.Module):
    """Word embedding, optional position signal, and their spikes."""

    def __init__(self, config: SpikeBertConfig):
        super().__init__()
        self.timesteps = config.timesteps
        self.word_embeddings = nn.Embedding(
            config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id
        )
        self.position = config.position
        if config.position == "learned":
            self.position_embeddings = Positions(config.max_position_embeddings, config.hidden_size)
        self.surrogate = config.surrogate, config.surrogate_alpha
        self.neuron = part("encoder", config.encoder, ENCODERS)(config)
        self.longest = config.max_position_embeddings

    def positions(self, x: Tensor) -> Tensor:
        """The position signal of embeddings x [B, N, D], as [N, D] or 0."""
        tokens = x.shape[1]
        if self.position == "none":
            return x.new_zeros(())
        if tokens > self.longest:
            raise UserError(
                "sequence length",
                expected=f"at most {self.longest} tokens (model.max_position_embeddings)",
                got=tokens,
                fix="truncate the text, or train with a larger max_position_embeddings",
            )
        if self.position == "learned":
            return self.position_embeddings.weight[:tokens]
        return sinusoids(tokens, x.shape[2]).to(x)

    def forward(
        self,
        input_ids: Tensor | None,
        timesteps: int | None = None,
        state: State | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """ids [B, N], or embeddings in their place -> word embeddings [B, N, D], and spikes
        [T, B, N, D] for the configured T or `timesteps`. Those that are the same at every step are
        one in memory."""
        steps = self.timesteps if timesteps is None else timesteps
        words = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        x = (words + self.positions(words))[None]
        if self.neuron is None:
            x = spike(x, *self.surrogate)
        else:
            x = self.fire(self.neuron, x.expand(steps, -1, -1, -1), state)
        real = isinstance(self.neuron, Current | ReLU)
        if torch.is_autocast_enabled(x.device.type) and not real:  # spikes are exact in it
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return words, x.expand(steps, -1, -1, -1)


class SpikingMlp(Spiking, nn.Module):
    """LN(SN(LN(X W_1)) W_2): a current, as the attention's output is."""

    def __init__(self, config: SpikeBertConfig):
        super().__init__()
        inner = round(config.mlp_ratio * config.hidden_size)
        self.up = Projection(config.hidden_size, inner)
        self.neuron = build_neuron(config, config.threshold)
        self.down = Projection(inner, config.hidden_size)

    def forward(self, x: Tensor, state: State | None = None) -> Tensor:
        """[T, B, N, D] -> [T, B, N, D]."""
        current: Tensor = self.down(self.hidden(x, state))
        return current

    def hidden(self, x: Tensor, state: State | None = None) -> Tensor:
        """Spikes of the hidden layer, [T, B, N, mlp_ratio D]."""
        return self.fire(self.neuron, self.up(x), state)


class SpikeBertBlock(Spiking, nn.Module):
    """Attention and MLP, each with its residual."""

    def __init__(self, config: SpikeBertConfig):
        super().__init__()
        self.membrane = config.residual == "membrane"
        self.attention = part("attention", config.attention, ATTENTIONS)(
            config.hidden_size,
            config.num_attention_heads,
            lambda threshold: build_neuron(config, threshold),
            config.threshold,
            config.attention_threshold,
            config.attention_scale,
            config.attention_order,
        )
        self.mlp = SpikingMlp(config)
        self.dropout = nn.Dropout(config.dropout)
        self.attention_residual = build_neuron(config, config.threshold)
        self.mlp_residual = build_neuron(config, config.threshold)

    def forward(self, x: Tensor, mask: Tensor | None, state: State | None = None) -> Tensor:
        """Stream x [T, B, N, D], mask [B, N] -> stream [T, B, N, D]."""
        if self.membrane:
            spikes = self.fire(self.attention_residual, x, state)
            x = x + self.dropout(self.attention(spikes, mask, state))
            spikes = self.fire(self.mlp_residual, x, state)
            return x + self.dropout(self.mlp(spikes, state))
        current = self.dropout(self.attention(x, mask, state))
        x = x + self.fire(self.attention_residual, current, state)
        current = self.dropout(self.mlp(x, state))
        return x + self.fire(self.mlp_residual, current, state)


def counted_tokens(config: Any, input_ids: Tensor | None, mask: Tensor | None) -> Tensor | None:
    """The mask [B, N] that was given, or one that leaves [PAD] out; None where all tokens count.

    Raises:
        UserError: padding stands before tokens of a model that numbers them.
    """
    compiling = torch.compiler.is_compiling()
    if mask is None and input_ids is not None and config.pad_token_id is not None:
        words = input_ids.ne(config.pad_token_id)
        return words.long() if compiling or not words.all() else None
    numbered = config.position != "none" and not compiling
    if mask is not None and numbered and (mask[:, 1:] > mask[:, :-1]).any():
        raise UserError(
            "attention_mask",
            expected=f"padding behind the tokens, since position: {config.position} numbers them",
            got="padding before tokens",
            fix='tokenizer.padding_side = "right"',
        )
    return mask


def refuse(given: dict[str, Any]) -> None:
    """Refuse arguments of other models' that would be silently without effect."""
    if asked := [name for name, value in given.items() if value is not None and value is not False]:
        raise UserError(
            f"argument {asked[0]} of SpikeBERT",
            expected="input_ids or inputs_embeds, attention_mask, labels, output_hidden_states, "
            "return_dict, state or timesteps",
            got=asked[0],
            fix="draw attention by `spikebert attention`, which makes it of the spikes"
            if asked[0] == "output_attentions"
            else "leave it out",
        )


class SpikeBertPreTrainedModel(PreTrainedModel):
    config_class = SpikeBertConfig
    base_model_prefix = "spikebert"
    _input_embed_layer = "word_embeddings"
    accepts_loss_kwargs = False  # the Trainer divides the loss where it accumulates gradients
    _no_split_modules = ["SpikeBertBlock", "SpikeBertEmbeddings"]  # noqa: RUF012

    def __init__(self, config: SpikeBertConfig):
        claim(config)
        super().__init__(config)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            mean = 0 if isinstance(module, Positions) else self.config.embedding_mean
            nn.init.normal_(module.weight, mean, self.config.embedding_std)


class SpikeBertModel(SpikeBertPreTrainedModel):
    """The spiking encoder, without a head."""

    def __init__(self, config: SpikeBertConfig):
        super().__init__(config)
        self.embeddings = SpikeBertEmbeddings(config)
        self.blocks = nn.ModuleList(SpikeBertBlock(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        state: State | None = None,
        timesteps: int | None = None,
        inputs_embeds: Tensor | None = None,
        token_type_ids: Tensor | None = None,  # noqa: ARG002  (BERT's tokenizers make them)
        return_dict: bool | None = None,
        **others: object,
    ) -> SpikeBertOutput | tuple[Tensor, ...]:
        """ids, or embeddings in their place, and mask [B, N] -> a `SpikeBertOutput` without logits.

        Without a mask all tokens but [PAD] count. With a `state`, {} at the beginning, the output
        has the one after the last step; given again with the same ids, the next `timesteps` steps
        go on from there.

        Raises:
            UserError: an argument of other models that this one has no use for.
        """
        refuse(others)
        attention_mask = counted_tokens(self.config, input_ids, attention_mask)
        state = None if state is None else dict(state)
        words, x = self.embeddings(input_ids, timesteps, state, inputs_embeds)
        states = []
        for block in self.blocks:
            x = block(x, attention_mask, state)
            states.append(x)
        out = SpikeBertOutput(
            last_hidden_state=self.norm(x),
            hidden_states=tuple(states) if output_hidden_states else None,
            embeddings=words,
            state=state,
        )
        return out.to_tuple() if return_dict is False else out


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over tokens: x [T, B, N, D], mask [B, N] -> [T, B, D], padding left out."""
    if mask is None:
        return x.mean(2)
    weight = mask.to(x.dtype)[None, :, :, None]
    return (x * weight).sum(2) / weight.sum(2).clamp_min(1)


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


class SpikeBertForSequenceClassification(SpikeBertPreTrainedModel):
    """The encoder and a linear head on the mean over tokens and time."""

    def __init__(self, config: SpikeBertConfig):
        super().__init__(config)
        self.spikebert = SpikeBertModel(config)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels or 2)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **options: Any,
    ) -> SpikeBertOutput | tuple[Tensor, ...]:
        """ids, mask [B, N] and optional labels [B] -> logits [B, C] and, with labels, their
        cross-entropy or, of one score (C = 1), the mean squared error; `options` are those of
        `SpikeBertModel`."""
        attention_mask = counted_tokens(self.config, input_ids, attention_mask)
        out = self.spikebert(input_ids, attention_mask, **options)
        pooled = masked_mean(out.last_hidden_state.float(), attention_mask).to(self.dtype)
        step_logits = self.classifier(self.dropout(pooled)).float()
        logits = step_logits.mean(0)
        loss = None if labels is None else gold_loss(logits, labels)
        # Made anew, since what is assigned afterwards comes last in a tuple.
        out = SpikeBertOutput(loss=loss, logits=logits, step_logits=step_logits, **out)
        return out.to_tuple() if return_dict is False else out


AutoModel.register(SpikeBertConfig, SpikeBertModel, exist_ok=True)
AutoModelForSequenceClassification.register(
    SpikeBertConfig, SpikeBertForSequenceClassification, exist_ok=True
)
