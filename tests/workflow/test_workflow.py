"""The workflow as a user runs it: in a copy of the repository, through Snakemake's command line.

One tiny run is made once, on sentences and models of a few kilobytes; the tests look at it, or ask
with dry runs what a change would make again.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from workflow_runs import DONE, ROOT, TINY, child_seconds, copy_repository, jobs, snakemake

from spikebert.config.plan import make_plan
from spikebert.config.registry import MODELS
from spikebert.records.records import read_records

REPORT = {
    "accuracy_table",
    "accuracy_and_curves",
    "claim_sheet",
    "cost_table",
    "sweep_figures",
    "table_pages",
}
WORDS = {
    "probe_figures",
    "calibration_figure",
    "energy_table",
    "compressed_table",
    "glue_table",
    *REPORT,
}  # all that captions and notes stand in
ENERGY = {"measure_energy", "energy_table", "compressed_table"}
LOOKS = {"probe", "probe_figures", "calibration", "calibration_figure"}
STAGE2 = {"stage2", *LOOKS, *REPORT, *ENERGY}
STAGE1 = {"stage1", "cka", *STAGE2}
MEASURED = {"measure_energy", "energy_table", *REPORT}
SNN_TEXTCNN = {"snn_textcnn", *MEASURED}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository before anything ran."""
    return copy_repository(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository after the tiny run. Only dry runs here: the tests share it."""
    folder = copy_repository(tmp_path_factory.mktemp("done") / "My Dröve it's")
    snakemake(folder, "all", "--cores", "2", "--configfile", TINY)
    return folder


def edited(folder: Path, path: str, value: Any) -> str:
    """The tiny configuration with one value changed; `path` is dotted, lists by index."""
    config = yaml.safe_load((ROOT / TINY).read_text("utf-8"))
    config = json.loads(json.dumps(config))  # an alias is one value in two places
    *parents, last = path.split(".")
    place = config
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
    place[int(last) if isinstance(place, list) else last] = value
    (folder / "edited.yaml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    return "edited.yaml"


# Before anything ran


@pytest.mark.parametrize("name", ["config.yaml", "small.yaml", "paper.yaml"])
def test_dry_run_of_a_fresh_clone_is_complete_and_quick(clone: Path, name: str) -> None:
    path = f"config/{name}"
    start = child_seconds()
    counts = jobs(clone, "all", "--configfile", path)
    assert child_seconds() - start < 20  # 5 s where nothing else runs
    runs = make_plan(yaml.safe_load((ROOT / path).read_text("utf-8"))).runs
    trained = ("tfidf", "textcnn", "snn_textcnn", "finetune", "direct", "stage2")
    assert sum(counts.get(rule, 0) for rule in trained) == len(runs)
    assert counts.keys() >= {"split", "corpus", "unlabelled", "stage1", "leaks", *REPORT}


def test_nothing_is_probed_without_a_base_run_of_spikebert(clone: Path) -> None:
    row = {"datasets": ["films"], "models": ["direct"], "seeds": [1]}
    counts = jobs(clone, "all", "--configfile", edited(clone, "runs", [row]))
    assert counts.keys() >= REPORT
    assert not counts.keys() & {"probe", "cka", "probe_figures"}


def test_default_configuration_and_target(clone: Path) -> None:
    assert jobs(clone) == jobs(clone, "all", "--configfile", "config/config.yaml")


def test_another_configuration_takes_the_place_of_the_default(clone: Path) -> None:
    assert "results/embedded" not in snakemake(clone, "-n", "all", "--configfile", TINY)


@pytest.mark.parametrize(
    "module",
    [
        "",
        'module spikebert:\n    snakefile: "{workflow}"\n    config: config\n'
        "use rule * from spikebert\n",
    ],
)
def test_the_workflow_runs_from_another_folder(clone: Path, tmp_path: Path, module: str) -> None:
    workflow = clone / "workflow/Snakefile"
    if module:
        text = 'configfile: "config.yaml"\n' + module.format(workflow=workflow)
        workflow = tmp_path / "Snakefile"
        workflow.write_text(text, "utf-8")
        shutil.copyfile(clone / "config/config.yaml", tmp_path / "config.yaml")
    assert jobs(tmp_path, "--snakefile", str(workflow)) == jobs(clone)


def test_parsing_loads_nothing_heavy(clone: Path) -> None:
    code = (
        "import sys; from snakemake.cli import main\n"
        "try: main(['-n', 'all', '--quiet'])\n"
        "except SystemExit as end: assert not end.code\n"
        "print('loaded:', {'torch', 'transformers', 'datasets', 'matplotlib'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=True)
    assert "loaded: set()" in run.stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("learning_rat=1", "unknown setting learning_rat"),
        ("model={beta: 1.5}", "setting model.beta"),
        ("model={bta: 0.5}", "did you mean beta?"),
        ("run=../elsewhere", "setting run"),
    ],
)
def test_wrong_settings_are_named_on_one_screen(clone: Path, change: str, words: str) -> None:
    printed = snakemake(clone, "-n", "all", "--config", change, status=1)
    assert words in printed
    assert "Traceback" not in printed
    assert len(printed.splitlines()) < 15


def test_numbers_inside_config_arguments_are_numbers(clone: Path) -> None:
    printed = snakemake(clone, "-n", "all", "--config", "model={beta: 0.5}")
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
    config["model"]["beta"] = 0.5
    runs = [run for run in make_plan(config).runs if MODELS[run.model].stage1]
    assert all(run.stage1 in printed for run in runs)


def test_lint_finds_nothing(clone: Path) -> None:
    assert "good condition" in snakemake(clone, "--lint")


def test_format_is_snakefmts(clone: Path) -> None:
    command = [sys.executable, "-m", "snakefmt", "--check", "--line-length", "100"]
    run = subprocess.run(
        [*command, "Snakefile", "workflow"], cwd=clone, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_compressed_models_are_fetched_fine_tuned_and_measured(clone: Path) -> None:
    (clone / "distil").mkdir(exist_ok=True)
    config = yaml.safe_load((ROOT / TINY).read_text("utf-8"))
    rows = [*config["runs"], {"datasets": ["films"], "models": ["distilbert"], "seeds": [1]}]
    path = clone / edited(clone, "runs", rows)
    changed = yaml.safe_load(path.read_text("utf-8"))
    changed["compressed"] = {"distilbert": {"source": "folder", "path": "distil"}}
    path.write_text(yaml.safe_dump(changed, sort_keys=False), "utf-8")
    before = jobs(clone, "all", "--configfile", TINY)
    counts = jobs(clone, "all", "--configfile", path.name)
    more = {rule: n - before.get(rule, 0) for rule, n in counts.items()}
    assert {rule: n for rule, n in more.items() if n} == {
        "fetch_compressed": 1,
        "finetune": 1,
        "measure_energy": 1,
    }


def test_error_of_a_job_is_shown(tmp_path: Path) -> None:
    folder = copy_repository(tmp_path)
    (folder / "tests/inputs/films_en.tsv").write_text("text\tlabel\tsplit\na\tgood\ttrain\n")
    target = "work/tiny/splits/films"
    printed = snakemake(folder, target, "--cores", "1", "--configfile", TINY, status=1)
    assert "good" in printed.split("error: ")[1]


def test_jobs_with_a_gpu_wait_for_one_another(clone: Path) -> None:
    printed = snakemake(clone, "-n", "models", "--configfile", TINY, "--config", "gpu=1")
    assert printed.count("gpu=1") >= 7
    profile = yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text("utf-8"))
    assert "gpu=1" in profile["resources"]


# Two at once


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", *arguments, "--cores", "1", "--configfile", TINY],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_two_runs_at_once_share_a_checkout(tmp_path: Path) -> None:
    folder = copy_repository(tmp_path)
    # Options that take several values stand after the targets; --cores ends them.
    # The second has more to do: two that end at the same instant both remove Snakemake's folder of
    # locks, and the one that finds it gone halfway fails after all of its work is done.
    both = [
        started(folder, *(f"work/{run}/corpora/{name}" for name in names), "--config", f"run={run}")
        for run, names in (("a", ["films"]), ("b", ["films", "meals"]))
    ]
    for process in both:
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == 0, printed[-3000:]
    first, second = (
        (folder / f"work/{run}/corpora/films/train.jsonl").read_bytes() for run in "ab"
    )
    assert first == second


@pytest.mark.slow
def test_the_same_run_twice_at_once_is_refused_until_unlocked(tmp_path: Path) -> None:
    """The second is told; a lock that a killed one left is named with its way out."""
    folder = copy_repository(tmp_path)
    first = started(folder, "all")  # long enough for another to be refused
    limit = time.monotonic() + 120
    while not (folder / "work/tiny/unlabelled/en/text.jsonl").exists():
        assert first.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.02)
    options = ("--cores", "1", "--configfile", TINY)
    assert "cannot be locked" in snakemake(folder, "all", *options, status=1)
    os.killpg(first.pid, signal.SIGKILL)  # the workflow and its jobs
    first.communicate()
    assert "--unlock" in snakemake(folder, "all", *options, status=1)
    snakemake(folder, "--unlock", "--configfile", TINY)
    target = "work/tiny/teachers/en"
    snakemake(folder, target, *options)
    assert (folder / target / "model.safetensors").is_file()


# After the tiny run


@pytest.mark.slow
def test_every_run_has_a_record_predictions_and_a_model(done: Path) -> None:
    runs = make_plan(yaml.safe_load((ROOT / TINY).read_text("utf-8"))).runs
    records = read_records((done / "results/tiny/records").glob("*.json"))
    known = {record.id: record for record in records}
    assert known.keys() == {run.id for run in runs}
    for run in runs:
        assert known[run.id].settings.get("augment") == run.settings.get("augment")
        assert (done / f"results/tiny/predictions/{run.id}.csv").is_file()
        weights = done / f"work/tiny/models/{run.id}/model.safetensors"
        assert weights.is_file() == (run.model != "tfidf")


@pytest.mark.slow
def test_no_test_row_is_trained_on(done: Path) -> None:
    assert json.loads((done / "results/tiny/leaks.json").read_text("utf-8"))["leaks"] == []


@pytest.mark.slow
def test_second_run_has_nothing_to_do(done: Path) -> None:
    assert DONE in snakemake(done, "all", "--cores", "1", "--configfile", TINY)


# Captions name epochs, so an edit of these reaches every table and figure.
RERUNS: dict[str, tuple[str, Any, set[str]]] = {
    "a setting of the model": ("model.beta", 0.5, {"direct", *STAGE1}),
    "a setting of stage 2": ("steps.stage2.temperature", 2.0, STAGE2),
    "a setting of stage 1": ("steps.stage1.epochs", 2, {*STAGE1, *WORDS}),
    "a setting of fine-tuning": ("steps.finetune.epochs", 2, {"finetune", *STAGE2, *WORDS}),
    "a setting of augmentation": ("augment.n_iter", 2, {"augment", "leaks", *STAGE2}),
    "a setting of the dense student": (
        "steps.dense_direct.epochs",
        2,
        {"direct", "measure_energy", *WORDS},
    ),
    "a setting of its stage 1": ("steps.dense_stage1.epochs", 2, {"stage1", "stage2", *WORDS}),
    "a setting of TextCNN": ("steps.textcnn.filters", 3, {"textcnn", *SNN_TEXTCNN}),
    "a setting of its neurons": ("steps.snn_textcnn.beta", 0.5, SNN_TEXTCNN),
    "a setting of TF-IDF": ("steps.tfidf.max_ngram", 1, {"tfidf", *REPORT}),
    "a cap": ("datasets.meals.caps", {"train": 10}, {"corpus", "tfidf", "leaks", *WORDS}),
    "words for people": ("datasets.films.description", "other words", WORDS),
    "a set that is not there": ("unavailable.subj", "no source", WORDS),
    "why there is no GLUE": ("unavailable.glue", "no source", {"glue_table", "table_pages"}),
    "why there is no DistilBERT": (
        "unavailable.distilbert",
        "no source",
        {"compressed_table", "table_pages"},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("path", "value", "rules"), RERUNS.values(), ids=RERUNS.keys())
def test_edits_rerun_what_depends_on_them(
    done: Path, path: str, value: Any, rules: set[str]
) -> None:
    assert jobs(done, "all", "--configfile", edited(done, path, value)).keys() == rules


@pytest.mark.slow
def test_what_changes_no_weight_reruns_nothing(done: Path) -> None:
    config = edited(done, "steps.direct.epochs", 1.0)  # 1 in the file
    more = ("threads=2", "gpu=1", "mirror=elsewhere")
    assert jobs(done, "all", "--configfile", config, "--config", *more) == {}


@pytest.mark.slow
def test_a_changed_variant_runs_alone(done: Path) -> None:
    config = edited(done, "runs.1.overrides", {"steps.tfidf.max_ngram": 3})
    assert jobs(done, "all", "--configfile", config) == {"tfidf": 1} | dict.fromkeys(REPORT, 1)


@pytest.mark.slow
def test_one_more_variant_runs_alone(done: Path) -> None:
    rows = yaml.safe_load((ROOT / TINY).read_text("utf-8"))["runs"]
    row = {
        "datasets": ["films"],
        "models": ["spikebert"],
        "seeds": [1],
        "variant": "beta-0.8",
        "overrides": {"model.beta": 0.8},
    }
    counts = jobs(done, "all", "--configfile", edited(done, "runs", [*rows, row]))
    assert counts == {"stage1": 1, "stage2": 1} | dict.fromkeys(WORDS, 1)  # captions name it


@pytest.mark.slow
def test_report_builds(done: Path) -> None:
    snakemake(done, "all", "--configfile", TINY, "--report", "report.zip")
    with zipfile.ZipFile(done / "report.zip") as archive:
        names = {Path(name).name for name in archive.namelist()}
        page = archive.read("report/report.html").decode()
    assert names >= {"accuracy.csv", "accuracy.svg", "curves.svg", "energy.csv", "leaks.json"}
    assert names >= {"attention_a.svg", "spike_rates.svg", "raster.svg", "cka.svg"}
    assert names >= {"calibration.svg", "stage1_text.svg", "claims.html", "training_cost.html"}
    assert "sentences on films, written for this test" in page
    assert "no offline source" in page


# From published results alone


@pytest.fixture
def published(done: Path, tmp_path: Path) -> Path:
    """A fresh clone in which the results of the tiny run were committed."""
    folder = copy_repository(tmp_path)
    shutil.copytree(done / "results", folder / "results", copy_function=shutil.copyfile)
    return folder


@pytest.mark.slow
def test_figures_and_tables_come_from_published_records_alone(published: Path, done: Path) -> None:
    for kind in ("figures", "tables"):
        shutil.rmtree(published / "results/tiny" / kind)
    targets = ("figures", "tables")
    assert jobs(published, *targets, "--configfile", TINY).keys() == {*WORDS, "glue_table"}
    snakemake(published, *targets, "--cores", "1", "--configfile", TINY)
    for name in (
        "figures/accuracy.svg",
        "figures/cka.svg",
        "figures/calibration.svg",
        "tables/accuracy.csv",
        "tables/claims.csv",
        "tables/energy.csv",
        "tables/glue.csv",
        "tables/compressed.csv",
        "tables/training_cost.csv",
    ):
        made, before = (folder / "results/tiny" / name for folder in (published, done))
        assert made.read_bytes() == before.read_bytes()


@pytest.mark.slow
def test_a_published_record_outlives_a_job_that_fails(published: Path) -> None:
    record = published / "results/tiny/records/films.tfidf.words.s1.json"
    before = record.read_bytes()
    (published / "work/tiny/corpora/films").mkdir(parents=True)  # without a row
    rerun = ["--forcerun", "tfidf", "--allowed-rules", "tfidf", "--configfile", TINY]
    snakemake(published, str(record.relative_to(published)), "--cores", "1", *rerun, status=1)
    assert record.read_bytes() == before


@pytest.mark.slow
def test_published_results_do_not_keep_all_from_training(published: Path, clone: Path) -> None:
    everything = jobs(clone, "all", "--configfile", TINY)
    del everything["glue_table"]  # of a run without GLUE: made from nothing
    assert jobs(published, "all", "--configfile", TINY) == everything
