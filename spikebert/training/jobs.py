"""Each training of a plan by its name: what it reads and makes, whether that is there, its start.

Names are those of runs, and `stage1/<language>.<digest>`, `pretrain/<language>` and
`augment/<dataset>/<digest>.s<seed>`. Nothing heavy is imported before a job starts: the workflow
reads this module while it parses.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..config.plan import Layout, Plan, Run, Settings
from ..config.registry import MODELS, SHAPE
from ..config.runs import step_settings
from ..config.schema import SECTIONS
from ..errors import UserError
from ..records.records import read_record
from ..utils.files import read_json
from ..utils.validation import nearest

if TYPE_CHECKING:
    from .teacher_cache import Cache


@dataclass(frozen=True)
class Job:
    """One training, or the augmentation for one."""

    name: str
    rule: str  # the function, and the rule of the workflow, that do it
    inputs: dict[str, str]  # files and folders by what they are to the step
    outputs: dict[str, str]
    settings: Settings
    stated: tuple[str, ...]  # the sections of the settings that its outputs state, its own last
    decisive: str  # JSON of the settings for which it has to run again
    checkpoints: str = ""
    run: Run | None = None  # that it is for, where it is for one
    plugins: dict[str, str] = field(default_factory=dict)  # by path, the digest that is stated

    def is_made(self) -> bool:
        return all(Path(path).exists() for path in self.outputs.values())

    def is_outdated(self, jobs: Mapping[str, Job]) -> bool:
        """Whether it, or a job that makes inputs of it, was made with other settings than the
        plan's."""
        made_from = set(self.inputs.values())
        return (self.is_made() and not self._agrees()) or any(
            other.is_outdated(jobs)
            for other in jobs.values()
            if not made_from.isdisjoint(other.outputs.values())
        )

    def _agrees(self) -> bool:
        """Whether its outputs state the settings of the plan. What they do not state has been at
        its default: the setting is younger than they are."""
        if self.rule == "augment":  # its name is the digest of its settings
            return True
        if "record" in self.outputs:
            found = read_record(self.outputs["record"]).settings
            if found.get("plugins", {}) != self.plugins:
                return False
        else:
            found = read_json(Path(self.outputs["out"]) / "training.json")
        return all(
            section in found and _same(section, self.settings[section], found[section])
            for section in self.stated
        )

    def start(self, cache: Cache | None = None) -> None:
        """Do it; all of its inputs are there.

        A step is called with what its parameters name: inputs and outputs of the job by their
        names, its own settings, those of the model, the run, and where it writes.
        """
        path = {name: Path(place) for name, place in {**self.inputs, **self.outputs}.items()}
        built: dict[str, Any] = {
            name: SECTIONS[name](**values) for name, values in self.settings.items()
        }
        own, run = built[self.stated[-1]], cast(Run, self.run)
        if self.rule == "augment":
            _augment(path, own, run)
            return
        from ..models.students import check_student
        from .steps import baselines, direct, distil, pretrain
        from .steps.common import Outputs

        if "model" in built:
            check_student(built["model"])
        steps = (
            pretrain.pretrain,
            direct.finetune,
            distil.stage1,
            distil.stage2,
            direct.direct,
            baselines.textcnn,
            baselines.snn_textcnn,
            baselines.tfidf,
        )
        step: Callable[..., Any] = {step.__name__: step for step in steps}.get(
            self.rule, direct.registered
        )
        given: dict[str, Any] = path | {
            "settings": own,
            "model": built.get("model"),
            "run": run,
            "cache": cache,
            "checkpoints": Path(self.checkpoints),
        }
        if "model" in path:
            given["outputs"] = Outputs(
                given["checkpoints"], path["model"], path["record"], path["predictions"]
            )
        step(**{name: given.get(name) for name in inspect.signature(step).parameters})


def _augment(path: Mapping[str, Path], settings: Any, run: Run) -> None:
    from ..data.augment import augment
    from ..data.corpus import iter_rows, read_held_out, read_rows, write_rows

    rows, held_out = read_rows(path["corpus"] / "train.jsonl"), read_held_out(path["corpus"])
    text = iter_rows(path["text"]) if "text" in path else ()
    write_rows(path["out"], augment(rows, run.language, settings, run.seed, held_out, text))


