"""What any neural model has to beat: n-gram frequencies and logistic regression, of scores ridge
regression. A pair is read as one text, its sides joined by a space."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline

from ...config.plan import Run
from ...config.registry import LANGUAGES
from ...config.settings import TfidfSettings
from ...data.text import sides
from ...records.metrics import headline, scores
from ...records.records import Record
from ..loop import FitResult
from .common import Corpus, write_results


def tfidf_model(language: str, max_ngram: int, c: float, regression: bool = False) -> Pipeline:
    """Sublinear TF-IDF of a language's words or, without blanks, characters, then
    logistic regression, or ridge regression of scores, with inverse regularisation `c`."""
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
    """Fit one model per C, keep the best on dev, read test once. No seed enters: it is exact."""
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
