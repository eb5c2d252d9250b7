import os
import re
import sys
from pathlib import Path

# The package beside the workflow serves Snakemake and its jobs, installed or not, and the jobs
# take Snakemake's own interpreter, unless an environment of theirs comes first in PATH.
sys.path.insert(0, str(Path(workflow.basedir).parent))
paths = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
os.environ.update(PATH=os.pathsep.join(paths))

from spikebert.errors import UserError
from spikebert.config.plan import canonical, content, local_files, make_plan, step_settings
from spikebert.config.registry import BASE, COMPRESSED, DISTILLED
from spikebert.config.datasets import GLUE_SETS
from spikebert.report import captions

try:
    plan = make_plan(config)
except UserError as error:
    raise WorkflowError(str(error)) from None

# Not a param: where the bytes came from must not make a job run again.
if plan.mirror:
    os.environ.update(SPIKEBERT_MIRROR=plan.mirror)
# Nor does a kept answer of the teacher differ from a new one.
if plan.teacher_cache_gib:
    os.environ.update(
        SPIKEBERT_TEACHER_CACHE=f"{plan.work}/{plan.run}/taught",
        SPIKEBERT_TEACHER_CACHE_GIB=str(plan.teacher_cache_gib),
    )
# Nor does a training that was resumed differ from one that was not.
os.environ.update(SPIKEBERT_CHECKPOINT_MINUTES=str(plan.checkpoint_minutes))

CACHE = f"{plan.work}/downloads"
RUNS = {run.id: run for run in plan.runs}
AUGMENTED = {run.augmented: run for run in plan.of(*DISTILLED).values()}
STAGE1 = {run.stage1: run for run in plan.two_staged().values()}
# The Snakemake inside a cluster's job would retry there, at the end of the job's time or memory.
RETRIES = plan.retries if workflow.is_main_process else 0
PRETRAINED = [name for name, spec in plan.teachers.items() if spec["source"] == "pretrain"]


pathvars:
    work=f"{plan.work}/{plan.run}",
    results=f"results/{plan.run}",
    logs=f"{plan.work}/{plan.run}/logs",
    benchmarks=f"{plan.work}/{plan.run}/benchmarks",


# A scheduler that wants a job gone signals all its processes. A shell that died of it at once would
# take the training along before it has saved; with a trap it waits, and passes on the status.
shell.prefix("set -euo pipefail; trap : TERM USR1; ")


def one_of(names):
    """A wildcard's constraint: these names and no other."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    dataset=one_of(plan.datasets),
    language=one_of(plan.teachers.keys() | plan.unlabelled.keys()),
    digest="[0-9a-f]{12}",
    seed="[0-9]+",


def corpora_of(language):
    return [f"<work>/corpora/{name}" for name in plan.language_sets(language)]


def first_english_set():
    return plan.language_sets("en")[0]


def probed_runs():
    """By language, the run to look into: SpikeBERT on SST-2 or else the first set, lowest seed."""
    sets = list(plan.datasets)
    runs = [run for run in plan.of("spikebert").values() if run.variant == BASE]
    runs = [run for run in runs if plan.datasets[run.dataset]["labels"]]
    runs.sort(key=lambda run: (run.dataset != "sst2", sets.index(run.dataset), run.seed))
    return {run.language: run for run in reversed(runs)}


PROBED = probed_runs()


def other_splits(wildcards):
    """The splits of every other set of the language, configured or run."""
    names = plan.language_sets(plan.datasets[wildcards.dataset]["language"])
    return [f"<work>/splits/{name}" for name in names if name != wildcards.dataset]


def augmented_by(wildcards):
    """Any run that takes these augmented rows: all of them agree in what they are made from."""
    return AUGMENTED[f"{wildcards.dataset}/{wildcards.digest}.s{wildcards.seed}"]


def transferred(wildcards):
    """The text of a transfer set."""
    run = augmented_by(wildcards)
    return [f"<work>/unlabelled/{run.language}/text.jsonl"] if run.transfers else []


def run_of(wildcards):
    return RUNS[wildcards.id]


def corpus(wildcards):
    return f"<work>/corpora/{run_of(wildcards).dataset}"


def base_teacher(wildcards):
    run = run_of(wildcards)
    if run.model in COMPRESSED:
        return f"<work>/compressed/{run.model}"
    return f"<work>/teachers/{run.language}"


def augmented(wildcards):
    return f"<work>/augmented/{run_of(wildcards).augmented}.jsonl"


def source(wildcards):
    """The model that a run starts or learns from."""
    return f"<work>/models/{run_of(wildcards).teacher}"


def stage1_student(wildcards):
    run = run_of(wildcards)
    return [f"<work>/stage1/{run.stage1}"] if run.id in plan.two_staged() else []


def record_name(wildcards, output):
    """What a record says of itself. A function of the output is no cause to run a job again."""
    return run_of(wildcards).name


def settings(wildcards):
    """The settings that the step of a run depends on, and no others, as a param."""
    return run_of(wildcards).last_step


def repeated(option):
    """`--option=FILE` for every file of the input of that name."""
    return lambda wildcards, input: [f"--{option}={path}" for path in input[option]]


def checkpoints(name):
    """The folder a job resumes from; a param, since Snakemake deletes outputs of failed jobs."""
    return f"{plan.checkpoints or plan.work}/{plan.run}/checkpoints/{name}"


def command(rule):
    """How a training starts: as one process, or as several. A function of the output is no cause to
    run a job again."""
    processes = plan.resources[rule].processes
    several = f" launch --processes {processes}" if processes > 1 else ""
    return lambda wildcards, output: f"python -m spikebert{several} {rule}"


def gpus(rule):
    return plan.gpu * plan.resources[rule].processes


# The report sorts by name.
CHAPTERS = [
    "Claims",
    "Accuracy",
    "Ablation",
    "Sweeps",
    "Energy",
    "GLUE",
    "Training",
    "Inside the student",
    "Corpora",
]


def chapter(name):
    """A category of the report, numbered."""
    return f"{1 + CHAPTERS.index(name)}. {name}"


def more_at_retry(amount):
    """Memory may have been the reason: as much again at each of the next two attempts."""
    return lambda wildcards, attempt: amount * min(attempt, 3)
