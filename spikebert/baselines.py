"""What any neural model has to beat: n-gram frequencies and logistic regression."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from .records import Record, write_predictions, write_record
from .settings import TfidfSettings, digest
from .steps import Corpus, Run, commit, hardware, versions
from .training import peak_rss_bytes


def tfidf_model(language: str, max_ngram: int, c: float) -> Pipeline:
    """Sublinear TF-IDF of words (English) or characters (Chinese, which has no blanks), then
    logistic regression with inverse regularisation `c`."""
    analyzer = "char" if language == "zh" else "word"
    pattern = r"(?u)\b\w+\b|[!?]"
    vectors = TfidfVectorizer(
        analyzer=analyzer,
        token_pattern=pattern if analyzer == "word" else None,
        ngram_range=(1, max_ngram),
        sublinear_tf=True,
        min_df=2,
    )
    return make_pipeline(vectors, LogisticRegression(C=c, max_iter=1000))


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
    x, y = ([[row[key] for row in rows] for rows in (corpus.train, corpus.dev, corpus.test)]
            for key in ("text", "label"))  # fmt: skip
    scored = []
    for c in settings.inverse_regularisation:
        model = tfidf_model(language, settings.max_ngram, c).fit(x[0], y[0])
        scored.append((model.score(x[1], y[1]), -c, model))
    best, minus_c, model = max(scored, key=lambda s: s[:2])
    wall_s = time.perf_counter() - started
    guesses = model.predict(x[2]).tolist()
    described = {"tfidf": dataclasses.asdict(settings) | {"language": language}}
    result = Record(
        **{k: v for k, v in dataclasses.asdict(run).items() if k != "teacher"},
        accuracy_dev=float(best),
        accuracy_test=sum(p == g for p, g in zip(guesses, y[2], strict=True)) / len(guesses),
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
        commit=commit(),
        hardware=hardware(),
        history=[{"C": -minus_c, "accuracy_dev": float(best)}],
    )
    write_predictions(predictions, [row["id"] for row in corpus.test], y[2], guesses)
    write_record(record, result)
    return result
