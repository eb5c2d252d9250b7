"""Scores in place of classes, and metrics other than accuracy, from losses to tables."""

import json
import math

import pytest
import torch
import toy
from toy import MODEL, QUICK, outputs, write_rows

from spikebert.analysis.predict import early_exit_curve, load, predict
from spikebert.config.datasets import METRICS
from spikebert.config.settings import (
    DenseStage2Settings,
    DirectSettings,
    FineTuneSettings,
    PretrainSettings,
    SnnTextCnnSettings,
    Stage2Settings,
    TextCnnSettings,
    TfidfSettings,
)
from spikebert.errors import UserError
from spikebert.records.metrics import SCORES, headline, scores
from spikebert.records.records import read_predictions, read_record
from spikebert.report.accuracy_table import accuracy_table
from spikebert.report.glue_table import glue_table
from spikebert.training.distillation import Classifier, types_for
from spikebert.training.losses import gold_loss, label_loss, logits_loss
from spikebert.training.steps.baselines import snn_textcnn, textcnn, tfidf
from spikebert.training.steps.direct import direct, finetune
from spikebert.training.steps.distil import stage2
from spikebert.training.steps.pretrain import pretrain
from spikebert.training.teacher_cache import Cache
from spikebert.utils.files import write_json

# Metrics, by hand


def test_every_metric_of_the_configuration_is_there():
    assert set(SCORES) == {name for names in METRICS.values() for name in names}


