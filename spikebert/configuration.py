"""The Hugging Face configuration of the student: `ModelSettings` and what the task adds."""

from __future__ import annotations

import dataclasses

from transformers import AutoConfig, PreTrainedConfig

from .settings import ModelSettings, check, schema_of


class SpikeBertConfig(PreTrainedConfig, ModelSettings):
    """Settings of a `SpikeBertModel`; see `spikebert.settings.ModelSettings` for each.

    >>> SpikeBertConfig(hidden_size=128, num_attention_heads=4, beta=0.8).beta
    0.8
    """

    model_type = "spikebert"

    vocab_size: int = 30522
    pad_token_id: int | None = 0
    initializer_range: float = 0.02
    embedding_std: float = 0.5

    def __post_init__(self, **kwargs: object) -> None:
        check(self.settings(), schema_of(ModelSettings), "SpikeBertConfig")
        ModelSettings.__post_init__(self)
        super().__post_init__(**kwargs)

    def settings(self) -> dict:
        """The fields of `ModelSettings` as a dict."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(ModelSettings)}

    @property
    def decay(self) -> float:
        """beta, or 1 - 1/tau where tau is set."""
        return self.beta if self.tau is None else 1 - 1 / self.tau


AutoConfig.register("spikebert", SpikeBertConfig, exist_ok=True)
