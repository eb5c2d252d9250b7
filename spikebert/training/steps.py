"""The training steps of the line, from files to files; each is one verb and one rule.

A step writes its model folder whole or not at all, and then its record: first dev selects, then
the selected weights, in float32, read the test rows once.
"""

from __future__ import annotations

import dataclasses
import functools
import platform
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    DataCollatorForLanguageModeling,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from .._version import __version__
from ..config.settings import (
    DENSE,
    DirectSettings,
    DistillSettings,
    FineTuneSettings,
    ModelSettings,
    PretrainSettings,
    Stage1Settings,
    Stage2Settings,
    digest,
    step_of,
)
from ..config.specs import SPLITS
from ..config.tasks import ACCURACY, metric_of
from ..data.corpus import AGAIN, read_classes, read_labelled, read_rows, read_stats
from ..errors import UserError
from ..models.loading import HEAD, POOLER, load_model
from ..models.students import classifier, describe, encoder, new_student
from ..records.metrics import scores
from ..records.predictions import write_predictions
from ..records.records import Record, write_record
from ..utils.distributed import is_main, world
from ..utils.files import atomic_folder, read_json, write_json
from .checkpoints import checkpoint_folder
from .distillation import (
    Classifier,
    MaskedWords,
    PretrainingDistillation,
    TaskDistillation,
    check_same_model,
    copy_embeddings,
)
from .loop import FitResult, answers, file_digest, fit, peak_rss_bytes, predict_logits, use_bf16
from .streaming import Stream
from .teacher_cache import Cache, Collate, Example, ask
from .tokenization import collator, encode, load_tokenizer, tokenizer_file

MAX_ALPHABET = 1000  # characters of a vocabulary; the most frequent ones


@dataclass(frozen=True)
class Corpus:
    """The three splits of a labelled set, the names of its classes (None: it has scores), and what
    judges it."""

    train: list[dict[str, Any]]
    dev: list[dict[str, Any]]
    test: list[dict[str, Any]]
    labels: list[str] | None
    digest: str
    metric: str = ACCURACY

    @classmethod
    def read(cls, folder: Path) -> Corpus:
        stats = read_stats(folder)
        labels = read_classes(folder)
        metric = metric_of(stats)
        train, dev, test = (read_labelled(folder, split, labels) for split in SPLITS)
        for split, rows in zip(SPLITS, (train, dev, test), strict=True):
            if not rows:
                raise UserError(
                    f"split {split} of {folder}", expected="rows", got="none", fix=AGAIN
                )
        files = [folder / f"{split}.jsonl" for split in SPLITS]
        parts = [file_digest(file) for file in files] + ([metric] if metric != ACCURACY else [])
        return cls(train, dev, test, labels, digest(parts), metric)

    @property
    def num_labels(self) -> int:
        """Outputs of a model: a logit for each class, or one score."""
        return 1 if self.labels is None else len(self.labels)

    @property
    def label_names(self) -> dict[str, Any]:
        """The arguments of a Hugging Face configuration that name the classes."""
        if self.labels is None:
            names = {"id2label": {0: "score"}, "label2id": {"score": 0}}
            return {"num_labels": 1, "problem_type": "regression", **names}
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {name: i for i, name in enumerate(self.labels)},
        }


@dataclass(frozen=True)
class Run:
    """Which run a step works for; as the workflow hands it over."""

    id: str
    dataset: str
    source: str
    model: str
    variant: str
    seed: int
    teacher: str | None = None
    augment: dict[str, Any] | None = None  # the settings of the rows that it trains on

    def without(self, *names: str) -> dict[str, Any]:
        """Its fields but for these."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in names}


def versions() -> dict[str, str]:
    """Versions of what computes the numbers."""
    names = ("torch", "transformers", "accelerate", "numpy", "scikit-learn")
    known = {name: metadata.version(name) for name in names}
    return {"spikebert": __version__, "python": platform.python_version(), **known}


def commit(folder: Path = Path(__file__).parent) -> str:
    """The commit of the source, with `+` if files have changed since; "unknown" outside git.

    Files in `results/` do not count: a run writes its own records there.
    """

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
        )

    try:
        head = git("rev-parse", "--verify", "HEAD")
        changed = git("diff", "--quiet", "HEAD", "--", ":(top)", ":(top,exclude)results")
    except OSError:
        return "unknown"
    if head.returncode:
        return "unknown"
    return head.stdout.strip() + ("+" if changed.returncode else "")


COMMIT = commit()  # of what was imported: files may change while it trains


def hardware() -> str:
    """Processor or GPU, and threads, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = torch.cpu.get_capabilities().get("cpu_name", platform.processor() or "CPU")
    return f"{name}, {torch.get_num_threads()} thread(s)"