def test_metrics_of_classes_by_hand():
    labels, guesses = [1, 1, 1, 0, 0, 0, 0, 1], [1, 1, 0, 0, 0, 0, 1, 0]
    # Of class 1: 2 hits, 1 false alarm, 2 misses, and 3 rejections.
    assert scores("accuracy", labels, guesses) == {"accuracy": 5 / 8}
    assert scores("f1", labels, guesses)["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))
    other = 2 * 3 / (2 * 3 + 2 + 1)  # of class 0
    assert scores("f1_macro", labels, guesses)["f1_macro"] == pytest.approx((4 / 7 + other) / 2)
    matthews = (2 * 3 - 1 * 2) / math.sqrt(3 * 4 * 4 * 5)
    assert scores("matthews", labels, guesses)["matthews"] == pytest.approx(matthews)


def test_correlations_by_hand():
    labels, guesses = [0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 10.0]
    # Centred: -1.5, -0.5, 0.5, 1.5 and -3, -2, -1, 6; 14 / sqrt(5 * 50); the ranks agree.
    found = scores("pearson_spearman", labels, guesses)
    assert found == pytest.approx({"pearson": 14 / math.sqrt(250), "spearman": 1.0})
    assert headline(found) == pytest.approx((14 / math.sqrt(250) + 1) / 2)
    assert scores("spearman", labels, guesses[::-1])["spearman"] == pytest.approx(-1)


def test_a_constant_prediction_scores_nothing():
    assert scores("pearson_spearman", [0.0, 1.0], [2.0, 2.0]) == {"pearson": 0, "spearman": 0}
    assert scores("matthews", [0, 1], [1, 1]) == {"matthews": 0}
    assert scores("f1", [0, 1], [0, 0]) == {"f1": 0}


@pytest.mark.parametrize(
    ("labels", "guesses"), [([1.0, 2.0], [1.0, math.nan]), ([math.inf], [1.0]), ([1], []), ([], [])]
)
def test_numbers_that_are_none_are_refused(labels, guesses):
    with pytest.raises(ValueError, match="expected"):
        scores("pearson", labels, guesses)


# Losses, by hand


def test_losses_of_scores_are_squared_distances():
    student, teacher = torch.tensor([[1.0], [4.0]]), torch.tensor([[2.0], [0.0]])
    assert logits_loss(student, teacher, temperature=3.0).item() == pytest.approx((1 + 16) / 2)
    assert gold_loss(student, torch.tensor([3.0, 4.0])).item() == pytest.approx(4 / 2)
    # The second row asks the teacher: (1 - 3)^2 and (4 - 0)^2.
    labels = torch.tensor([3.0, math.nan])
    assert label_loss(student, labels, teacher).item() == pytest.approx((4 + 16) / 2)


def test_a_model_without_types_is_given_none():
    class Plain(torch.nn.Module):
        def forward(self, input_ids, attention_mask): ...

    class Typed(torch.nn.Module):
        def forward(self, input_ids, attention_mask, token_type_ids=None): ...

    types = torch.zeros(1, 3)
    assert types_for(Plain(), types) == {}
    assert types_for(Typed(), types) == {"token_type_ids": types}
    assert types_for(Typed(), None) == {}


# Training

WORDS = ["warm", "funny", "dull", "clumsy", "bright", "empty", "grace", "wit"]


def pairs(count, seed, *, score):
    """The label says how many words the sides share: 0 to 3, or whether any."""
    generator = torch.Generator().manual_seed(seed)
    for i in range(count):
        order = torch.randperm(len(WORDS), generator=generator).tolist()
        shared = i % 4
        first = [WORDS[k] for k in order[:3]]
        second = first[:shared] + [WORDS[k] for k in order[3 : 6 - shared]]
        yield {
            "id": f"{seed:08x}{i:08x}",
            "text": " ".join(first),
            "text_pair": " ".join(second),
            "label": float(shared) if score else int(shared > 1),
        }


def corpus(root, name, *, score, **stats):
    for seed, (split, count) in enumerate({"train": 48, "dev": 16, "test": 20}.items(), 1):
        write_rows(root / name / f"{split}.jsonl", pairs(count, seed, score=score))
    write_json(root / name / "stats.json", {"labels": None if score else ["no", "yes"], **stats})
    rows = list(pairs(48, 1, score=score))
    more = [row | {"label": None} for row in pairs(16, 7, score=score)]
    write_rows(root / f"{name}.augmented.jsonl", rows + more)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    root = tmp_path_factory.mktemp("scores")
    corpus(root, "scored", score=True, range=[0, 3])
    corpus(root, "paired", score=False, metric="f1")
    text = [{"id": str(i), "text": row["text"]} for i, row in enumerate(pairs(48, 9, score=True))]
    write_rows(root / "text.jsonl", text)
    pretrain(
        PretrainSettings(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, vocab_size=120, epochs=1,
            **QUICK,
        ),
        root / "text.jsonl", root / "checkpoints" / "pretrain", root / "base",
    )  # fmt: skip
    for name in ("scored", "paired"):
        finetune(
            FineTuneSettings(epochs=6, learning_rate=5e-3, evaluations=3, **QUICK),
            root / name, root / "base", run(name, "teacher"),
            outputs(root, f"{name}.teacher.base.s1"),
        )  # fmt: skip
    return root


def run(dataset, model):
    return toy.run(model, dataset, source="toy pairs")


def test_a_teacher_of_scores_is_judged_by_correlation(work):
    record = read_record(work / "scored.teacher.base.s1.json")
    rows = read_predictions(work / "scored.teacher.base.s1.csv")
    gold, guesses = ([float(row[name]) for row in rows] for name in ("label", "prediction"))
    assert record.metric == "pearson_spearman"
    assert record.metrics_test == pytest.approx(scores("pearson_spearman", gold, guesses))
    assert record.score == pytest.approx(headline(record.metrics_test))
    assert record.accuracy_dev is record.accuracy_test is None
    best = max(entry.get("pearson_spearman_dev", -1) for entry in record.history)
    assert headline(record.metrics_dev) == pytest.approx(best, abs=1e-5)
    config = json.loads((work / "scored.teacher.base.s1" / "config.json").read_text("utf-8"))
    assert config["id2label"] == {"0": "score"}
    (result,) = predict(work / "scored.teacher.base.s1", ["warm funny"])
    assert math.isfinite(float(result["label"]))
    assert result["probabilities"] == {}


def test_a_set_of_pairs_is_selected_by_its_metric(work):
    record = read_record(work / "paired.teacher.base.s1.json")
    rows = read_predictions(work / "paired.teacher.base.s1.csv")
    gold, guesses = ([int(row[name]) for row in rows] for name in ("label", "prediction"))
    assert record.metrics_test == pytest.approx(scores("f1", gold, guesses))
    right = sum(a == b for a, b in zip(gold, guesses, strict=True)) / len(gold)
    assert record.accuracy_test == pytest.approx(right)
    assert any("f1_dev" in entry for entry in record.history)


@pytest.mark.parametrize("name", ["scored", "paired"])
def test_a_student_learns_pairs_from_its_teacher(work, tmp_path, name):
    """With kept answers and asked anew, the same losses but for rounding: types reach both."""
    losses = []
    for place, cache in (("live", None), ("kept", Cache(tmp_path / "cache", 10**7))):
        record = stage2(
            MODEL, Stage2Settings(epochs=1, evaluations=2, **QUICK), work / name,
            work / f"{name}.augmented.jsonl", work / f"{name}.teacher.base.s1", None,
            run(name, "stage2_only"), outputs(tmp_path / place, "student"), cache,
        )  # fmt: skip
        losses.append([e["loss"] for e in record.history if "loss" in e])
        assert {"loss_logits", "loss_ce"} <= set().union(*record.history)
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert record.n_train == 64
    assert record.metric in ("f1", "pearson_spearman")


def test_a_dense_student_is_told_the_sides_in_training_and_after(work, tmp_path):
    settings = DenseStage2Settings(epochs=1, evaluations=1, **QUICK)
    out = outputs(tmp_path, "dense")
    record = stage2(
        MODEL, settings, work / "paired", work / "paired.augmented.jsonl",
        work / "paired.teacher.base.s1", None, run("paired", "dense_distilled"), out,
    )  # fmt: skip
    best = max(entry["f1_dev"] for entry in record.history if "f1_dev" in entry)
    assert record.metrics_dev["f1"] == pytest.approx(best, abs=1e-5)  # judged as it was selected
    model = load(out.out)[0]
    assert model.bert.embeddings.token_type_embeddings.weight.shape[0] == 2


def test_textcnn_predicts_scores_and_so_does_the_spiking_one_made_of_it(work, tmp_path):
    first = outputs(tmp_path, "textcnn")
    settings = TextCnnSettings(embedding_size=8, filters=4, epochs=1, evaluations=1, **QUICK)
    record = textcnn(settings, work / "scored", work / "base", run("scored", "textcnn"), first)
    assert record.metric == "pearson_spearman"
    spiking = SnnTextCnnSettings(epochs=1, evaluations=1, **QUICK)
    second = outputs(tmp_path, "snn")
    record = snn_textcnn(spiking, work / "scored", first.out, run("scored", "snn_textcnn"), second)
    assert record.accuracy_test is None


def test_direct_and_tfidf_predict_scores(work, tmp_path):
    out = outputs(tmp_path, "direct")
    settings = DirectSettings(epochs=1, evaluations=1, **QUICK)
    record = direct(MODEL, settings, work / "scored", work / "base", run("scored", "direct"), out)
    assert record.metric == "pearson_spearman"
    with pytest.raises(UserError, match="one score"):
        early_exit_curve(tmp_path / "direct", work / "scored", "dev", [0.5])
    floor = tfidf(
        TfidfSettings(), work / "scored", run("scored", "tfidf"),
        tmp_path / "scored.tfidf.base.s1.json", tmp_path / "t.csv",
    )  # fmt: skip
    assert floor.accuracy_test is None
    assert set(floor.metrics_test) == {"pearson", "spearman"}
    assert read_record(tmp_path / "scored.tfidf.base.s1.json").score == floor.score


def test_a_teacher_of_classes_cannot_teach_scores(work, tmp_path):
    with pytest.raises(UserError, match="expected: one score"):
        stage2(
            MODEL, Stage2Settings(epochs=1, **QUICK), work / "scored",
            work / "scored.augmented.jsonl", work / "paired.teacher.base.s1", None,
            run("scored", "stage2_only"), outputs(tmp_path, "refused"),
        )  # fmt: skip


def test_types_change_what_the_teacher_says(work):
    model, tokenizer = load(work / "paired.teacher.base.s1")
    batch = tokenizer("warm funny", "dull wit", return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        typed = Classifier(model)(**inputs, token_type_ids=batch["token_type_ids"])["logits"]
        plain = Classifier(model)(**inputs)["logits"]
    assert not torch.allclose(typed, plain)


def test_tables_take_records_of_other_metrics(work):
    records = [read_record(work / f"{name}.teacher.base.s1.json") for name in ("scored", "paired")]
    table = accuracy_table(records, {}).set_index("dataset")
    assert table.loc["scored", "metric"] == "pearson_spearman"
    assert table.loc["scored", "mean"] == pytest.approx(100 * records[0].score)
    assert "metric" not in accuracy_table([], {}).columns
    assert glue_table(records, {})["mean"].isna().all()
