"""What a dense BERT need not compute: values and gradients of the whole, the same files."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedModel,
)
from transformers.models.bert.modeling_bert import BertLayer

from spikebert.models.configuration import SpikeBertConfig
from spikebert.models.modeling import SpikeBertForSequenceClassification
from spikebert.models.students import DenseStudent, LastLayer, prepare_last_layer
from spikebert.training.distillation import Classifier, MaskedWords
from spikebert.utils.checksums import tree_digest

WIDTH, LAYERS = 16, 3


def config_of(**settings: Any) -> BertConfig:
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 2}
    return BertConfig(**{"vocab_size": 50, "intermediate_size": 64} | sizes | settings)


def without_dropout(**settings: Any) -> BertConfig:
    """Models to be compared while they train: each of them draws its own dropout."""
    return config_of(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **settings)


def classifiers(**settings: Any) -> tuple[Classifier, Classifier]:
    """One that reads the first token, and its whole twin; trained somewhat, so that biases and
    norms are not at their start."""
    torch.manual_seed(0)
    model = BertForSequenceClassification(without_dropout(num_labels=3, **settings)).train()
    with torch.no_grad():
        for values in model.parameters():
            values.add_(0.1 * torch.randn_like(values))
    twin = copy.deepcopy(model)
    return Classifier(model).train(), Classifier(twin, whole=True).train()


def batch_of(lengths: list[int], tokens: int = 9, pairs: bool = False) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    mask = (torch.arange(tokens) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(5, 50, mask.shape, generator=draw) * mask
    batch = {"input_ids": ids, "attention_mask": mask}
    batch["labels"] = torch.randint(3, (len(lengths),), generator=draw)
    if pairs:
        batch["token_type_ids"] = (torch.arange(tokens) > 3).long() * mask
    return batch


def trained(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Outputs and gradients, of every parameter or an error."""
    model.zero_grad()
    out = model(**batch)
    out["loss"].backward()
    found = {name: value.detach() for name, value in out.items()}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        found[f"gradient of {name}"] = parameter.grad.clone()
    return found


BATCHES = {
    "padding": batch_of([9, 2, 5, 1]),
    "no padding": batch_of([9, 9, 9]),
    "pairs": batch_of([9, 6, 8], pairs=True),
    "one row": batch_of([7]),
    "one token": batch_of([1, 1], tokens=1),
}


