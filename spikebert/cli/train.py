"""Verbs that train: one run of a configuration, in one process or several."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from ..errors import Interrupted, UserError
from .options import (
    CONFIGURATION,
    STEPS,
    ConfigFile,
    Plugins,
    Root,
    Sets,
    app,
    begin,
    load,
    plan_of,
    use_threads,
)

TOLD_TO_GO = ("SIGTERM", "SIGUSR1", "SIGINT")
SAVING_S = 240  # of the five minutes that a scheduler gives


@app.command(rich_help_panel=STEPS)
def run(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Of a run, such as mr.spikebert.base.s1; or stage1/<language>.<digest>, "
            "pretrain/<language>, augment/<set>/<digest>.s<seed>.",
        ),
    ],
    configfile: ConfigFile = CONFIGURATION,
    sets: Sets = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="In place of `threads` of the configuration.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Train it again if it is there.")] = False,
    plugin: Plugins = None,
    root: Root = "",
) -> None:
    """Train one model of a configuration, from what is in place; say what is missing otherwise.

    Killed and run again, it goes on from its last checkpoint to the same result.
    """
    from ..training.jobs import check_inputs, job_of, jobs_of

    changes = sets or []
    load(plugin)
    plan, layout = plan_of(configfile, root, changes)
    jobs = jobs_of(plan, layout)
    job = job_of(jobs, name, plan)
    if not force and job.is_made() and not job.is_outdated(jobs):
        typer.echo(f"nothing to be done: {', '.join(job.outputs.values())} are there")
        return

    def made_by(path: str, maker: str | None) -> str:
        if maker and changes:
            named = [word for change in changes for word in ("--set", change)]
            return shlex.join(["spikebert", "run", maker, "--configfile", str(configfile), *named])
        return shlex.join(["snakemake", path, "--cores", "all", "--configfile", str(configfile)])

    check_inputs(job, jobs, made_by)
    if job.rule in ("augment", "tfidf"):
        use_threads(threads or plan.threads)
    else:
        begin(threads or plan.threads)
    from ..training.checkpoints import MINUTES_VARIABLE
    from ..training.teacher_cache import Cache

    os.environ.setdefault(MINUTES_VARIABLE, str(plan.checkpoint_minutes))
    gib = plan.teacher_cache_gib
    job.start(Cache(Path(layout.teacher_cache), int(gib * 2**30)) if gib else None)


@app.command(
    rich_help_panel=STEPS,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def launch(
    context: typer.Context,
    processes: Annotated[int, typer.Option(min=1, help="On this machine, one to a GPU.")],
    nodes: Annotated[int, typer.Option(min=1, help="Machines; start this on each.")] = 1,
    rendezvous: Annotated[
        str, typer.Option(help="host:port of one of the machines, where there are several.")
    ] = "localhost:0",
    job: Annotated[str, typer.Option(help="A word the machines have in common.")] = "spikebert",
) -> None:
    """Train in several processes: launch --processes 4 run mr.spikebert.base.s1

    The processes share each batch: batch_size is the size of the whole.
    """
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    from ..utils.gpus import claimed

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