def _same(section: str, wanted: Mapping[str, Any], stated: Mapping[str, Any]) -> bool:
    """Whether stated settings are the wanted ones; a dense student states its shape alone."""
    names = SHAPE if section == "model" and stated.keys() == {*SHAPE} else wanted.keys()
    full = {**dataclasses.asdict(SECTIONS[section]()), **stated}
    found, asked = json.loads(json.dumps([full, {**wanted}]))  # which knows no tuples
    return all(found[name] == asked[name] for name in names)


def jobs_of(plan: Plan, layout: Layout) -> dict[str, Job]:
    """Every job of a plan by its name, each after those that it needs."""
    jobs = {
        f"pretrain/{language}": Job(
            f"pretrain/{language}",
            rule="pretrain",
            inputs={"text": layout.text(language)},
            outputs={"out": layout.bert(language)},
            settings=plan.settings,
            stated=("pretrain",),
            decisive=step_settings("pretrain", plan.settings),
            checkpoints=layout.checkpoints(f"pretrain.{language}"),
        )
        for language, spec in plan.teachers.items()
        if spec["source"] == "pretrain"
    }
    order = list(MODELS)  # a parent stands before its children
    for run in sorted(plan.runs, key=lambda run: order.index(run.model)):
        for job in _jobs_of_run(run, layout):
            jobs.setdefault(job.name, job)
    return jobs


def _jobs_of_run(run: Run, layout: Layout) -> Iterator[Job]:
    """The augmentation and the stage 1 that a run may share with others, and its own training."""
    spec = MODELS[run.model]
    inputs = {"corpus": layout.corpus(run.dataset)}
    bert, text = layout.bert(run.language), layout.text(run.language)
    if "augment" in run.settings:
        yield Job(
            f"augment/{run.augmented}",
            rule="augment",
            inputs=inputs | ({"text": text} if run.transfers else {}),
            outputs={"out": layout.augmented(run.augmented)},
            settings=run.settings,
            stated=("augment",),
            decisive=run.step("augment"),
            run=run,
        )
        inputs = inputs | {"augmented": layout.augmented(run.augmented)}
    if run.teacher:
        inputs["parent"] = layout.model(run.teacher)
    elif spec.compressed:
        inputs["bert"] = layout.compressed(run.model)
    elif spec.from_bert:
        inputs["bert"] = bert
    if spec.stage1:
        yield Job(
            f"stage1/{run.stage1}",
            rule="stage1",
            inputs={"text": text, "bert": bert},
            outputs={"out": layout.stage1(run.stage1)},
            settings=run.settings,
            stated=("model", spec.stage1),
            decisive=run.step(spec.stage1),
            checkpoints=layout.checkpoints(f"stage1.{run.stage1}"),
        )
        inputs["stage1"] = layout.stage1(run.stage1)
    parents = MODELS[spec.parent].sections if spec.parent else ()
    made = {"record": layout.record(run.id), "predictions": layout.predictions(run.id)}
    yield Job(
        run.id,
        rule=spec.rule,
        inputs=inputs,
        outputs={**({"model": layout.model(run.id)} if spec.neural else {}), **made},
        settings=run.settings,
        stated=tuple(section for section in spec.sections if section not in parents),
        decisive=run.last_step,
        checkpoints=layout.checkpoints(run.id),
        run=run,
        plugins=dict(run.plugins) if spec.neural else {},
    )


def job_of(jobs: Mapping[str, Job], name: str, plan: Plan) -> Job:
    """The job of this name; a `UserError` with the nearest one where there is none."""
    if "/" not in name and name not in jobs:
        plan.run_of(name)
    if name not in jobs:
        others = [known for known in jobs if "/" in known]
        raise UserError(
            f"job {name}",
            expected="the name of a run, or stage1/..., pretrain/... or augment/... of one",
            got=name,
            fix=nearest(name, others, f"choose one of {', '.join(others[:5]) or 'the runs'}"),
        )
    return jobs[name]


def check_inputs(
    job: Job, jobs: Mapping[str, Job], made_by: Callable[[str, str | None], str]
) -> None:
    """Raise a `UserError` unless all that a job reads is there and made with the plan's settings.

    `made_by` gives the command that makes a path, which the job of this name makes, if any does.
    """
    makers = {path: name for name, other in jobs.items() for path in other.outputs.values()}
    for path in job.inputs.values():
        maker = makers.get(path)
        outdated = maker is not None and jobs[maker].is_outdated(jobs)
        if outdated or not Path(path).exists():
            raise UserError(
                f"what {job.name} is made from",
                expected=f"{path}, made by `{made_by(path, maker)}`",
                got="one made with other settings" if outdated else "nothing at this path",
                fix="make it first, or have snakemake make all of it",
            )