def attend_by(attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either attention in training, as on a GPU and on a processor."""
    monkeypatch.setattr(
        "spikebert.training.distillation.choose_attention",
        lambda model, _: model.set_attn_implementation(attention),
    )


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_first_token_alone_gives_logits_and_gradients_of_all(
    batch: dict[str, Tensor], attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attend_by(attention, monkeypatch)
    ours, whole = classifiers()
    torch.testing.assert_close(trained(ours, batch), trained(whole, batch), rtol=1e-5, atol=1e-6)
    with torch.inference_mode():
        found, expected = (model.eval()(**batch)["logits"] for model in (ours, whole))
    torch.testing.assert_close(found, expected)


def test_first_token_alone_in_bfloat16() -> None:
    found = []
    for model in classifiers():
        with torch.autocast("cpu", torch.bfloat16):
            found.append(trained(model, BATCHES["padding"]))
    torch.testing.assert_close(*found, rtol=0.05, atol=0.02)


def test_first_token_alone_with_checkpointed_gradients() -> None:
    ours, whole = classifiers()
    ours.model.activation_checkpointing_enable()
    found, expected = (trained(model, BATCHES["padding"]) for model in (ours, whole))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_dropout_is_that_of_the_whole_layer_on_average() -> None:
    torch.manual_seed(0)
    model = BertForSequenceClassification(config_of(num_hidden_layers=1)).train()
    ids = torch.randint(5, 50, (1, 6)).expand(4000, -1)
    mask, means = torch.ones_like(ids), []
    with torch.no_grad():
        for whole in (False, True):
            logits = Classifier(model, whole)(ids, mask)["logits"]
            means.append(torch.cat([logits.mean(0), logits.std(0)]))
    torch.testing.assert_close(*means, rtol=0.1, atol=0.01)


def products(model: nn.Module, batch: dict[str, Tensor]) -> int:
    """Multiplications forward and backward, without those of attention."""
    with FlopCounterMode(display=False) as counter:
        model(**batch)["loss"].backward()
    counts = counter.get_flop_counts()["Global"]
    return sum(count for op, count in counts.items() if str(op).endswith((".mm", ".addmm"))) // 2


def test_the_products_that_are_saved() -> None:
    batch = BATCHES["padding"]
    ours, whole = classifiers()
    rows, tokens = batch["input_ids"].shape
    # 10 of a layer's 12 D^2 per token: query, output and MLP; once forward, twice backward.
    saved = 3 * 10 * WIDTH**2 * rows * (tokens - 1)
    assert products(whole, batch) - products(ours, batch) == saved


def test_states_that_are_asked_for_are_whole() -> None:
    ours, whole = classifiers()
    assert type(ours.model.bert.encoder.layer[-1]) is LastLayer
    batch = {name: value for name, value in BATCHES["padding"].items() if name != "labels"}
    asked = {"output_hidden_states": True, "output_attentions": True}
    found, expected = (model.model.eval()(**batch, **asked) for model in (ours, whole))
    assert found.keys() == expected.keys() == {"logits", "hidden_states", "attentions"}
    assert torch.equal(found.logits, expected.logits)
    for name, layers in (("hidden_states", LAYERS + 1), ("attentions", LAYERS)):
        assert len(found[name]) == layers
        assert all(map(torch.equal, found[name], expected[name]))


def test_the_same_files_are_saved(tmp_path: Path) -> None:
    ours, whole = classifiers()
    assert ours.state_dict().keys() == whole.state_dict().keys()
    for name, model in (("ours", ours), ("whole", whole)):
        trained(model, BATCHES["padding"])
        model.model.save_pretrained(tmp_path / name)
    assert tree_digest(tmp_path / "ours") == tree_digest(tmp_path / "whole")
    loaded = BertForSequenceClassification.from_pretrained(tmp_path / "ours")
    assert type(loaded.bert.encoder.layer[-1]) is BertLayer


def test_other_models_are_left_as_they_are() -> None:
    distil = DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=50, dim=WIDTH, n_layers=2, n_heads=2, hidden_dim=64)
    )
    kinds = [type(module) for module in distil.modules()]
    assert not Classifier(distil).reading
    assert [type(module) for module in distil.modules()] == kinds
    decoder = BertForSequenceClassification(config_of(is_decoder=True))
    assert not Classifier(decoder).reading
    assert type(decoder.bert.encoder.layer[-1]) is BertLayer
    assert not prepare_last_layer(BertModel(config_of(num_hidden_layers=0)))
    with pytest.raises(ValueError, match="decoder"):
        MaskedWords(config_of(is_decoder=True))


# Masked words


class WholeMaskedWords(BertForMaskedLM):
    """The plain twin: the loss of the parent class, which says a word for every token."""

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        return {"loss": super().forward(**batch).loss}


def masked_words(**settings: Any) -> tuple[MaskedWords, WholeMaskedWords]:
    torch.manual_seed(0)
    config = without_dropout(**settings)
    ours, whole = MaskedWords(config).train(), WholeMaskedWords(config).train()
    with torch.no_grad():
        for values in ours.parameters():
            values.add_(0.1 * torch.randn_like(values))
    whole.load_state_dict(ours.state_dict())
    return ours, whole


def masked(batch: dict[str, Tensor], share: float = 0.4) -> dict[str, Tensor]:
    ids, mask = batch["input_ids"], batch["attention_mask"]
    chosen = torch.rand(ids.shape, generator=torch.Generator().manual_seed(2)) < share
    labels = torch.where(chosen & mask.bool(), ids, -100)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["padding", "no padding", "one row"])
def test_masked_words_alone_give_loss_and_gradients_of_all(
    name: str, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attend_by(attention, monkeypatch)
    ours, whole = masked_words()
    batch = masked(BATCHES[name])
    assert (batch["labels"] >= 0).any()
    torch.testing.assert_close(trained(ours, batch), trained(whole, batch), rtol=1e-5, atol=1e-6)


def test_masked_words_alone_in_bfloat16_and_with_checkpointed_gradients() -> None:
    ours, whole = masked_words()
    ours.activation_checkpointing_enable()
    batch, found = masked(BATCHES["padding"]), []
    for model in (ours, whole):
        with torch.autocast("cpu", torch.bfloat16):
            found.append(trained(model, batch))
    torch.testing.assert_close(*found, rtol=0.05, atol=0.02)


def test_a_batch_without_masked_words_has_gradients_of_zero() -> None:
    ours, _ = masked_words()
    found = trained(ours, masked(BATCHES["padding"], share=0.0))
    assert not any(value.any() for value in found.values())


def test_the_same_bert_is_saved(tmp_path: Path) -> None:
    ours, whole = masked_words()
    for name, model in (("ours", ours), ("whole", whole)):
        trained(model, masked(BATCHES["padding"]))
        model.bert.save_pretrained(tmp_path / name)
    assert tree_digest(tmp_path / "ours") == tree_digest(tmp_path / "whole")
    saved = load_file(tmp_path / "ours" / "model.safetensors")
    assert saved.keys() == ours.bert.state_dict().keys()


def kinds() -> list[nn.Module]:
    words, _ = masked_words()
    bert = BertForSequenceClassification(without_dropout(num_labels=2))
    distil = DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=50, dim=WIDTH, n_layers=2, n_heads=2, hidden_dim=64)
    )
    return [Classifier(bert), DenseStudent(BertModel(without_dropout())), Classifier(distil), words]


def test_training_on_a_processor_attends_by_products_and_reading_does_not() -> None:
    for module in kinds():
        model = getattr(module, "model", module)
        for training, attention in ((True, "eager"), (False, "sdpa"), (True, "eager")):
            assert module.train(training) is module
            assert module.training == model.training == training
            assert {part.config._attn_implementation for part in parts(model)} == {attention}


def parts(model: nn.Module) -> list[PreTrainedModel]:
    return [part for part in model.modules() if isinstance(part, PreTrainedModel)]


def test_both_attentions_agree() -> None:
    _, whole = classifiers()
    batch = BATCHES["padding"]
    with torch.inference_mode():
        trained_with = whole.train()(**batch)["logits"]
        read_with = whole.eval()(**batch)["logits"]
    torch.testing.assert_close(trained_with, read_with)


def test_a_spiking_model_is_left_as_it_is() -> None:
    model = SpikeBertForSequenceClassification(
        SpikeBertConfig(vocab_size=50, hidden_size=WIDTH, num_attention_heads=2)
    )
    before = model.config._attn_implementation
    for training in (True, False):
        Classifier(model).train(training)
        assert model.config._attn_implementation == before
