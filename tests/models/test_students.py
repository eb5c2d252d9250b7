"""The dense BERT of the student's shape: its interface, and both of its ways to be trained."""

from pathlib import Path

import pytest
import torch
from toy import MODEL, QUICK, make_work, outputs, run
from transformers import AutoModel, AutoModelForSequenceClassification, BertModel

from spikebert.analysis.energy import measure
from spikebert.analysis.predict import predict
from spikebert.config.registry import SHAPE
from spikebert.config.settings import (
    DenseDirectSettings,
    DenseStage1Settings,
    DenseStage2Settings,
    ModelSettings,
    Stage1Settings,
    Stage2Settings,
)
from spikebert.errors import UserError
from spikebert.models.students import DenseStudent, as_spiking, new_student
from spikebert.records.records import read_record
from spikebert.training.steps.direct import direct
from spikebert.training.steps.distil import stage1, stage2
from spikebert.training.teacher_cache import Cache
from spikebert.training.tokenization import load_tokenizer


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_work(tmp_path_factory.mktemp("students"))


@pytest.fixture(scope="module")
def first(work: Path) -> Path:
    """A dense student after stage 1."""
    stage1(
        MODEL, DenseStage1Settings(epochs=1, embedding_init="teacher", **QUICK),
        work / "text.jsonl", work / "base", work / "checkpoints" / "dense1", work / "dense1",
    )  # fmt: skip
    return work / "dense1"


def test_shape_is_the_students(work: Path) -> None:
    tokenizer = load_tokenizer(work / "base")
    config = new_student(MODEL, tokenizer, dense=True, num_labels=3)
    assert (config.model_type, config.hidden_size, config.intermediate_size) == ("bert", 26, 104)
    assert (config.num_hidden_layers, config.num_attention_heads) == (2, 2)
    assert (config.vocab_size, config.pad_token_id) == (len(tokenizer), tokenizer.pad_token_id)
    assert set(SHAPE) <= set(vars(ModelSettings()))


def test_answers_as_a_spiking_student_of_one_step(work: Path) -> None:
    tokenizer = load_tokenizer(work / "base")
    torch.manual_seed(0)
    config = new_student(MODEL, tokenizer, dense=True, num_labels=3)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    ids, mask = torch.randint(5, 30, (2, 7)), torch.ones(2, 7, dtype=torch.long)
    view = as_spiking(model)
    assert isinstance(view, DenseStudent)
    out = view(ids, mask, output_hidden_states=True)
    assert [state.shape for state in out.hidden_states] == [(1, 2, 7, 26)] * 2
    torch.testing.assert_close(out.embeddings, model.bert.embeddings(ids))
    assert torch.equal(out.logits, model(ids, mask).logits)
    assert view(ids, mask).hidden_states is None
    spiking = AutoModel.from_config(new_student(MODEL, tokenizer))
    assert as_spiking(spiking) is spiking


def test_dense_direct_is_an_ordinary_bert(work: Path, tmp_path: Path) -> None:
    out = outputs(tmp_path, "direct")
    settings = DenseDirectSettings(epochs=6, learning_rate=3e-3, evaluations=3, **QUICK)
    record = direct(MODEL, settings, work / "corpus", work / "base", run("dense_direct"), out)
    assert record.settings.keys() == {"model", "dense_direct"}
    assert record.settings["model"].keys() == set(SHAPE)
    assert record.accuracy_dev > 0.7
    assert predict(out.out, ["a dull film"])[0]["spike_rate"] is None
    model = AutoModelForSequenceClassification.from_pretrained(out.out).eval()
    ids, mask = torch.randint(5, 30, (1, 6)), torch.ones(1, 6, dtype=torch.long)
    pad = torch.nn.functional.pad
    padded = model(pad(ids, (0, 4)), pad(mask, (0, 4))).logits
    torch.testing.assert_close(padded, model(ids, mask).logits)
    assert list(measure(model, [ids]).accounts) == ["dense"]


def test_dense_distilled_takes_both_stages(work: Path, first: Path, tmp_path: Path) -> None:
    out = outputs(tmp_path, "second")
    settings = DenseStage2Settings(epochs=2, learning_rate=3e-3, evaluations=2, **QUICK)
    record = stage2(
        MODEL, settings, work / "corpus", work / "augmented.jsonl", work / "teacher", first,
        run("dense_distilled"), out, Cache(tmp_path / "cache", 10**7),
    )  # fmt: skip
    assert record.settings.keys() == {"model", "dense_stage1", "dense_stage2"}
    assert record.upstream["stage1"]["steps"] == 6
    named = {name for entry in record.history for name in entry if name.startswith("loss_")}
    assert named >= {"loss_feature", "loss_embedding", "loss_logits", "loss_ce"}
    assert len(list((tmp_path / "cache").glob("*/taught.json"))) == 1
    assert type(AutoModelForSequenceClassification.from_pretrained(out.out)).__name__ == (
        "BertForSequenceClassification"
    )
    assert read_record(out.record).accuracy_dev == record.accuracy_dev


def test_stage1_moves_the_losses_and_hands_over_every_weight(
    work: Path,
    first: Path,
    tmp_path: Path,
) -> None:
    settings = DenseStage2Settings(epochs=0.1, learning_rate=1e-12, weight_decay=0, **QUICK)
    out = outputs(tmp_path, "still")
    stage2(
        MODEL, settings, work / "corpus", work / "augmented.jsonl", work / "teacher", first,
        run("dense_distilled"), out,
    )  # fmt: skip
    before = BertModel.from_pretrained(first).state_dict()
    after = AutoModelForSequenceClassification.from_pretrained(out.out).bert.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-6, rtol=0)


def test_students_of_another_kind_or_shape_are_refused(
    work: Path,
    first: Path,
    tmp_path: Path,
) -> None:
    def second(model: ModelSettings, settings: Stage2Settings, folder: Path) -> None:
        dense = isinstance(settings, DenseStage2Settings)
        stage2(
            model, settings, work / "corpus", work / "augmented.jsonl", work / "teacher", folder,
            run("dense_distilled" if dense else "spikebert"), outputs(tmp_path, "x"),
        )  # fmt: skip

    with pytest.raises(UserError, match=r"'spikebert'[\s\S]*got: +{'model_type': 'bert'}"):
        second(MODEL, Stage2Settings(epochs=1, **QUICK), first)
    spiking = tmp_path / "spiking"
    stage1(
        MODEL, Stage1Settings(epochs=0.1, **QUICK), work / "text.jsonl", work / "base",
        tmp_path / "checkpoints" / "spiking", spiking,
    )  # fmt: skip
    with pytest.raises(UserError, match=r"'bert'[\s\S]*got: +{'model_type': 'spikebert'}"):
        second(MODEL, DenseStage2Settings(epochs=1, **QUICK), spiking)
    deeper = ModelSettings(**{**vars(MODEL), "num_hidden_layers": 3})
    with pytest.raises(UserError, match=r"expected: {'num_hidden_layers': 3}"):
        second(deeper, DenseStage2Settings(epochs=1, **QUICK), first)
    other_spikes = ModelSettings(**{**vars(MODEL), "beta": 0.5})
    second(other_spikes, DenseStage2Settings(epochs=0.1, **QUICK), first)  # beta is not its own
