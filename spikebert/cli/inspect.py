"""Verbs that use a trained model, and those that look inside one."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..config.datasets import TABLES
from ..errors import UserError
from .options import (
    LOOK,
    USE,
    CorpusDir,
    JsonOut,
    MaxLength,
    NpzOut,
    Plugins,
    Threads,
    app,
    begin,
    echo_table,
    load,
)

Student = Annotated[Path, typer.Argument(help="A trained student.", file_okay=False)]
Split = Annotated[Literal["dev", "test"], typer.Option(help="Whose rows.")]
Json = Annotated[Path | None, typer.Option(help="JSON to write.", dir_okay=False)]


@app.command(rich_help_panel=USE)
def predict(
    model: Annotated[Path, typer.Argument(help="A trained student, teacher or published folder.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Sentences; - or none: a line each of what is piped in."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="A text a line (.txt), or .csv, .tsv, .jsonl, .json, .parquet.", dir_okay=False
        ),
    ] = None,
    text_column: Annotated[str, typer.Option(help="Column of the texts, of --file.")] = "text",
    pair_column: Annotated[
        str | None, typer.Option(help="Column of the second texts, of --file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    margin: Annotated[
        float | None,
        typer.Option(min=0, help="Stop at the step where two classes are this far apart."),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Classify sentences: label, probabilities, and the share of neurons that spike.

    A line each: label, probabilities, spikes, the text's beginning, and what there is to say of it.
    """
    load(plugin)
    rows: list[Any] = [] if texts == ["-"] else list(texts or ())
    if file:
        rows += texts_of(file, text_column, pair_column)
    elif not rows:
        rows = [line.rstrip("\r\n") for line in sys.stdin]
    from ..analysis.predict import answers

    status = 0
    for row, result in zip(rows, answers(model, rows, margin=margin), strict=True):
        text = row if isinstance(row, str) else " / ".join(row)
        status = status or int(result["label"] is None)
        if as_json:
            typer.echo(json.dumps({"text": row, **result}, ensure_ascii=False))
            continue
        shares = ", ".join(f"{name} {p:.3f}" for name, p in result["probabilities"].items())
        rate = result["spike_rate"]
        spikes = "not spiking" if rate is None else f"spike rate {rate:.3f}"
        if "steps" in result:
            spikes += f", {result['steps']} step(s)"
        shown = textwrap.shorten(text, 80, placeholder="...") or repr(text)
        columns = [result["label"] or "-", shares, spikes, shown, "; ".join(result["notes"])]
        typer.echo("\t".join(columns).rstrip("\t"))
    raise typer.Exit(status)


def texts_of(file: Path, text_column: str, pair_column: str | None) -> list[str | tuple[str, str]]:
    """The texts of a file, by the ending of its name."""
    from ..data.decoding import COMPRESSIONS
    from ..data.readers import read_raw

    endings = [ending for ending in file.suffixes if ending not in COMPRESSIONS] or [".txt"]
    kind = {".txt": "lines"}.get(endings[-1], endings[-1].removeprefix("."))
    columns = {"text_column": text_column, "pair_column": pair_column}
    if kind not in ("lines", *TABLES):
        raise UserError(
            f"file {file}",
            expected=f"a name that ends in .txt, .{', .'.join(TABLES)}",
            got=endings[-1],
            fix="give it the ending of its format",
        )
    spec = {"source": "file", "path": str(file), "format": kind}
    spec |= {key: name for key, name in columns.items() if name and kind != "lines"}
    raws, _ = read_raw(spec, Path(), None)
    return [raw.text if raw.pair is None else (raw.text, raw.pair) for raw in raws]


@app.command(rich_help_panel=USE)
def export(
    model: Annotated[Path, typer.Argument(help="A trained student, teacher or published folder.")],
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)],
    form: Annotated[
        Literal["onnx", "pt2"], typer.Option("--format", help="pt2 is torch.export's.")
    ] = "onnx",
    plugin: Plugins = None,
) -> None:
    """Write a classifier as a graph of any batch and length, and compare it with the model."""
    load(plugin)
    from ..analysis.export import export as write

    difference = write(model, out, form)
    typer.echo(f"{out}: largest difference of logits {difference:.2g}")


@app.command("early-exit", rich_help_panel=USE)
def early_exit(
    model: Student,
    corpus: CorpusDir,
    split: Annotated[Literal["dev", "test"], typer.Option(help="Choose a margin on dev.")] = "dev",
    margin: Annotated[list[float] | None, typer.Option(min=0, help="One or more.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Sentences at once.")] = 1,
    threads: Threads = 1,
    plugin: Plugins = None,
    out: Json = None,
) -> None:
    """Accuracy, time steps and latency where a student stops as soon as its answer is clear."""
    begin(threads, plugin or [])
    from ..analysis.predict import early_exit_curve

    margins = margin or [0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 2.0]
    points = early_exit_curve(model, corpus, split, margins, batch_size=batch_size)
    if out:
        from ..utils.files import write_json

        write_json(out, points)
    echo_table(points, (".2f", ".4f", ".2f", ".2f"))


