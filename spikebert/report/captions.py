"""What tables and figures say of the sets, teachers and models of a plan, in words.

The workflow calls these functions while it parses, so nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..config.datasets import ACCURACY, GLUE_SETS, metric_of
from ..config.plan import Plan, Run
from ..config.registry import BASE, COMPRESSED
from ..config.settings import STEPS

if TYPE_CHECKING:
    from .published import Notes

GLUE_KEY = "glue"  # under unavailable: why the run has no set of GLUE
NOT_CONFIGURED = "not configured in this run"


def notes(plan: Plan) -> Notes:
    """What tables and figures say of each set, in their order."""
    used = {name: plan.datasets[name] for name in plan.used_sets()}
    said = {
        name: {"source": spec["description"], "analogue": is_analogue(spec)}
        for name, spec in used.items()
    }
    absent = {name: {"source": reason, "analogue": False} for name, reason in absent_sets(plan)}
    return {**said, **absent}


def about(plan: Plan) -> list[str]:
    """Lines for captions: for each set with runs what it is, which models and seeds, how long
    and how large; then teachers, the text of stage 1, and the sets that are not there."""
    lines = []
    for name in plan.used_sets():
        runs = [run for run in plan.runs if run.dataset == name]
        models = ", ".join(dict.fromkeys(run.model for run in runs))
        seeds = ", ".join(map(str, sorted({run.seed for run in runs})))
        kind = "stand-in, not the published set: " if is_analogue(plan.datasets[name]) else ""
        what = f"**{name}** ({kind}{plan.datasets[name]['description']})"
        parts = [f"{models}; seeds {seeds}", *_how(runs, plan.datasets[name].get("caps", {}))]
        lines.append(f"{what}: {'; '.join(parts)}.")
    for words, specs, languages in (
        ("teacher", plan.teachers, plan.used_teachers()),
        ("text of stage 1", plan.unlabelled, plan.used_texts()),
    ):
        for name in languages:
            described = specs[name].get("description", "without a description")
            lines.append(f"{words}, *{name}*: {described}.")
    lines += [f"**{name}**: {reason}." for name, reason in absent_sets(plan)]
    return lines


def absent_sets(plan: Plan) -> list[tuple[str, str]]:
    """Sets of the paper's table 1 that the run lacks, and why."""
    others = (GLUE_KEY, *GLUE_SETS, *COMPRESSED)
    return [(name, reason) for name, reason in plan.unavailable.items() if name not in others]


def glue(plan: Plan) -> Notes:
    """What the table of GLUE says of each of its sets: what it is and how it is judged and split
    or, where it has no runs, why."""
    used = plan.used_sets()
    reason = plan.unavailable.get(GLUE_KEY, NOT_CONFIGURED)
    notes: dict[str, dict[str, Any]] = {}
    for name in GLUE_SETS:
        notes[name] = {"reason": plan.unavailable.get(name, reason)}
        if name in used:
            spec = plan.datasets[name]
            tested = {f["hub_split"] for f in spec["files"] if f.get("split") == "test"
                      and "hub_split" in f}  # fmt: skip
            notes[name] = {
                "metric": metric_of(spec),
                "analogue": is_analogue(spec),
                "test": ", ".join(sorted(tested)),
            }
    return notes


def compression(plan: Plan) -> dict[str, Notes]:
    """What the table of compressed models says: of each set whether it is a stand-in, of each
    model its name or why the run lacks it."""
    teacher = plan.teachers.get("en", {})
    itself = ", itself a compressed BERT" if teacher.get("compressed") else ""
    models = {"teacher": {"description": f"{teacher.get('description', 'BERT')}{itself}"}}
    for model in COMPRESSED:
        spec = plan.compressed.get(model)
        reason = NOT_CONFIGURED if spec is None else "no runs on this set"
        models[model] = {
            "description": spec.get("description", model) if spec else model,
            "reason": plan.unavailable.get(model, reason),
        }
    compared = compared_sets(plan)
    students = [
        run.settings["model"]
        for run in plan.of("spikebert").values()
        if run.variant == BASE and run.dataset in compared
    ]
    shapes = {(s["num_hidden_layers"], s["hidden_size"]) for s in students}
    words = " or ".join(f"{blocks} blocks of width {width}" for blocks, width in sorted(shapes))
    models["spikebert"] = {"description": f"spiking student, both stages ({words or 'none'})"}
    sets = {name: {"analogue": is_analogue(plan.datasets[name])} for name in compared}
    return {"datasets": sets, "models": models}


def compared_sets(plan: Plan) -> list[str]:
    """The English sets judged by accuracy, GLUE apart, that the table of compressed models has
    rows for."""
    runs = plan.of("spikebert", *COMPRESSED).values()
    mine = {run.dataset for run in runs if run.language == "en"} - set(GLUE_SETS)
    return [
        name
        for name in plan.used_sets()
        if name in mine and metric_of(plan.datasets[name]) == ACCURACY
    ]


def _how(runs: list[Run], caps: Mapping[str, int]) -> list[str]:
    """Caps, size of the student, epochs and variants of a set's runs, in words."""
    base = [run for run in runs if run.variant == BASE] or runs
    sections = {name: values for run in base for name, values in run.settings.items()}
    words = []
    if caps:
        words.append(
            "at most " + ", ".join(f"{n:,} {split}" for split, n in caps.items()) + " rows"
        )
    if "model" in sections:
        model = sections["model"]
        size = f"{model['num_hidden_layers']} x {model['hidden_size']} (blocks x width)"
        words.append(f"student {size}, T = {model['timesteps']}")
    epochs = {
        step: sections[step]["epochs"] for step in STEPS if "epochs" in sections.get(step, {})
    }
    if epochs:
        words.append("epochs: " + ", ".join(f"{step} {n:g}" for step, n in epochs.items()))
    variants = dict.fromkeys(run.variant for run in runs if run.variant != BASE)
    if variants:
        words.append(f"variants: {', '.join(variants)}")
    return words


def is_analogue(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("analogue", False))