def judge(
    corpus: Corpus, split: str, labels: Sequence[float], predictions: Sequence[float]
) -> dict[str, Any]:
    """The fields of a record that say how good predictions on a split are."""
    right = sum(p == label for p, label in zip(predictions, labels, strict=True)) / len(labels)
    judged: dict[str, Any] = {f"accuracy_{split}": None if corpus.labels is None else right}
    if corpus.metric != ACCURACY:
        judged |= {
            "metric": corpus.metric,
            f"metrics_{split}": scores(corpus.metric, labels, predictions),
        }
    return judged


def finish(
    run: Run,
    corpus: Corpus,
    model: nn.Module,
    encode_rows: Callable[[Sequence[dict[str, Any]]], list[dict[str, Any]]],
    collate: Callable,
    fitted: FitResult,
    settings: dict[str, Any],
    n_train: int,
    upstream: dict[str, Any] | None = None,
) -> tuple[Record, list[float]]:
    """The record of a trained model and its predictions on test."""
    judged: dict[str, Any] = {}
    predictions = []
    for split, rows in (("dev", corpus.dev), ("test", corpus.test)):
        logits = predict_logits(Classifier(model), encode_rows(rows), collate)
        predictions = answers(logits).tolist()
        judged |= judge(corpus, split, [row["label"] for row in rows], predictions)
    if run.augment:
        settings = settings | {"augment": run.augment}
    record = Record(
        **run.without("teacher", "augment"),
        **judged,
        n_train=n_train,
        n_dev=len(corpus.dev),
        n_test=len(corpus.test),
        steps=fitted.steps,
        tokens=fitted.tokens,
        wall_s=round(fitted.wall_s, 3),
        samples_per_s=round(fitted.samples_per_s, 3),
        peak_rss_bytes=peak_rss_bytes(),
        parameters=sum(p.numel() for p in model.parameters()),
        settings=settings,
        settings_digest=digest(settings),
        versions=versions(),
        commit=COMMIT,
        hardware=hardware(),
        history=fitted.history,
        upstream={"teacher": run.teacher, **(upstream or {})},
    )
    return record, predictions


@dataclass(frozen=True)
class Outputs:
    """Where a supervised step writes."""

    checkpoints: Path
    out: Path
    record: Path
    predictions: Path


def supervised(
    run: Run,
    corpus: Corpus,
    train: Sequence[dict[str, Any]],
    module: nn.Module,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: Any,
    described: dict[str, Any],
    inputs: dict[str, str],
    outputs: Outputs,
    upstream: dict[str, Any] | None = None,
    prepare: Callable[
        [Callable[[], list[Example]], Collate], tuple[Sequence[Example], Collate]
    ] = lambda encode, collate: (encode(), collate),
) -> Record | None:
    """Fit `module` on `train`, then save `model` with its tokenizer, record and predictions. Of
    several processes the first does the latter, and the others have no record to return.

    `prepare` gives the training examples, which it may encode, and the collator for them.
    """

    def encode_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return encode(rows, tokenizer, settings.max_length)

    collate = collator(tokenizer)
    identity = {"run": run.without("augment"), "settings": described, **inputs}
    with checkpoint_folder(outputs.checkpoints, identity) as store:
        examples, feed = prepare(lambda: encode_rows(train), collate)
        fitted = fit(
            module,
            examples,
            encode_rows(corpus.dev),
            feed,
            settings,
            run.seed,
            store,
            corpus.metric,
        )
        if not is_main():
            return None
        record, predictions = finish(
            run, corpus, model, encode_rows, collate, fitted, described, len(train), upstream
        )
        with atomic_folder(outputs.out) as part:
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
        ids = [row["id"] for row in corpus.test]
        write_predictions(
            outputs.predictions, ids, [row["label"] for row in corpus.test], predictions
        )
        write_record(outputs.record, record)
    return record


def finetune(
    settings: FineTuneSettings, corpus_dir: Path, teacher: Path, run: Run, outputs: Outputs
) -> Record | None:
    """Fine-tune a BERT on one set."""
    set_seed(run.seed)
    corpus = Corpus.read(corpus_dir)
    model = load_model(AutoModelForSequenceClassification, teacher, new=HEAD, **corpus.label_names)
    return supervised(
        run,
        corpus,
        corpus.train,
        Classifier(model),
        model,
        load_tokenizer(teacher),
        settings,
        {"finetune": dataclasses.asdict(settings)},
        {"corpus": corpus.digest, "teacher": file_digest(teacher)},
        outputs,
    )


