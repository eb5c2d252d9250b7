"""The workflow in a copy of the repository, through Snakemake's command line."""

import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "workflow", "config", "profiles", "envs", "spikebert", "tests/inputs")
TINY = "tests/inputs/tiny.yaml"
DONE = "Nothing to be done"


def copy_repository(folder: Path) -> Path:
    for part in PARTS:
        source, target = ROOT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    return folder


def snakemake(folder: Path, *arguments: str, status: int = 0, **environment: str) -> str:
    """What Snakemake prints. The test fails unless it ends with `status`."""
    run = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        # Nothing of this process's environment but what every process needs.
        env={k: v for k, v in os.environ.items() if not k.startswith(("SNAKEMAKE", "PYTHONPATH"))}
        | environment,
    )
    assert run.returncode == status, run.stdout[-6000:]
    return run.stdout


def jobs(folder: Path, *arguments: str) -> dict[str, int]:
    """The rules that a dry run would run, with the number of jobs; target rules left out."""
    printed = snakemake(folder, "-n", *arguments)
    if DONE in printed:
        return {}
    counts = printed.split("Job stats:")[1].split("total")[0]
    found = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", counts, re.MULTILINE)}
    return {rule: n for rule, n in found.items() if rule not in ("all", "figures", "tables")}


def child_seconds() -> float:
    """Processor time of finished child processes: unlike the clock's, it does not depend on what
    else the machine does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
