"""What the verbs have in common: the options that several of them take, and how they begin."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config.plan import Layout, Plan, read_plan

app = typer.Typer(
    help="SpikeBERT: a spiking transformer for text, learned from BERT. `spikebert run ID` trains "
    "one model of a configuration, `snakemake all` everything of it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
PANELS = USE, LOOK, STEPS = "Use a model", "Look inside", "Steps of the workflow"  # of the help

CONFIGURATION = Path("config/config.yaml")  # the workflow's default, too
ConfigFile = Annotated[
    Path, typer.Option("--configfile", help="The configuration, as Snakemake's.", dir_okay=False)
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting in place of the file's, such as model.beta=0.8."),
]
Root = Annotated[
    str, typer.Option(help="Folder that work/ and results/ lie below, where it is not this one.")
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="Python file with parts that a model is made of."),
]
OutFolder = Annotated[
    Path | None, typer.Option(help="Where to write it, if not below work/.", file_okay=False)
]
JsonOut = Annotated[Path, typer.Option(help="JSON to write.", dir_okay=False)]
NpzOut = Annotated[Path, typer.Option(help="NumPy .npz to write.", dir_okay=False)]
CorpusDir = Annotated[Path, typer.Option(help="Folder made by `corpus`.", file_okay=False)]
MaxLength = Annotated[int, typer.Option(min=3, help="Tokens; longer rows are cut.")]
Threads = Annotated[int, typer.Option(min=1, help="Processor threads to compute with.")]

held = contextlib.ExitStack()  # until the process ends


def plan_of(configfile: Path, root: str = "", sets: Sequence[str] = ()) -> tuple[Plan, Layout]:
    """The plan of a configuration, and where its files lie."""
    from ..data.download import MIRROR_VARIABLE

    plan = read_plan(configfile, sets)
    if plan.mirror:
        os.environ[MIRROR_VARIABLE] = plan.mirror
    return plan, Layout.of(plan, root)


def echo_table(rows: Sequence[Mapping[str, Any]], form: str | Sequence[str]) -> None:
    """Print rows below their keys; `form` is that of numbers, of all or of each column."""
    from tabulate import tabulate

    typer.echo(tabulate(rows, headers="keys", floatfmt=form))


def use_threads(threads: int) -> None:
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)


def begin(threads: int, plugins: Sequence[str | Path] = ()) -> None:
    """Share so many threads with the other processes of `launch` and join them; without them take a
    GPU, where there is one, until the end. Then load the plugins."""
    from ..utils import distributed, gpus

    use_threads(max(1, threads // distributed.local_world_size()))
    if distributed.launched():
        distributed.start()
    else:
        held.enter_context(gpus.claimed(1))
    load(plugins)


def load(plugins: Sequence[str | Path] | None) -> None:
    """Register the parts of models that are in these files."""
    if plugins:
        from ..config.plugins import load_plugins

        load_plugins(plugins)
