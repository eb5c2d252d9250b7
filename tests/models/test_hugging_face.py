"""A trained folder in the hands of Hugging Face's libraries."""

import subprocess
import sys

import pytest
import torch
from toy import save_student, student

from spikebert import SpikeBertForSequenceClassification, SpikeBertModel
from spikebert.errors import UserError

SCRIPT = """
import sys, numpy, torch, transformers, spikebert
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification as Classifier
from transformers import AutoTokenizer, Trainer, TrainingArguments, pipeline

folder = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(folder)
half = Classifier.from_pretrained(folder, dtype=torch.bfloat16)
print(half(**tokenizer("a warm film", return_tensors="pt")).logits.dtype, half.dtype)
rows = Dataset.from_dict({"text": ["a warm film", "a dull film"] * 8, "label": [1, 0] * 8})
rows = rows.map(lambda row: tokenizer(row["text"]))
arguments = TrainingArguments(folder + "/trainer", max_steps=40, learning_rate=0.05, report_to=[])
accuracy = lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())}
model = Classifier.from_pretrained(folder)
lora = LoraConfig(target_modules=["linear"], modules_to_save=["classifier"])
adapted = get_peft_model(model, lora)
trainer = Trainer(adapted, arguments, train_dataset=rows, eval_dataset=rows,
                  processing_class=tokenizer, compute_metrics=accuracy)
print(trainer.evaluate()["eval_accuracy"])
trainer.train()
print(trainer.evaluate()["eval_accuracy"])
adapters = [w for name, w in adapted.named_parameters() if "lora_B" in name]
print(trainer.predict(rows).predictions.shape, max(w.abs().max().item() for w in adapters))
long = pipeline("text-classification", model=model, tokenizer=tokenizer)("a warm film " * 3400)
print(long)
"""  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_student(tmp_path_factory.mktemp("model"))


def test_a_script_of_twenty_lines(folder):
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, folder], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    print(run.stdout)
    lines = [line for line in run.stdout.splitlines() if not line.startswith("{")]
    assert lines[0] == "torch.float32 torch.bfloat16"
    assert float(lines[1]) < float(lines[2]) == 1  # the adapters learned it
    shape, adapters = lines[3].rsplit(" ", 1)
    assert shape == "(16, 2)"
    assert float(adapters) > 0
    assert "LABEL_" in lines[4]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "settings", [{}, {"encoder": "lif"}, {"encoder": "current", "neuron": "relu"}]
)
def test_half_precision(dtype, settings):
    model, ids = student(**settings), torch.arange(5, 9)[None]
    whole = model(ids).logits
    half = model.to(dtype)(ids).logits
    torch.testing.assert_close(half, whole, atol=0.3, rtol=0.3)
    assert half.dtype == torch.float32


def test_outputs_stand_in_the_order_of_the_library():
    model, ids = student(), torch.arange(5, 9)[None]
    out = model(ids, labels=torch.tensor([1]))
    assert out[0] is out.loss
    assert out[1] is out.logits
    as_tuple = model(ids, return_dict=False)
    assert isinstance(as_tuple, tuple)
    assert torch.equal(as_tuple[0], out.logits)
    assert torch.equal(model.spikebert(ids)[0], out.last_hidden_state)


def test_embeddings_stand_in_for_ids():
    model, ids = student(), torch.arange(5, 9)[None]
    words = model.get_input_embeddings()(ids)
    assert torch.equal(model(inputs_embeds=words).logits, model(ids).logits)


def test_without_a_mask_padding_does_not_count():
    model, ids = student(), torch.tensor([[5, 6, 7, 0, 0]])
    torch.testing.assert_close(model(ids).logits, model(ids[:, :3]).logits)
    assert not torch.equal(model(ids, torch.ones_like(ids)).logits, model(ids).logits)


def test_padding_before_the_tokens():
    ids = torch.tensor([[0, 0, 5, 6, 7]])
    model = student()
    torch.testing.assert_close(model(ids, ids.ne(0).long()).logits, model(ids[:, 2:]).logits)
    with pytest.raises(UserError, match="padding behind the tokens"):
        student(position="learned")(ids, ids.ne(0).long())


@pytest.mark.parametrize("argument", ["output_attentions", "position_ids", "past_key_values"])
def test_what_would_have_no_effect_is_refused(argument):
    for model in (student(), student().spikebert):
        with pytest.raises(UserError, match=argument):
            model(torch.arange(5, 9)[None], **{argument: True})
        model(torch.arange(5, 9)[None], **{argument: None})


def test_checkpointing_of_gradients_is_refused_in_words():
    with pytest.raises(ValueError, match="does not support activation checkpointing"):
        student().gradient_checkpointing_enable()


def test_shards_and_device_maps(tmp_path):
    model = student()
    model.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    loaded = SpikeBertForSequenceClassification.from_pretrained(tmp_path, device_map="cpu").eval()
    ids = torch.arange(5, 9)[None]
    assert torch.equal(loaded(ids).logits, model(ids).logits)


@pytest.mark.parametrize("settings", [{}, {"encoder": "lif", "residual": "membrane"}])
def test_export_with_any_batch_and_length(settings):
    model, ids = student(**settings), torch.tensor([[5, 6, 7, 8], [7, 6, 5, 0]])
    mask = ids.ne(0).long()
    shapes = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    exported = torch.export.export(
        model, (ids, mask), {"return_dict": False},
        dynamic_shapes={"input_ids": shapes, "attention_mask": shapes, "return_dict": None},
    ).module()  # fmt: skip
    other = torch.randint(5, 9, (5, 40))
    for given in (ids, other):
        counted = given.ne(0).long()
        logits, *_ = exported(given, counted, return_dict=False)
        torch.testing.assert_close(logits, model(given, counted).logits)


def test_the_encoder_alone(folder):
    model = SpikeBertModel.from_pretrained(folder)
    assert model(torch.arange(5, 9)[None]).last_hidden_state.shape == (4, 1, 4, 16)