@app.command(rich_help_panel=USE)
def bench(
    corpus: CorpusDir,
    tokenizer: Annotated[Path, typer.Option(help="Folder of a tokenizer.", file_okay=False)],
    layers: Annotated[int, typer.Option(min=1, help="Blocks of the student.")] = 6,
    width: Annotated[int, typer.Option(min=1, help="Width of the student.")] = 384,
    heads: Annotated[int, typer.Option(min=1, help="Attention heads; they divide the width.")] = 6,
    timesteps: Annotated[int, typer.Option(min=1, help="Time steps T.")] = 4,
    out: Json = None,
    length: Annotated[int, typer.Option(min=8, help="What the field's build pads to.")] = 128,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Batches timed, spread over all lengths.")] = 3,
    quality_steps: Annotated[int, typer.Option(min=1, help="Updates before losses meet.")] = 300,
    quality_seeds: Annotated[int, typer.Option(min=1, help="Seeds of these updates.")] = 3,
    threads: Threads = 1,
    plugin: Plugins = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder of the plot; needs --out.", file_okay=False)
    ] = None,
) -> None:
    """Time training and inference beside spikingjelly's neuron, plain layers and a dense BERT."""
    from ..config.settings import ModelSettings

    shape = ModelSettings(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        timesteps=timesteps,
    )
    begin(threads, plugin or [])
    from ..analysis import bench as benchmark
    from ..utils.files import write_json

    result = benchmark.bench(
        shape, corpus, tokenizer, length, batch_size, rounds, quality_steps, quality_seeds
    )
    if out:
        write_json(out, result)
    if out and figures:
        from ..report.published import Published
        from ..report.sweep_figures import write_bench

        write_bench(Published(bench=out), figures)
    typer.echo(benchmark.summary(result))


@app.command(rich_help_panel=LOOK)
def attention(
    model: Student,
    text: Annotated[str, typer.Argument(help="One sentence.")],
    out: Annotated[Path, typer.Option(help="SVG to draw; a PNG comes beside it.", dir_okay=False)],
    block: Annotated[int | None, typer.Option(min=1, help="Which block, not the last.")] = None,
    plugin: Plugins = None,
) -> None:
    """Draw which tokens of a sentence attend to which."""
    load(plugin)
    from ..analysis.inspection import attention as look
    from ..report.probe_figures import write_attention

    write_attention(look(model, text), out, block)


@app.command(rich_help_panel=LOOK)
def probe(
    model: Student,
    out: NpzOut,
    texts: Annotated[list[str] | None, typer.Argument(help="Sentences to look at.")] = None,
    corpus: Annotated[Path | None, typer.Option(help="Corpus to take spike rates of.")] = None,
    split: Annotated[Literal["train", "dev", "test"], typer.Option()] = "test",
    limit: Annotated[int, typer.Option(min=1, help="Rows of the corpus.")] = 200,
    blocks: Annotated[
        int | None, typer.Option(min=1, help="Keep the maps of the last blocks only.")
    ] = None,
    threads: Threads = 1,
    plugin: Plugins = None,
) -> None:
    """Save attention maps and spikes of sentences, and the spike rates of a corpus."""
    begin(threads, plugin or [])
    from ..analysis.inspection import probe as step

    step(model, out, texts or [], corpus, split, limit, blocks)


@app.command(rich_help_panel=LOOK)
def cka(
    student: Annotated[Path, typer.Option(help="Folder made by `stage1`.", file_okay=False)],
    teacher: Annotated[Path, typer.Option(help="Its pre-trained BERT.", file_okay=False)],
    text: Annotated[Path, typer.Option(help="Unlabelled rows.", dir_okay=False)],
    out: NpzOut,
    limit: Annotated[int, typer.Option(min=1, help="Rows of the text.")] = 200,
    threads: Threads = 1,
    plugin: Plugins = None,
) -> None:
    """Save how similar student and teacher are, layer by layer, before and after stage 1."""
    begin(threads, plugin or [])
    from ..analysis.inspection import cka as step

    step(student, teacher, text, out, limit)


@app.command(rich_help_panel=LOOK)
def calibration(
    student: Annotated[Path, typer.Option(help="A trained student.", file_okay=False)],
    teacher: Annotated[Path, typer.Option(help="Its fine-tuned teacher.", file_okay=False)],
    corpus: CorpusDir,
    out: JsonOut,
    split: Split = "test",
    max_length: MaxLength = 512,
    threads: Threads = 1,
    plugin: Plugins = None,
) -> None:
    """Save how sure student and teacher are, how often they are right, and on which rows both err.

    The expected calibration error is that of Guo et al. (2017), over 15 bins of confidence.
    """
    begin(threads, plugin or [])
    from ..analysis.inspection import calibration as step
    from ..records.calibration import read_calibration

    step(student, teacher, corpus, out, split, max_length)
    found = read_calibration(out)
    shown = ("accuracy", "confidence", "ece")
    models = found["models"].items()
    echo_table([{"model": name, **{key: of[key] for key in shown}} for name, of in models], ".4f")
    typer.echo(f"same answer on {found['together']['agree']:.4f} of {found['rows']:,} rows")


@app.command(rich_help_panel=LOOK)
def energy(
    model: Annotated[Path, typer.Argument(help="A trained student or teacher.", file_okay=False)],
    corpus: CorpusDir,
    out: JsonOut,
    split: Split = "test",
    length: Annotated[int, typer.Option(min=1, help="Fixed length to account for, too.")] = 128,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many sentences.")] = None,
    max_length: MaxLength = 512,
    threads: Threads = 1,
    plugin: Plugins = None,
) -> None:
    """Count operations and spikes of a model on a corpus, and what they cost in energy."""
    begin(threads, plugin or [])
    from dataclasses import asdict

    from ..analysis.inspection import measure_folder
    from ..utils.files import write_json

    record = measure_folder(model, corpus, split, length, limit, max_length)
    write_json(out, asdict(record))
    echo_table(
        [
            {"convention": name, "length": size, "MACs": cost.macs, "SOPs": cost.sops}
            | {"microjoules": cost.energy_pj / 1e6}
            for name, (real, fixed) in record.costs().items()
            for size, cost in (("real", real), (str(length), fixed))
            if cost
        ],
        ".4g",
    )
