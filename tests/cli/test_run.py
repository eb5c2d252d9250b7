"""`spikebert run`: from a configuration and what is in place to one trained model."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from configured import FILE, SET, configure, layout_of
from toy import MODEL, QUICK, sentences, write_rows
from typer.testing import CliRunner

from spikebert.cli import app
from spikebert.config.plan import read_plan
from spikebert.data.corpus import make_corpus
from spikebert.data.splits import make_splits
from spikebert.errors import UserError
from spikebert.records.records import read_record
from spikebert.training.jobs import jobs_of

RUN = "mine.spikebert.base.s1"
STEPS = {
    "pretrain": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                 "vocab_size": 120, "epochs": 1},
    "finetune": {"epochs": 1},
    "stage1": {"epochs": 1},
    "stage2": {"epochs": 1, "evaluations": 1},
    "dense_direct": {"epochs": 1, "evaluations": 1},
}  # fmt: skip
KEYS = {
    "unlabelled": {"en": {"description": "d", "files": [], "include_training_rows": True}},
    "teachers": {"en": {"source": "pretrain"}},
    "model": {k: v for k, v in asdict(MODEL).items() if v is not None},
    "augment": {"n_iter": 1},
    "steps": {step: {**QUICK, **settings} for step, settings in STEPS.items()},
    "teacher_cache_gib": 0.01,
}
MODELS = ("spikebert", "dense_direct", "tfidf")


def run(options, name, *more):
    return CliRunner().invoke(app, ["run", name, *options, *more], catch_exceptions=False)


def order(folder):
    """The jobs of a run in the order in which a reader of the errors would make them."""
    jobs = jobs_of(read_plan(folder / "mine.yaml"), layout_of(folder))
    stage1, augment = (
        next(name for name in jobs if name.startswith(kind)) for kind in ("stage1/", "augment/")
    )
    return ["pretrain/en", stage1, "mine.teacher.base.s1", augment, RUN]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a configuration of which everything is trained, and its options."""
    folder = tmp_path_factory.mktemp("run")
    rows = folder / "rows.txt"
    rows.write_text(
        "".join(f"{row['label']} {row['text']} {i}\n" for i, row in enumerate(sentences(120, 1)))
    )
    spec = SET | {"files": [FILE | {"path": str(rows)}]}
    options, _ = configure(folder, MODELS, datasets={"mine": spec}, **KEYS)
    layout = layout_of(folder)
    make_splits("mine", spec, Path(layout.splits("mine")), Path(layout.downloads))
    make_corpus("mine", Path(layout.splits("mine")), [], Path(layout.corpus("mine")))
    text = [{"id": row["id"], "text": row["text"]} for row in sentences(48, 9)]
    write_rows(Path(layout.text("en")), text)
    for name in order(folder):
        result = run(options, name)
        assert result.exit_code == 0, result.output
    for model in ("dense_direct", "tfidf"):
        assert run(options, f"mine.{model}.base.s1").exit_code == 0
    return folder, options


def test_a_run_writes_its_model_record_and_predictions(made):
    folder, _ = made
    layout, plan = layout_of(folder), read_plan(folder / "mine.yaml")
    record = read_record(layout.record(RUN))
    assert record.settings["augment"] == plan.run_of(RUN).settings["augment"]
    assert record.upstream["teacher"] == "mine.teacher.base.s1"
    assert record.upstream["stage1"]["samples"] == 48
    assert (Path(layout.model(RUN)) / "model.safetensors").is_file()
    assert Path(layout.predictions(RUN)).is_file()
    assert list(Path(layout.teacher_cache).glob("*/taught.json"))  # the configuration asks for it
    assert not list(Path(layout.checkpoints_of_run).glob("*/*/"))


def test_nothing_is_done_twice(made):
    folder, options = made
    layout = layout_of(folder)
    for name in [*order(folder), "mine.dense_direct.base.s1", "mine.tfidf.base.s1"]:
        result = run(options, name)
        assert result.exit_code == 0
        assert "nothing to be done" in result.output
    before = Path(layout.record("mine.tfidf.base.s1")).stat().st_mtime_ns
    assert run(options, "mine.tfidf.base.s1", "--force").exit_code == 0
    assert Path(layout.record("mine.tfidf.base.s1")).stat().st_mtime_ns > before


def test_other_settings_are_something_to_do(made):
    folder, _ = made
    layout, plan = layout_of(folder), read_plan(folder / "mine.yaml")
    jobs = jobs_of(plan, layout)
    assert not any(job.is_outdated(jobs) for job in jobs.values())
    for change, outdated in {
        "steps.stage2.temperature=2": {RUN},
        "steps.finetune.epochs=2": {"mine.teacher.base.s1", RUN},
        "steps.tfidf.max_ngram=1": {"mine.tfidf.base.s1"},
        "model.dropout=0.1": {RUN},  # and another stage 1, of another name
        "model.num_hidden_layers=3": {RUN, "mine.dense_direct.base.s1"},
        "steps.pretrain.epochs=2": {"pretrain/en", "mine.teacher.base.s1", RUN,
                                    "mine.dense_direct.base.s1", order(folder)[1]},
        "threads=2": set(),
    }.items():  # fmt: skip
        jobs = jobs_of(read_plan(folder / "mine.yaml", [change]), layout)
        assert {name for name, job in jobs.items() if job.is_outdated(jobs)} == outdated, change


def test_a_setting_younger_than_a_record_was_at_its_default(made, tmp_path):
    folder, _ = made
    jobs = jobs_of(read_plan(folder / "mine.yaml"), layout_of(folder))
    job = jobs["mine.tfidf.base.s1"]
    content = json.loads(Path(job.outputs["record"]).read_text("utf-8"))
    del content["settings"]["tfidf"]["max_ngram"]
    file = tmp_path / "mine.tfidf.base.s1.json"
    file.write_text(json.dumps(content), "utf-8")
    assert not replace(job, outputs={**job.outputs, "record": str(file)}).is_outdated(jobs)


def test_what_is_missing_is_named_with_the_command_that_makes_it(made):
    folder, options = made
    name = order(folder)[1]
    words = r"work/mine/stage1/[\s\S]*spikebert run stage1/en\.[0-9a-f]{12} [\s\S]*model.beta=0.8"
    with pytest.raises(UserError, match=words) as missing:
        run(options, RUN, "--set", "model.beta=0.8")
    assert name not in str(missing.value)  # that of beta 0.9
    with pytest.raises(UserError, match="one made with other settings"):
        run(options, RUN, "--set", "steps.finetune.epochs=2")


def test_what_another_rule_makes_is_left_to_the_workflow(tmp_path):
    options, _ = configure(tmp_path, ("direct",), **KEYS)
    with pytest.raises(UserError, match=r"work/mine/corpora/mine, made by `snakemake [\s\S]*fix:"):
        run(options, "mine.direct.base.s1")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mine.spikbert.base.s1", "did you mean mine.spikebert.base.s1"),
        ("stage1/en", r"stage1/en\.[0-9a-f]{12}"),
        ("pretrain/zh", "did you mean pretrain/en"),
    ],
)
def test_an_unknown_name_is_met_with_the_nearest(made, name, words):
    with pytest.raises(UserError, match=words):
        run(made[1], name)
