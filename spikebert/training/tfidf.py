"""What any neural model has to beat: n-gram frequencies and logistic regression, of scores ridge
regression. A pair is read as one text, its sides joined by a space."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline

from ..config.settings import TfidfSettings, digest
from ..data.text import sides
from ..records.metrics import headline, scores
from ..records.predictions import write_predictions
from ..records.records import Record, write_record
from .loop import peak_rss_bytes
from .steps import COMMIT, Corpus, Run, hardware, judge, versions


def tfidf_model(language: str, max_ngram: int, c: float, regression: bool = False) -> Pipeline:
    """Sublinear TF-IDF of words (English) or characters (Chinese, which has no blanks), then
    logistic regression, or ridge regression of scores, with inverse regularisation `c`."""
    analyzer = "char" if language == "zh" else "word"
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
    corpus_dir: Path,
    language: str,
    run: Run,
    record: Path,
    predictions: Path,
) -> Record:
    """Fit one model per C, keep the best on dev, read test once. No seed enters: it is exact."""
    started = time.perf_counter()
    corpus = Corpus.read(corpus_dir)
    splits = (corpus.train, corpus.dev, corpus.test)
    x = [[" ".join(sides(row)) for row in rows] for rows in splits]
    y = [[row["label"] for row in rows] for rows in splits]
    scored = []
    for c in settings.inverse_regularisation:
        model = tfidf_model(language, settings.max_ngram, c, corpus.labels is None)
        answers = model.fit(x[0], y[0]).predict(x[1]).tolist()
        scored.append((headline(scores(corpus.metric, y[1], answers)), -c, model))
    best, minus_c, model = max(scored, key=lambda s: s[:2])
    wall_s = time.perf_counter() - started
    answers, guesses = (model.predict(texts).tolist() for texts in x[1:])
    described = {"tfidf": dataclasses.asdict(settings) | {"language": language}}
    result = Record(
        **run.without("teacher", "augment"),
        **(judge(corpus, "dev", y[1], answers) | judge(corpus, "test", y[2], guesses)),
        n_train=len(y[0]),
        n_dev=len(y[1]),
        n_test=len(y[2]),
        steps=0,
        tokens=0,
        wall_s=round(wall_s, 3),
        samples_per_s=round(len(y[0]) * len(scored) / wall_s, 3),
        peak_rss_bytes=peak_rss_bytes(),
        parameters=int(model[-1].coef_.size + model[-1].intercept_.size),
        settings=described,
        settings_digest=digest(described),
        versions=versions(),
        commit=COMMIT,
        hardware=hardware(),
        history=[{"C": -minus_c, f"{corpus.metric}_dev": float(best)}],
    )
    write_predictions(predictions, [row["id"] for row in corpus.test], y[2], guesses)
    write_record(record, result)
    return result
