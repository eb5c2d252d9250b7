"""Verbs that write tables, figures and pages from records, and publish a model with its card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..config.plan import Plan
from ..errors import UserError
from ..report import captions
from ..report.selection import compared, measured, on_glue, probed
from .options import CONFIGURATION, STEPS, USE, ConfigFile, Root, app, plan_of

TableName = Literal["accuracy", "claims", "energy", "training_cost", "glue", "compressed"]
FigureName = Literal["accuracy", "sweeps", "calibration", "probes"]


@app.command(rich_help_panel=STEPS)
def table(
    name: Annotated[TableName, typer.Argument(help="`claims` comes with ablation and variants.")],
    configfile: ConfigFile = CONFIGURATION,
    root: Root = "",
) -> None:
    """Write a table of a configuration from its records: CSV, Markdown, LaTeX."""
    plan, layout = plan_of(configfile, root)
    out, notes = Path(layout.table("")).parent, json.loads(captions.notes(plan))
    ids = [run.id for run in plan.runs]
    records = [layout.record(run) for run in ids]
    energies = [layout.energy(run) for run in measured(plan).values()]
    if name == "accuracy":
        from ..report.tables import write_tables

        write_tables(records, out, notes)
    elif name == "claims":
        from ..report.claims import write_claims

        predictions = [layout.predictions(run) for run in ids]
        energy = layout.table("energy") if energies else None
        write_claims(records, predictions, out, notes, energy)
    elif name == "energy":
        from ..report.energy_table import write_energy_tables

        write_energy_tables(energies, out, notes)
    elif name == "training_cost":
        from ..report.training_cost_table import write_cost_tables

        write_cost_tables(records, energies, out, notes)
    elif name == "glue":
        from ..report.glue_table import write_glue

        write_glue(
            [layout.record(run) for run in on_glue(plan)], out, json.loads(captions.glue(plan))
        )
    else:
        from ..report.compressed_table import write_compressed

        chosen = compared(plan)
        energies = [layout.energy(run) for run in measured(plan).values() if run in chosen]
        write_compressed(
            [layout.record(run) for run in chosen],
            energies,
            out,
            json.loads(captions.compression(plan)),
        )


@app.command(rich_help_panel=STEPS)
def figure(
    name: Annotated[FigureName, typer.Argument(help="`accuracy` comes with the curves.")],
    configfile: ConfigFile = CONFIGURATION,
    root: Root = "",
) -> None:
    """Draw a figure of a configuration from its records, or from what the probes saved."""
    plan, layout = plan_of(configfile, root)
    out, notes = Path(layout.figure("")).parent, json.loads(captions.notes(plan))
    records = [layout.record(run.id) for run in plan.runs]
    if name == "accuracy":
        from ..report.figures import write_figures

        write_figures(records, out, notes)
    elif name == "sweeps":
        from ..report.sweep_figures import write_sweep_figures

        write_sweep_figures(records, out, notes)
    elif name == "calibration":
        from ..report.calibration_figure import write_calibration_figure

        write_calibration_figure(layout.calibration(english(plan)), out, notes)
    else:
        from ..report.probe_figures import write_probe_figures

        write_probe_figures(layout.probe(english(plan)), layout.cka("en"), out, notes)


def english(plan: Plan) -> str:
    """The run in English that is looked into."""
    found = probed(plan)
    if "en" not in found:
        raise UserError(
            f"configuration {plan.run}",
            expected="a base run of spikebert on an English set of classes",
            got="none",
            fix="add one to runs, or leave this figure out",
        )
    return found["en"].id


@app.command(rich_help_panel=STEPS)
def pages(
    tables: Annotated[list[Path], typer.Argument(help="Tables in Markdown, NAME.md.")],
    out: Annotated[Path, typer.Option(help="Folder; each becomes NAME.html.", file_okay=False)],
) -> None:
    """Turn Markdown tables into web pages that load nothing."""
    from ..report.pages import write_pages

    write_pages(tables, out)


@app.command(rich_help_panel=STEPS)
def forecast(
    records: Annotated[
        list[Path], typer.Option(help="Records, or folders of them, of a finished run.")
    ],
    bench: Annotated[Path, typer.Option(help="What `bench` wrote.", dir_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder of the tables.", file_okay=False)],
    configfile: ConfigFile = CONFIGURATION,
    draws: Annotated[
        int, typer.Option(min=1, help="augment.n_iter of the records that do not say.")
    ] = 3,
    transfer: Annotated[
        int, typer.Option(min=0, help="augment.transfer_sentences of the records that do not say.")
    ] = 0,
) -> None:
    """Write what a configuration will take on GPUs: hours, memory, disk, and for 10 and 1000 times
    its text."""
    from ..report.forecast import write_forecast

    files = [
        f for path in records for f in (sorted(path.glob("*.json")) if path.is_dir() else [path])
    ]
    write_forecast(plan_of(configfile)[0], files, bench, draws, transfer, out)


@app.command(rich_help_panel=USE)
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
    from ..data import hub
    from ..report.publish import publish as step
    from ..report.publish import token_of

    token = token_of(token_from_env) if push else ""  # told before anything is written
    files = step(model, out, record or [], energy or [], data or [], base_model, licence)
    typer.echo(f"{out}: {', '.join(files)}")
    if push:
        typer.echo(hub.upload(out, push, token, private))