def direct(
    model: ModelSettings,
    settings: DirectSettings,
    corpus_dir: Path,
    tokenizer_dir: Path,
    run: Run,
    outputs: Outputs,
) -> Record | None:
    """Train a student on the labels alone, from random weights; a dense one, where the settings are
    those of one."""
    set_seed(run.seed)
    corpus = Corpus.read(corpus_dir)
    tokenizer = load_tokenizer(tokenizer_dir)
    step = step_of(settings)
    dense = step in DENSE
    student = classifier(new_student(model, tokenizer, dense, **corpus.label_names))
    return supervised(
        run,
        corpus,
        corpus.train,
        Classifier(student),
        student,
        tokenizer,
        settings,
        {"model": describe(model, dense), step: dataclasses.asdict(settings)},
        {"corpus": corpus.digest, "tokenizer": file_digest(tokenizer_file(tokenizer_dir))},
        outputs,
    )


def pretrain(settings: PretrainSettings, text: Path, checkpoints: Path, out: Path) -> None:
    """Make a small BERT by masked language modelling, with a WordPiece vocabulary of its own."""
    if world() > 1:
        raise UserError(
            "pretrain", expected="one process", got=f"{world()} of them", fix="start it alone"
        )
    set_seed(settings.seed)
    rows = read_rows(text)
    tokenizer = train_tokenizer((row["text"] for row in rows), settings.vocab_size)
    model = MaskedWords(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=settings.hidden_size,
            num_hidden_layers=settings.num_hidden_layers,
            num_attention_heads=settings.num_attention_heads,
            intermediate_size=4 * settings.hidden_size,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    collate = DataCollatorForLanguageModeling(
        tokenizer, mlm_probability=settings.mlm_probability, seed=settings.seed
    )
    described = {"pretrain": dataclasses.asdict(settings)}
    with checkpoint_folder(checkpoints, {**described, "text": file_digest(text)}) as store:
        examples = encode(rows, tokenizer, settings.max_length)
        fitted = fit(model, examples, None, collate, settings, settings.seed, store)
        with atomic_folder(out) as part:
            model.bert.save_pretrained(part)
            tokenizer.save_pretrained(part)
            write_json(part / "training.json", described | dataclasses.asdict(fitted))


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """A WordPiece tokenizer in the manner of BERT's; Chinese characters are words."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizer

    trainer = BertWordPieceTokenizer(lowercase=True)
    texts = list(texts)
    first, later = characters(trainer.pre_tokenizer, map(trainer.normalize, texts))
    alphabet = sorted(first + later, key=lambda c: (-(first + later)[c], c))[:MAX_ALPHABET]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # The library numbers characters, and so breaks ties, in the order of a hash with a random key,
    # but for those it is told beforehand.
    trainer.train_from_iterator(
        texts,
        vocab_size=vocab_size,
        show_progress=False,
        limit_alphabet=len(alphabet),
        initial_alphabet=alphabet,
        special_tokens=special + [f"##{c}" for c in sorted(set(alphabet) & later.keys())],
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer.save_model(folder)
        return BertTokenizer(vocab=f"{folder}/vocab.txt", do_lower_case=True)


def characters(splitter: Any, texts: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """How often each character begins a word, and how often it stands later in one."""
    first: Counter[str] = Counter()
    later: Counter[str] = Counter()
    for text in texts:
        for word, _ in splitter.pre_tokenize_str(text):
            first.update(word[0])
            later.update(word[1:])
    return first, later


def asked_once(
    cache: Cache | None,
    module: PretrainingDistillation | TaskDistillation,
    encode: Callable[[], list[Example]],
    collate: Collate,
    identity: dict[str, str],
    settings: DistillSettings,
) -> tuple[Sequence[Example], Collate]:
    """The examples for training and their collator; with a cache, the batches bring what the
    teacher says, and what is kept is not encoded again."""
    encode = functools.cache(encode)
    if cache is None:
        return encode(), collate
    taught = ask(
        cache,
        {**identity, "max_length": settings.max_length, "bf16": use_bf16(settings.precision)},
        module.teacher,
        encode,
        collate,
        [layer for _, layer in module.alignment.pairs],
        use_bf16(settings.precision),
    )
    if taught is None:
        return encode(), collate
    return taught.examples, taught.collator(collate)


def stage1(
    model: ModelSettings,
    settings: Stage1Settings,
    text: Path,
    teacher_dir: Path,
    checkpoints: Path,
    out: Path,
    cache: Cache | None = None,
) -> None:
    """Pre-training distillation: a headless student and the projections of its losses. The student
    is dense, where the settings are those of a dense one.

    The rows of `text` stand in the order of hashes, so the first `max_sentences` are a sample.
    """
    set_seed(settings.seed)
    tokenizer = load_tokenizer(teacher_dir)
    teacher = load_model(AutoModel, teacher_dir, new=POOLER)
    step = step_of(settings)
    dense = step in DENSE
    student = encoder(new_student(model, tokenizer, dense))
    if settings.embedding_init == "teacher":
        config = student.config
        scale = (None,) if dense else (config.embedding_std, config.embedding_mean)
        copy_embeddings(student, teacher, *scale)
    module = PretrainingDistillation(student, teacher, settings)
    described = {"model": describe(model, dense), step: dataclasses.asdict(settings)}
    inputs = {"text": file_digest(text), "teacher": file_digest(teacher_dir)}
    if settings.max_sentences:  # the teacher's kept answers are those to fewer rows
        inputs["max_sentences"] = str(settings.max_sentences)
    with checkpoint_folder(checkpoints, described | inputs) as store:
        examples: Sequence[Example] | Stream
        collate: Collate = collator(tokenizer)
        if settings.window_sentences:
            examples = Stream(
                text,
                tokenizer,
                settings.max_length,
                settings.window_sentences,
                settings.batch_size,
                settings.max_sentences,
            )
        else:

            def encode_text() -> list[Example]:
                rows = [{"text": row["text"]} for row in read_rows(text, settings.max_sentences)]
                return encode(rows, tokenizer, settings.max_length)

            examples, collate = asked_once(cache, module, encode_text, collate, inputs, settings)
        fitted = fit(module, examples, None, collate, settings, settings.seed, store)
        if not is_main():
            return
        with atomic_folder(out) as part:
            student.save_pretrained(part)
            tokenizer.save_pretrained(part)
            save_file(module.alignment.state_dict(), part / "projections.safetensors")
            write_json(part / "training.json", described | dataclasses.asdict(fitted))


def stage2(
    model: ModelSettings,
    settings: Stage2Settings,
    corpus_dir: Path,
    augmented: Path,
    teacher_dir: Path,
    stage1_dir: Path | None,
    run: Run,
    outputs: Outputs,
    cache: Cache | None = None,
) -> Record | None:
    """Task distillation, from stage 1's student or, without `stage1_dir`, from random weights. The
    student is dense, where the settings are those of a dense one."""
    set_seed(run.seed)
    corpus = Corpus.read(corpus_dir)
    tokenizer = load_tokenizer(teacher_dir)
    teacher = load_model(AutoModelForSequenceClassification, teacher_dir)
    if teacher.config.num_labels != corpus.num_labels:
        raise UserError(
            f"teacher in {teacher_dir}",
            expected="one score"
            if corpus.labels is None
            else f"{corpus.num_labels} classes, those of {run.dataset}",
            got=teacher.config.num_labels,
            fix="fine-tune a teacher on this set",
        )
    step = step_of(settings)
    dense = step in DENSE
    student = classifier(new_student(model, tokenizer, dense, **corpus.label_names))
    module = TaskDistillation(student, teacher, settings)
    described = {"model": describe(model, dense), step: dataclasses.asdict(settings)}
    inputs = {
        "corpus": corpus.digest,
        "augmented": file_digest(augmented),
        "teacher": file_digest(teacher_dir),
    }
    upstream = None
    if stage1_dir is not None:
        load_stage1(student, module.alignment, stage1_dir)
        inputs["stage1"] = file_digest(stage1_dir)
        first = read_json(stage1_dir / "training.json", fix="run stage 1 again")
        described |= {name: first[name] for name in first if name.endswith("stage1")}
        upstream = {name: first[name] for name in ("steps", "tokens", "wall_s", "samples")}
    return supervised(
        run,
        corpus,
        read_rows(augmented),
        module,
        student,
        tokenizer,
        settings,
        described,
        inputs,
        outputs,
        {"stage1": upstream} if upstream else None,
        lambda encode, collate: asked_once(
            cache,
            module,
            encode,
            collate,
            {"text": inputs["augmented"], "teacher": inputs["teacher"]},
            settings,
        ),
    )


def load_stage1(student: PreTrainedModel, alignment: nn.Module, folder: Path) -> None:
    """Put stage 1's student and projections into those of stage 2, every tensor or an error."""
    found = load_model(AutoModel, folder)
    check_same_model(found.config, student.config, str(folder))
    student.base_model.load_state_dict(found.state_dict(), strict=True)
    projections = load_file(folder / "projections.safetensors")
    try:
        alignment.load_state_dict(projections, strict=True)
    except RuntimeError as error:
        raise UserError(
            f"projections in {folder}",
            expected="those of this student and teacher",
            got=str(error).splitlines()[-1].strip(),
            fix="run stage 1 with the same teacher and ignored_layers",
        ) from None
