"""The Hugging Face configurations of the student, which are `ModelSettings` and what the task adds,
and of the convolutional networks it is compared with."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from transformers import AutoConfig, PreTrainedConfig

from ..config.plugins import check_loaded
from ..config.settings import ModelSettings, SnnTextCnnSettings, TextCnnSettings
from ..utils.validation import validate


class SpikeBertConfig(PreTrainedConfig, ModelSettings):
    """Settings of a `SpikeBertModel`; see `spikebert.config.settings.ModelSettings` for each.

    >>> SpikeBertConfig(hidden_size=128, num_attention_heads=4, beta=0.8).beta
    0.8
    """

    model_type = "spikebert"
    # What the library's Trainer would gather of a whole set besides the logits.
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        *("step_logits", "last_hidden_state", "hidden_states", "embeddings", "state")
    ]

    vocab_size: int = 30522
    pad_token_id: int | None = 0
    initializer_range: float = 0.02
    embedding_std: float = 0.5
    plugins: dict[str, str] | None = None  # files that it needs, each with its SHA-256

    def __post_init__(self, **kwargs: object) -> None:
        check_loaded(self.plugins)
        validate(ModelSettings, self.settings(), "SpikeBertConfig")
        super().__post_init__(**kwargs)

    def settings(self) -> dict:
        """The fields of `ModelSettings` as a dict."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(ModelSettings)}

    @property
    def decay(self) -> float:
        """beta, or 1 - 1/tau where tau is set."""
        return self.beta if self.tau is None else 1 - 1 / self.tau


class TextCnnConfig(PreTrainedConfig):
    """A TextCNN; see `spikebert.config.settings.TextCnnSettings`."""

    model_type = "textcnn"

    vocab_size: int = 30522
    pad_token_id: int | None = 0
    embedding_size: int = TextCnnSettings.embedding_size
    filters: int = TextCnnSettings.filters
    widths: list[int] | tuple[int, ...] = TextCnnSettings.widths
    dropout: float = TextCnnSettings.dropout
    embedding_std: float = 0.144  # Kim's for words without a vector: uniform in +-0.25


class SnnTextCnnConfig(TextCnnConfig):
    """A spiking TextCNN; see `spikebert.config.settings.SnnTextCnnSettings`."""

    model_type = "snn_textcnn"

    timesteps: int = SnnTextCnnSettings.timesteps
    beta: float = SnnTextCnnSettings.beta
    threshold: float = SnnTextCnnSettings.threshold
    surrogate: str = SnnTextCnnSettings.surrogate
    surrogate_alpha: float = SnnTextCnnSettings.surrogate_alpha
    pooling: str = SnnTextCnnSettings.pooling
    encoding_seed: int = 0  # of the thresholds that turn embeddings into spikes
    # What the neuron of `modeling.build_neuron` wants to know besides.
    neuron: str = "lif"
    reset: str = "soft"
    decay_input: bool = False
    detach_reset: bool = True

    @property
    def decay(self) -> float:
        return self.beta


AutoConfig.register("spikebert", SpikeBertConfig, exist_ok=True)
AutoConfig.register("textcnn", TextCnnConfig, exist_ok=True)
AutoConfig.register("snn_textcnn", SnnTextCnnConfig, exist_ok=True)
