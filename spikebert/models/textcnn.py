"""Text classifiers without a transformer: TextCNN, and the spiking one that is made of it.

    TextCNN (Kim, 2014)     logits = W dropout(max over windows of ReLU(conv(E)))
    SNN-TextCNN, step t     logits = mean over t of W dropout(SN(pool over windows of conv(s[t])))
                            s[t] = 1 where E > u[t], u uniform in [0, 1)

The second is after Lv et al. (ICLR 2023). The embeddings E of a trained TextCNN are moved into
[0, 1] and read as firing rates, ReLU becomes a neuron that does not leak, and the network is
fine-tuned with a surrogate gradient, its embeddings as they are. Their paper pools by the mean, and
trains the TextCNN so as well; their code takes the maximum, as Kim does, and puts the neuron behind
the pool, where it is here. `pooling` offers both. Behind that they have a hidden layer and a neuron
for each class; the mean over time of the head's current needs neither.

Windows may hang over either end of a sentence, as in Kim's code, but see at least one of its words.
What is no word is the padding token's embedding: 0 in TextCNN, and in the spiking network the rate
that stands for 0. So padding changes nothing.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from ..config.plugins import claim
from .configuration import SnnTextCnnConfig, TextCnnConfig
from .modeling import SpikeBertOutput
from .neurons import build_neuron

DEVIATIONS = 3  # of the embeddings, on either side of their mean, that the rates cover


class TextCnnForSequenceClassification(PreTrainedModel):
    """Kim's network with static or trained word embeddings: here trained."""

    config_class = TextCnnConfig
    base_model_prefix = ""
    _input_embed_layer = "word_embeddings"

    def __init__(self, config: TextCnnConfig):
        claim(config)
        super().__init__(config)
        self.margin = max(config.widths) - 1  # windows that hang over an end of the sentence
        self.word_embeddings = nn.Embedding(
            config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id
        )
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.embedding_size, config.filters, width) for width in config.widths
        )
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(len(config.widths) * config.filters, config.num_labels or 2)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv1d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(cast(Tensor, module.bias))
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.embedding_std)
            nn.init.zeros_(module.weight[self.config.pad_token_id])

    def words(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask [B, N] -> embeddings [B, D, margin + N + margin], padding on either side."""
        padding = self.config.pad_token_id
        ids = input_ids.masked_fill(mask == 0, padding)
        ids = F.pad(ids, (self.margin, self.margin), value=padding)
        return self.word_embeddings(ids).mT

    def currents(self, x: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """x [..., D, margin + N + margin], mask [B, N] -> for each width of filters their output
        [..., F, windows], and which windows [B, windows] see a word."""
        found = []
        for width, convolution in zip(self.config.widths, self.convolutions, strict=True):
            spare = self.margin - (width - 1)
            y = convolution(x[..., spare : x.shape[-1] - spare])
            seen = F.pad(mask.float(), (width - 1, width - 1))
            found.append((y, F.max_pool1d(seen[:, None], width, stride=1)[:, 0] > 0))
        return found

    def features(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask [B, N] -> what the head reads, [B, F] or, at each step, [T, B, F]."""
        found = self.currents(self.words(input_ids, mask), mask)
        return torch.cat(
            [y.relu().masked_fill(~seen[:, None], 0).amax(-1) for y, seen in found], -1
        )

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: object
    ) -> SpikeBertOutput:
        """ids, mask [B, N] -> logits [B, C] and, where there are steps, theirs, [T, B, C]."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        logits = self.classifier(self.dropout(self.features(input_ids, mask))).float()
        if logits.dim() == 2:
            return SpikeBertOutput(logits=logits)
        return SpikeBertOutput(logits=logits.mean(0), step_logits=logits)


class SnnTextCnnForSequenceClassification(TextCnnForSequenceClassification):
    """The spiking network; `convert` makes one of a TextCNN."""

    config_class = SnnTextCnnConfig

    def __init__(self, config: SnnTextCnnConfig):
        super().__init__(config)
        self.neuron = build_neuron(config, config.threshold)
        self.table = torch.empty(0, 0, 0)

    def thresholds(self, words: int) -> Tensor:
        """u [T, D, words]. In evaluation always the same for the same place in a sentence, whatever
        stands there and beside it; in training new ones."""
        steps, width = self.config.timesteps, self.config.embedding_size
        if self.training:
            return torch.rand(steps, width, words, device=self.device)
        if words > self.table.shape[0]:
            generator = torch.Generator().manual_seed(self.config.encoding_seed)
            # The first places of a longer table are a shorter one's: numbers come in this order.
            self.table = torch.rand(words, steps, width, generator=generator)
        return self.table[:words].permute(1, 2, 0).to(self.device)

    def spikes(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask [B, N] -> [T, B, D, margin + N + margin], 0 and 1."""
        rates = self.words(input_ids, mask).detach()
        return (rates > self.thresholds(rates.shape[-1])[:, None]).to(rates.dtype)

    def features(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        spikes = self.spikes(input_ids, mask)
        pooled = []
        for y, seen in self.currents(spikes.flatten(0, 1), mask):
            y = y.unflatten(0, spikes.shape[:2])
            if self.config.pooling == "max":
                pooled.append(y.masked_fill(~seen[:, None], -torch.inf).amax(-1))
            else:
                weight = seen[:, None].to(y.dtype)
                pooled.append((y * weight).sum(-1) / weight.sum(-1))
        fired: Tensor = self.neuron(torch.cat(pooled, -1))[0]
        return fired


@torch.no_grad()
def convert(
    cnn: TextCnnForSequenceClassification, config: SnnTextCnnConfig
) -> SnnTextCnnForSequenceClassification:
    """The spiking network of a trained TextCNN.

    An embedding e becomes the rate x = (e - mean) / (6 sd) + 1/2, cut to [0, 1], with mean and
    deviation of all entries of the table; the convolutions take the inverse in: W x' + b =
    (6 sd W) x + b + (mean - 3 sd) sum of W. So their mean current is TextCNN's own activation, but
    for what was cut.
    """
    snn = SnnTextCnnForSequenceClassification(config)
    words = cnn.word_embeddings.weight
    known = words[torch.arange(len(words)) != config.pad_token_id]
    mean, spread = known.mean(), 2 * DEVIATIONS * known.std()
    snn.load_state_dict(cnn.state_dict(), strict=True)
    snn.word_embeddings.weight.copy_(((words - mean) / spread + 0.5).clamp(0, 1))
    for mine, theirs in zip(snn.convolutions, cnn.convolutions, strict=True):
        mine, theirs = cast(nn.Conv1d, mine), cast(nn.Conv1d, theirs)
        mine.weight.copy_(theirs.weight * spread)
        shift = (mean - spread / 2) * theirs.weight.sum((1, 2))
        cast(Tensor, mine.bias).copy_(cast(Tensor, theirs.bias) + shift)
    return snn


for kind in (TextCnnForSequenceClassification, SnnTextCnnForSequenceClassification):
    AutoModelForSequenceClassification.register(kind.config_class, kind, exist_ok=True)
