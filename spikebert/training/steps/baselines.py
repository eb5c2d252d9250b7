"""Baselines, from files to files: TextCNN, the spiking network made of it, and what any neural
model has to beat, n-gram frequencies and logistic regression, of scores ridge regression."""

from __future__ import annotations

import dataclasses
import inspect
import time
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from ...config.plan import Run
from ...config.registry import LANGUAGES
from ...config.settings import SnnTextCnnSettings, TextCnnSettings, TfidfSettings
from ...data.text import sides
from ...errors import UserError
from ...models.configuration import SnnTextCnnConfig, TextCnnConfig
from ...models.loading import POOLER, load_model
from ...models.textcnn import TextCnnForSequenceClassification, convert
from ...records.metrics import headline, scores
from ...records.records import Record
from ..distillation import copy_embeddings
from ..loop import FitResult
from .common import Corpus, Outputs, Task, write_results


def _given(kind: type[TextCnnConfig], source: object) -> dict[str, Any]:
    """The fields that a configuration adds to its parent's, as far as `source` has them."""
    names = inspect.get_annotations(kind)
    return {name: getattr(source, name) for name in names if hasattr(source, name)}


def textcnn(
    settings: TextCnnSettings, corpus: Path, bert: Path, run: Run, outputs: Outputs
) -> Record | None:
    """Train TextCNN, whose tokenizer and, by setting, first word embeddings are a BERT's."""
    task = Task(settings, corpus, bert, run, outputs)
    model = TextCnnForSequenceClassification(
        TextCnnConfig(
            vocab_size=len(task.tokenizer),
            pad_token_id=task.tokenizer.pad_token_id,
            **_given(TextCnnConfig, settings),
            **task.corpus.label_names,
        )
    )
    if settings.embedding_init == "teacher":
        teacher = load_model(AutoModel, bert, new=POOLER)
        copy_embeddings(model, teacher, model.config.embedding_std)
    return task.train(model, {"teacher": bert})


def snn_textcnn(
    settings: SnnTextCnnSettings, corpus: Path, parent: Path, run: Run, outputs: Outputs
) -> Record | None:
    """Make a trained TextCNN spiking and fine-tune it.

    Raises:
        UserError: `parent` holds another model, or one of other classes.
    """
    task = Task(settings, corpus, parent, run, outputs)
    config = AutoConfig.from_pretrained(parent)
    found = (config.model_type, config.num_labels)
    if found != (TextCnnConfig.model_type, task.corpus.num_labels):
        raise UserError(
            f"model in {parent}",
            expected=f"a {TextCnnConfig.model_type} of {task.corpus.num_labels} classes",
            got=f"a {found[0]} of {found[1]}",
            fix="train a TextCNN on this set",
        )
    model = convert(
        load_model(AutoModelForSequenceClassification, parent),
        SnnTextCnnConfig(
            **_given(TextCnnConfig, config),
            **_given(SnnTextCnnConfig, settings),
            **task.corpus.label_names,
        ),
    )
    upstream = {"teacher": None, "textcnn": run.teacher}
    return task.train(model, {"textcnn": parent}, upstream=upstream)


def tfidf_model(language: str, max_ngram: int, c: float, regression: bool = False) -> Any:
    """A pipeline of scikit-learn: sublinear TF-IDF of a language's words or, without blanks,
    characters, then logistic regression, or ridge regression of scores, with inverse regularisation
    `c`."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline

    analyzer = LANGUAGES[language].ngrams
    pattern = r"(?u)\b\w+\b|[!?]"
    vectors = TfidfVectorizer(
        analyzer=analyzer,
        token_pattern=pattern if analyzer == "word" else None,
        ngram_range=(1, max_ngram),
        sublinear_tf=True,
        min_df=2,
    )
    last = Ridge(alpha=1 / c) if regression else LogisticRegression(C=c, max_iter=1000)
    return make_pipeline(vectors, last)


def tfidf(
    settings: TfidfSettings,
    corpus: Path,
    run: Run,
    record: Path,
    predictions: Path,
) -> Record:
    """Fit one model per C, keep the best on dev, read test once. No seed enters: it is exact.

    A pair is read as one text, its sides joined by a space.
    """
    started = time.perf_counter()
    labelled = Corpus.read(corpus)
    splits = (labelled.train, labelled.dev, labelled.test)
    x = [[" ".join(sides(row)) for row in rows] for rows in splits]
    y = [[row["label"] for row in rows] for rows in splits]
    tried = []
    for c in settings.inverse_regularisation:
        model = tfidf_model(run.language, settings.max_ngram, c, labelled.labels is None)
        answers = model.fit(x[0], y[0]).predict(x[1]).tolist()
        tried.append((headline(scores(labelled.metric, y[1], answers)), -c, model))
    best, minus_c, model = max(tried, key=lambda s: s[:2])
    fitted = FitResult(
        steps=0,
        tokens=0,
        samples=len(y[0]) * len(tried),
        wall_s=time.perf_counter() - started,
        history=[{"C": -minus_c, f"{labelled.metric}_dev": float(best)}],
    )
    on_dev, on_test = (model.predict(texts).tolist() for texts in x[1:])
    return write_results(
        run,
        labelled,
        fitted,
        {"tfidf": dataclasses.asdict(settings) | {"language": run.language}},
        on_dev,
        on_test,
        record,
        predictions,
        n_train=len(y[0]),
        parameters=int(model[-1].coef_.size + model[-1].intercept_.size),
        upstream={},
    )
