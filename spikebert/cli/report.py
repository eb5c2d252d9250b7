"""Verbs that write tables, figures and pages from records, and publish a model with its card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..config.plan import Layout, Plan
from ..errors import UserError
from ..report import FIGURES, TABLES, captions, write_output
from ..report.selection import compared, measured, on_glue, probed
from ..utils.validation import nearest
from .options import CONFIGURATION, STEPS, USE, ConfigFile, Root, app, plan_of

if TYPE_CHECKING:
    from ..report.published import Published

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="One or more.")]


@app.command(rich_help_panel=STEPS, help=f"Write tables from records: {', '.join(TABLES)}.")
def table(names: Names, configfile: ConfigFile = CONFIGURATION, root: Root = "") -> None:
    """`claims` comes with ablation and variants."""
    write("table", TABLES, names, *plan_of(configfile, root))


@app.command(rich_help_panel=STEPS, help=f"Draw figures from records: {', '.join(FIGURES)}.")
def figure(names: Names, configfile: ConfigFile = CONFIGURATION, root: Root = "") -> None:
    """`probes` and `calibration` are of what the verbs of these names saved."""
    write("figure", FIGURES, names, *plan_of(configfile, root))


def write(kind: str, known: dict[str, str], names: list[str], plan: Plan, layout: Layout) -> None:
    """Write tables or figures of a plan, from the files that its runs published."""
    out = Path(getattr(layout, kind)("")).parent
    for name in names:
        if name not in known:
            raise UserError(
                f"{kind} {name}",
                expected=f"one of {', '.join(known)}",
                got=name,
                fix=nearest(name, known, "choose one of them"),
            )
        write_output(known[name], published(plan, layout, name), out)


def published(plan: Plan, layout: Layout, name: str) -> Published:
    """The files that a table or figure reads, and what the plan says of its sets."""
    from ..report.published import Published

    chosen = {"glue": on_glue, "compressed": compared}.get(name)
    ids = chosen(plan) if chosen else [run.id for run in plan.runs]
    energies = [layout.energy(id_) for id_ in measured(plan).values() if id_ in ids]
    english = probed(plan).get("en")
    looks: dict[str, str] = {}
    if english:
        looks = {"probe": layout.probe(english.id), "cka": layout.cka("en")}
        looks["calibration"] = layout.calibration(english.id)
    return Published(
        records=[layout.record(id_) for id_ in ids],
        predictions=[layout.predictions(id_) for id_ in ids],
        energies=energies,
        energy_table=layout.table("energy") if energies else None,
        bench=layout.bench,
        notes=captions.notes(plan),
        glue=captions.glue(plan),
        compression=captions.compression(plan),
        **looks,
    )


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
