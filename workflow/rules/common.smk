import hashlib
import json
import os
import re
import sys
from pathlib import Path

# The package beside the workflow serves Snakemake and its jobs, installed or not, and the jobs
# take Snakemake's own interpreter, unless an environment of theirs comes first in PATH.
sys.path.insert(0, str(Path(str(workflow.current_basedir)).parents[1]))
paths = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
os.environ.update(PATH=os.pathsep.join(paths))

try:
    import spikebert  # noqa: F401
except ImportError:
    raise WorkflowError(
        "Expected the package spikebert, got an environment without it: install it beside "
        "Snakemake (`pip install FOLDER`, a clone of its repository)."
    ) from None

from spikebert.config.plan import Layout, content, local_files, make_plan
from spikebert.config.registry import MODELS
from spikebert.errors import UserError
from spikebert.report import captions
from spikebert.report.selection import compared, measured, on_glue, probed
from spikebert.training.jobs import jobs_of
from spikebert.utils.files import check_writable


def explained(function, argument):
    """What the function returns; an error of the user's without the traceback."""
    try:
        return function(argument)
    except UserError as error:
        raise WorkflowError(str(error)) from None


plan = explained(make_plan, config)
layout = Layout.of(plan)
RUNS = {run.id: run for run in plan.runs}
JOBS = jobs_of(plan, layout)
MEASURED = measured(plan)
PROBED = probed(plan)
# The Snakemake inside a cluster's job would retry there, at the end of the job's time or memory.
RETRIES = plan.retries if workflow.is_main_process else 0

# The merged configuration, file and command line, as every job reads it.
CONFIGURATION = json.dumps(config, ensure_ascii=False, indent=1)
CONFIGFILE = layout.configuration(hashlib.sha256(CONFIGURATION.encode()).hexdigest()[:12])


def write_configuration():
    """Named by its digest, so that it is there whole or not at all and never changes."""
    path = Path(CONFIGFILE)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_text(CONFIGURATION, encoding="utf-8")
        part.replace(path)


# A job on a cluster may have a file system of its own.
if not workflow.is_main_process:
    write_configuration()


pathvars:
    work=layout.work,
    results=layout.results,
    logs=f"{layout.work}/logs",
    benchmarks=f"{layout.work}/benchmarks",


# A scheduler that wants a job gone signals all its processes. A shell that died of it at once would
# take the training along before it has saved; with a trap it waits, and passes on the status.
shell.prefix("set -euo pipefail; trap : TERM USR1; ")


def one_of(names):
    """A wildcard's constraint: these names and no other."""
    return "|".join(map(re.escape, names)) or "(?!)"


def keys(kind):
    """The names of the jobs of this kind, as files are named by them."""
    return [name.removeprefix(f"{kind}/") for name in JOBS if name.startswith(f"{kind}/")]


wildcard_constraints:
    dataset=one_of(plan.datasets),
    language=one_of(plan.teachers.keys() | plan.unlabelled.keys()),


def options(wildcards, output):
    """Where a verb finds the configuration and, if storage is elsewhere, the files. A function of
    the output is no cause to run a job again, and the settings that are stand beside it."""
    first = str(output[0])
    roots = [first.rpartition(folder)[0] for folder in (layout.work, layout.results)]
    root = max(roots, key=len)
    return ["--configfile", CONFIGFILE, *(["--root", root] if root else [])]


def plugins(wildcards, output):
    """The files that a verb needs to load a model; the jobs that train it run again if they change."""
    return [f"--plugin={path}" for path in plan.plugins]


def run_of(wildcards):
    return RUNS[wildcards.id]


def corpora_of(language):
    return [layout.corpus(name) for name in plan.language_sets(language)]


def other_splits(wildcards):
    """The splits of every other set of the language, configured or run."""
    names = plan.language_sets(plan.datasets[wildcards.dataset]["language"])
    return [layout.splits(name) for name in names if name != wildcards.dataset]


def repeated(option):
    """`--option=FILE` for every file of the input of that name."""
    return lambda wildcards, input: [f"--{option}={path}" for path in input[option]]


def command(rule):
    """How a training starts: as one process, or as several."""
    processes = plan.resources[rule].processes
    several = f" launch --processes {processes}" if processes > 1 else ""
    return lambda wildcards, output: f"python -m spikebert{several} run"


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
