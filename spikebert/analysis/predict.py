"""A trained folder, and what it says of a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from ..data.corpus import read_rows
from ..errors import UserError
from ..models import modeling, textcnn  # noqa: F401  (registers our models with the Auto classes)
from ..models.loading import load_model
from ..training.tokenization import LONGEST, collator, encode, load_tokenizer
from .early_exit import check_states, exit_curve, exit_early
from .probes import spike_counts, spike_rate

Text = str | tuple[str, str]  # or both texts of a pair


def predict(
    folder: str | Path,
    texts: Sequence[Text],
    max_length: int = LONGEST,
    margin: float | None = None,
) -> list[dict[str, Any]]:
    """Label, probabilities by class name, spike rate (None if not spiking) and notes of each text;
    of a model of scores the label is the score, and there are no probabilities.

    Sentences run one at a time, so that no padding enters the spike rate. With a margin, a student
    stops as in `early_exit`, and "steps" says after how many. A text that cannot be read has the
    label None; the notes say why, or what was cut, or how much of it the model does not know.

    Raises:
        UserError: none of the texts can be read, or the folder holds no classifier.
    """
    return list(answers(folder, texts, max_length, margin))


@torch.inference_mode()
def answers(
    folder: str | Path,
    texts: Sequence[Text],
    max_length: int = LONGEST,
    margin: float | None = None,
) -> Iterator[dict[str, Any]]:
    """The same, one after the other."""
    problems = [_problem(text) for text in texts]
    if all(problems):
        raise next(problem for problem in problems if problem)
    model, tokenizer = load(folder)
    if model.config.num_labels == 1:
        margin = None  # a score has no classes to part
    if getattr(model.config, "position", "learned") != "none":  # a BERT has no such setting
        max_length = min(max_length, getattr(model.config, "max_position_embeddings", max_length))
    for text, problem in zip(texts, problems, strict=True):
        if problem:
            yield _answer(notes=[str(problem.got)])
            continue
        row = {"text": text} if isinstance(text, str) else {"text": text[0], "text_pair": text[1]}
        (example,) = encode([row], tokenizer, 10**9)
        ids = [
            i
            for i in example["input_ids"]
            if i not in (tokenizer.cls_token_id, tokenizer.sep_token_id)
        ]
        if not ids and len(texts) == 1:
            check_text("")
        if not ids:
            yield _answer(notes=["no piece of it is text"])
            continue
        notes = []
        if (length := len(example["input_ids"])) > max_length:
            notes.append(f"cut after {max_length} of {length:,} pieces")
            (example,) = encode([row], tokenizer, max_length)
        if unknown := ids.count(tokenizer.unk_token_id):
            notes.append(f"{unknown} of {len(ids)} pieces unknown to this model")
        yield _classify(model, dict(collator(tokenizer)([example])), margin) | {"notes": notes}


def _answer(**known: Any) -> dict[str, Any]:
    return {"label": None, "probabilities": {}, "spike_rate": None, "notes": [], **known}


def _classify(model: Any, inputs: dict[str, Any], margin: float | None) -> dict[str, Any]:
    used: dict[str, Any] = {}
    if margin is not None:
        check_states(model, inputs["input_ids"])  # its spikes are not to be counted
    with spike_counts(model) as counts:
        if margin is None:
            logits = model(**inputs).logits[0].float()
        else:
            (logits,), (steps,) = exit_early(model, **inputs, margin=margin)
            used = {"steps": int(steps)}
    if len(logits) == 1:
        return _answer(label=f"{logits[0]:.4g}", spike_rate=spike_rate(counts))
    shares = {model.config.id2label[i]: p for i, p in enumerate(logits.softmax(-1).tolist())}
    label = max(shares, key=shares.__getitem__)
    return _answer(label=label, probabilities=shares, spike_rate=spike_rate(counts), **used)


def _problem(text: Text) -> UserError | None:
    try:
        for side in (text,) if isinstance(text, str) else text:
            check_text(side)
    except UserError as error:
        return error
    return None


def check_text(text: str) -> None:
    """Raise a `UserError` unless there is something to be read in `text`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(
            "text", expected="text in UTF-8", got=ascii(text)[:80], fix="mend its encoding"
        ) from None
    if not text.strip():
        raise UserError("text", expected="at least one word", got="an empty text", fix="give one")


def load(folder: str | Path) -> tuple[Any, PreTrainedTokenizerBase]:
    """A trained classifier in evaluation, and its tokenizer."""
    model = load_model(AutoModelForSequenceClassification, folder)
    tokenizer = load_tokenizer(folder)
    if len(tokenizer) > (known := model.get_input_embeddings().num_embeddings):
        raise UserError(
            f"tokenizer in {folder}",
            expected=f"at most {known} tokens, the vocabulary of the model",
            got=len(tokenizer),
            fix="put back the tokenizer that the model was trained with",
        )
    return model, tokenizer


def encode_unlabelled(
    rows: Sequence[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[dict[str, Any]]:
    """`encode` of rows whose labels, if any, are not to be seen."""
    texts = [{k: v for k, v in row.items() if k != "label"} for row in rows]
    return encode(texts, tokenizer, max_length)


def early_exit_curve(
    folder: str | Path,
    corpus: Path,
    split: str,
    margins: Sequence[float],
    max_length: int = LONGEST,
    batch_size: int = 1,
) -> list[dict[str, float]]:
    """Accuracy, mean steps and milliseconds a sentence of a student, by margin, on one split."""
    model, tokenizer = load(folder)
    if model.config.num_labels == 1:
        raise UserError(
            f"model {folder}",
            expected="classes, whose distance says when to stop",
            got="one score",
            fix="name a classifier",
        )
    examples = encode(read_rows(corpus / f"{split}.jsonl"), tokenizer, max_length)
    points = exit_curve(model, examples, collator(tokenizer), margins, batch_size)
    return [point._asdict() for point in points]
