"""Calibration, confusion and agreement by hand; the verb on small folders; the figure."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

from spikebert.analysis.inspection import calibration
from spikebert.errors import UserError
from spikebert.models.configuration import SpikeBertConfig
from spikebert.models.modeling import SpikeBertForSequenceClassification
from spikebert.records.calibration import (
    agreement,
    calibration_error,
    calibration_of,
    compare,
    confidence_bins,
    confusion,
    read_calibration,
)
from spikebert.report.probe_figures import calibration_figure, write_calibration
from spikebert.report.published import Published

# Confidences 0.6, 0.8, 0.9, 1.0 of classes 1, 0, 1, 0.
SURE = np.array([[0.4, 0.6], [0.8, 0.2], [0.1, 0.9], [1.0, 0.0]])
LABELS = np.array([1, 1, 1, 0])
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "warm", "dull", "film"]


def test_bins_are_closed_above_and_give_means() -> None:
    bins = confidence_bins(SURE, LABELS, bins=5)
    assert [each["count"] for each in bins] == [0, 0, 1, 1, 2]
    assert (bins[2]["low"], bins[2]["high"]) == pytest.approx((0.4, 0.6))
    assert bins[0]["accuracy"] is None
    assert (bins[3]["confidence"], bins[3]["accuracy"]) == pytest.approx((0.8, 0.0))
    assert (bins[4]["confidence"], bins[4]["accuracy"]) == pytest.approx((0.95, 1.0))


def test_expected_calibration_error_is_the_weighted_gap() -> None:
    # |1 - 0.6| / 4 + |0 - 0.8| / 4 + |1 - 0.95| * 2 / 4
    assert calibration_error(confidence_bins(SURE, LABELS, bins=5)) == pytest.approx(0.325)
    perfect = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert calibration_error(confidence_bins(perfect, np.array([0, 1]))) == 0


def test_calibration_of_one_classifier() -> None:
    found = calibration_of(SURE, LABELS)
    assert (found["accuracy"], found["confidence"]) == pytest.approx((0.75, 0.825))
    assert found["nll"] == pytest.approx(-np.log([0.6, 0.2, 0.9, 1.0]).mean())
    assert found["confusion"] == [[1, 0], [1, 2]]
    assert sum(each["count"] for each in found["bins"]) == 4
    assert len(found["bins"]) == 15


def test_labels_are_rows_of_the_confusion_matrix() -> None:
    assert confusion(np.array([0, 0, 2]), np.array([1, 1, 2]), 3) == [
        [0, 2, 0],
        [0, 0, 0],
        [0, 0, 1],
    ]


def test_agreement_and_consistency_of_errors() -> None:
    labels = np.zeros(8, int)
    first = np.array([0, 0, 0, 0, 0, 0, 1, 1])  # right on 6
    second = np.array([0, 0, 0, 0, 1, 1, 1, 1])  # right on 4
    found = agreement(labels, first, second, 2)
    assert found["between"] == [[4, 0], [2, 2]]
    assert found["agree"] == 0.75
    parts = ("both_right", "first_right", "second_right", "both_wrong")
    assert [found[part] for part in parts] == [4, 2, 0, 2]
    # by chance: 0.75 * 0.5 + 0.25 * 0.5 = 0.5
    assert found["error_consistency"] == pytest.approx((0.75 - 0.5) / 0.5)
    assert agreement(labels, labels, labels, 2)["error_consistency"] is None


def tokenizer_in(folder: Path) -> None:
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    BertTokenizer(vocab=vocabulary).save_pretrained(folder)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student, a teacher and a corpus of three rows."""
    root = tmp_path_factory.mktemp("calibration")
    torch.manual_seed(0)
    names = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"vocab_size": len(WORDS)}
    student = SpikeBertForSequenceClassification(SpikeBertConfig(timesteps=2, **sizes, **names))
    teacher = BertForSequenceClassification(BertConfig(intermediate_size=8, **sizes, **names))
    for name, model in (("films.spikebert.base.s1", student), ("films.teacher.base.s1", teacher)):
        model.save_pretrained(root / name)
        tokenizer_in(root / name)
    corpus = root / "corpus"
    corpus.mkdir()
    rows = [("a warm film", 1), ("dull", 0), ("a dull dull film", 0)]
    (corpus / "test.jsonl").write_text(
        "".join(
            json.dumps({"id": str(i), "text": text, "label": label}) + "\n"
            for i, (text, label) in enumerate(rows)
        ),
        encoding="utf-8",
    )
    stats = {"name": "films", "labels": ["bad", "good"]}
    (corpus / "stats.json").write_text(json.dumps(stats), encoding="utf-8")
    return root


