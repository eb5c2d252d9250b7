"""The published plans: what decides whether a job runs again has not moved by a byte."""

import json
from pathlib import Path

import pytest
import yaml

from spikebert.config.plan import Plan, content, make_plan
from spikebert.config.registry import MODELS
from spikebert.config.runs import step_settings
from spikebert.config.settings import digest
from spikebert.report import captions

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads(Path(__file__).with_name("golden_plans.json").read_text("utf-8"))


def digests(plan: Plan) -> dict[str, str]:
    """A digest for each model and for the corpora, texts and teachers: all that jobs are told."""
    told: dict[str, list[object]] = {}
    for run in plan.runs:
        keys = [run.stage1] if MODELS[run.model].stage1 else []
        keys += [run.augmented] if "augment" in run.settings else []
        told.setdefault(run.model, []).append([run.id, run.name, run.last_step, *keys])
    for kind in ("datasets", "unlabelled", "teachers", "compressed"):
        specs = getattr(plan, kind)
        told[kind] = [[name, content(spec), spec.get("caps")] for name, spec in specs.items()]
    told["pretrain"] = [step_settings("pretrain", plan.settings)]
    told["notes"] = [
        *(
            json.dumps(words(plan), ensure_ascii=False)
            for words in (captions.notes, captions.glue, captions.compression)
        ),
        captions.about(plan),
    ]
    return {name: digest(parts) for name, parts in told.items()}


@pytest.mark.parametrize("name", GOLDEN)
def test_no_job_of_a_published_plan_runs_again(name: str) -> None:
    plan = make_plan(yaml.safe_load((ROOT / f"config/{name}.yaml").read_text("utf-8")))
    assert digests(plan) == GOLDEN[name]