def test_the_verb_says_what_the_models_say(work: Path, tmp_path: Path) -> None:
    out = tmp_path / "calibration.json"
    names = ("films.spikebert.base.s1", "films.teacher.base.s1")
    calibration(work / names[0], work / names[1], work / "corpus", out)
    found = read_calibration(out)
    assert (found["student"], found["teacher"]) == names
    assert (found["dataset"], found["split"], found["rows"]) == ("films", "test", 3)
    model = BertForSequenceClassification.from_pretrained(work / names[1]).eval()
    confidence, counts = [], [[0, 0], [0, 0]]
    for words, label in (("a warm film", 1), ("dull", 0), ("a dull dull film", 0)):
        ids = [WORDS.index(w) for w in ["[CLS]", *words.split(), "[SEP]"]]
        with torch.no_grad():
            shares = model(torch.tensor([ids])).logits[0].softmax(-1)
        confidence.append(float(shares.max()))
        counts[label][int(shares.argmax())] += 1
    assert found["models"]["teacher"]["confusion"] == counts
    assert found["models"]["teacher"]["confidence"] == pytest.approx(np.mean(confidence), abs=1e-5)


def test_another_corpus_is_refused(work: Path, tmp_path: Path) -> None:
    folder = work / "films.spikebert.base.s1"
    other = tmp_path / "corpus"
    other.mkdir()
    (other / "stats.json").write_text(json.dumps({"name": "x", "labels": ["no", "yes"]}))
    (other / "test.jsonl").write_text('{"id": "0", "text": "dull", "label": 0}\n')
    with pytest.raises(UserError, match="classes of the corpus, no, yes"):
        calibration(folder, folder, other, tmp_path / "out.json")


@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match="spikebert calibration"):
        read_calibration(tmp_path / "x.json")


def saved(**more) -> dict:
    teacher = np.array([[0.2, 0.8], [0.3, 0.7], [0.6, 0.4], [0.9, 0.1]])
    about = {"dataset": "films", "split": "test", "max_length": 64, "schema": 1}
    about |= {"student": "films.spikebert.base.s1", "teacher": "films.teacher.base.s1"}
    return {**about, **compare(SURE, teacher, LABELS, ["bad", "good"]), **more}


def test_figure_shows_reliability_and_counts() -> None:
    figure = calibration_figure(saved(), {"films": {"analogue": True}})
    assert "a stand-in" in figure.get_suptitle()
    reliability, rows, *matrices = figure.axes
    _, student, teacher = reliability.get_lines()
    assert list(student.get_xdata()) == pytest.approx([0.6, 0.8, 0.9, 1.0])
    assert list(student.get_ydata()) == [1, 0, 1, 1]
    assert student.get_label() == f"student, ECE {100 * saved()['models']['student']['ece']:.1f} %"
    assert list(teacher.get_xdata()) == pytest.approx([0.6, 0.7, 0.8, 0.9])
    assert sum(bar.get_height() for bar in rows.patches) == 8
    texts = [[text.get_text() for text in panel.texts] for panel in matrices]
    assert texts[0] == ["1", "0", "1", "2"]
    assert texts[1] == ["1", "0", "1", "2"]
    assert texts[2] == ["1", "1", "1", "1"]
    assert matrices[2].get_title().startswith("same answer: 50.0 %")


def test_the_same_file_gives_the_same_figure(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(saved()), encoding="utf-8")
    for name in ("first", "second"):
        write_calibration(Published(calibration=tmp_path / "c.json"), tmp_path / name)
    for kind in ("svg", "png"):
        first, second = (tmp_path / name / f"calibration.{kind}" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
