"""Kill training at random moments, run it again, and compare with a training that nobody killed.

    python -m tests.faults --kills 20              # our own sentences
    python -m tests.faults --kills 20 --corpus work/embedded/corpora/mr

Every step of the line is run once undisturbed. Then a process that runs the same command is sent
SIGKILL at a random moment of its work, and started again, with nothing mended in between, until it
is done. Model folder, predictions and record have to be the same bytes; only times and memory may
differ.
Between two checkpoints lies one update, a fraction of a second, or an evaluation, at random.

Processes are forked from one that has imported the libraries; with --fresh each is a new
interpreter, which takes some seconds more.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # what tests share, where this runs as a program

from configured import configure, layout_of  # noqa: E402

from spikebert.config.plan import read_plan  # noqa: E402
from spikebert.training.jobs import Job, jobs_of  # noqa: E402

FILMS = ROOT / "tests/inputs/films_en.tsv"
LIMIT_S = 120  # of one process
NOT_COMPARED = {
    *("wall_s", "samples_per_s", "peak_rss_bytes"),
    *("elapsed_s", "train_runtime", "train_tokens_per_second"),
}
INTERVALS = ("0", "0.003", "1000")  # minutes between two checkpoints
MODEL = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "timesteps": 2,
    "dropout": 0.1,
}
# Epochs that end within one, and log lines that do not fall on checkpoints.
COMMON = {"batch_size": 8, "max_length": 24, "epochs": 2.6, "evaluations": 5}
STEPS: dict[str, dict[str, Any]] = {
    "pretrain": {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 400,
    },
    "finetune": {"learning_rate": 1e-3},
    "stage1": {"embedding_init": "teacher"},
    "stage2": {"learning_rate": 1e-3, "epochs": 1.6},
    "direct": {"learning_rate": 1e-3},
}
WINDOWS = {"window_sentences": 40}
STAGES = ("pretrain", "finetune", "stage1", "stage2", "direct")


@dataclass(frozen=True)
class Case:
    """One job of the line, and what the configuration says of it beside `STEPS`."""

    name: str
    step: str
    settings: dict[str, Any] = field(default_factory=dict)
    cached: bool = False  # the teacher's answers, in a cache that all processes share


CASES = (
    *(Case(step, step) for step in STAGES),
    Case("stage1, cached", "stage1", cached=True),
    Case("stage2, cached", "stage2", cached=True),
    Case("stage1, streamed", "stage1", WINDOWS),
)


def prepare(case: Case, root: Path, folder: Path) -> Job:
    """A folder in which a case can run: a configuration, and links to what the job reads; it reads
    what the cases before made undisturbed."""
    steps = {step: COMMON | settings for step, settings in STEPS.items()}
    steps[case.step] |= case.settings
    runs = [{"datasets": ["films"], "models": ["spikebert", "direct"], "seeds": [1]}]
    film = {"source": "file", "path": str(FILMS), "format": "label_text"}
    films = {"language": "en", "description": "rows of a test", "labels": ["0", "1"]}
    configure(
        folder,
        datasets={"films": films | {"files": [film]}},
        unlabelled={"en": {"description": "d", "files": []}},
        teachers={"en": {"source": "pretrain"}},
        teacher_cache_gib=1 if case.cached else 0,
        model=MODEL,
        steps=steps,
        runs=runs,
    )
    layout = layout_of(folder)
    jobs = jobs_of(read_plan(folder / "mine.yaml"), layout)
    wanted = {
        "pretrain": "pretrain/",
        "stage1": "stage1/",
        "finetune": "films.teacher.",
        "stage2": "films.spikebert.",
        "direct": "films.direct.",
    }[case.step]
    job = next(job for name, job in jobs.items() if name.startswith(wanted))
    sources = {"text": "text.jsonl", "corpus": "corpus", "augmented": "augmented.jsonl"}
    sources |= {"bert": "made/pretrain", "parent": "made/finetune", "stage1": "made/stage1"}
    links = {path: root / sources[name] for name, path in job.inputs.items()}
    if case.cached:
        links[layout.teacher_cache] = root / "taught"
        (root / "taught").mkdir(exist_ok=True)
    for path, source in links.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if not Path(path).is_symlink():
            Path(path).symlink_to(source)
    return job


def verb(job: Job, folder: Path) -> list[str]:
    file = str(folder / "mine.yaml")
    return ["run", job.name, "--configfile", file, "--root", str(folder)]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def material(root: Path, corpus: Path | None, count: int) -> None:
    """A corpus of `count` training rows, its text, and twice its rows as if augmented."""
    if corpus is None:
        with FILMS.open(encoding="utf-8", newline="") as file:
            films = list(csv.DictReader(file, delimiter="\t"))
        labels = sorted({row["label"] for row in films})
        rows = [{"text": r["text"], "label": labels.index(r["label"])} for r in films]
        found = dict.fromkeys(("train", "dev", "test"), rows)
    else:
        labels = json.loads((corpus / "stats.json").read_text(encoding="utf-8"))["labels"]
        found = {
            split: [json.loads(line) for line in (corpus / f"{split}.jsonl").open(encoding="utf-8")]
            for split in ("train", "dev", "test")
        }
    for split, rows in found.items():
        some = [{**rows[i % len(rows)], "id": f"{split}{i:010d}"} for i in range(count)]
        write_rows(root / "corpus" / f"{split}.jsonl", some if split == "train" else some[:24])
    (root / "corpus" / "stats.json").write_text(json.dumps({"labels": labels}), encoding="utf-8")
    train = [json.loads(line) for line in (root / "corpus/train.jsonl").open(encoding="utf-8")]
    write_rows(root / "text.jsonl", [{"id": row["id"], "text": row["text"]} for row in train])
    # The teacher's label is asked for where there is none.
    again = [{**row, "id": f"a{row['id']}", "label": None} for row in train]
    write_rows(root / "augmented.jsonl", train + again)


def forked(command: list[str], environment: dict[str, str], log: str) -> None:
    """Run a verb in this process, which is somebody else's child."""
    with Path(log).open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    from spikebert.cli import app

    app(command, standalone_mode=False)


class Runner:
    """Starts a command in a process of its own, and kills it if asked."""

    def __init__(self, fresh: bool):
        self.fresh = fresh
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["spikebert.cli", "spikebert.training.steps.distil"])

    def __call__(self, job: Job, folder: Path, minutes: str, kill_after: float | None) -> float:
        """The seconds from the first look at the checkpoints to the end; 0 when it was killed
        before, `kill_after` that look."""
        environment = {"SPIKEBERT_CHECKPOINT_MINUTES": minutes}
        command, log = verb(job, folder), folder / "log"
        if self.fresh:
            with log.open("a", encoding="utf-8") as file:
                process: Any = subprocess.Popen(
                    [sys.executable, "-m", "spikebert", *command],
                    env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
                    stdout=file,
                    stderr=file,
                )
            status = process.poll
        else:
            arguments = (command, environment, str(log))
            # The name that the collator of masks asks for.
            process = self.context.Process(target=forked, args=arguments, name="MainProcess")
            process.start()

            def status() -> int | None:
                return process.exitcode

        begun = math.inf
        limit = time.monotonic() + LIMIT_S
        while status() is None:
            now = time.monotonic()
            assert now < limit, f"{job.name}: no end after {LIMIT_S} s"
            if begun == math.inf and any(Path(job.checkpoints).glob("*/identity.json")):
                begun = now
            if kill_after is not None and now - begun >= kill_after:
                process.kill()
                process.wait() if self.fresh else process.join()
                return 0.0
            time.sleep(0.002)
        ended = status()
        assert ended == 0, f"{job.name}: status {ended}\n{log.read_text(encoding='utf-8')[-3000:]}"
        return max(time.monotonic() - begun, 0.01)


def comparable(value: Any) -> Any:
    """A record without times and memory."""
    if isinstance(value, dict):
        return {k: comparable(v) for k, v in value.items() if k not in NOT_COMPARED}
    return [comparable(v) for v in value] if isinstance(value, list) else value


def contents(job: Job) -> dict[str, Any]:
    """What a job made: bytes, or what JSON says beside times."""
    found: dict[str, Any] = {}
    for name, output in job.outputs.items():
        for path in (Path(output), *Path(output).rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                place = f"{name}/{path.relative_to(output)}"
                stated = name == "record" or path.name == "training.json"
                found[place] = comparable(json.loads(data)) if stated else data
    return found


def last_step(job: Job) -> str:
    found = [int(p.name.split("-")[1]) for p in Path(job.checkpoints).glob("*/checkpoint-*")]
    return f"checkpoint {max(found)}" if found else "no checkpoint"


def differences(whole: Job, killed: Job) -> list[str]:
    """The files that are not the same."""
    expected, found = contents(whole), contents(killed)
    names = sorted(expected.keys() | found.keys())
    return [name for name in names if expected.get(name) != found.get(name)]


def attempts(
    case: Case, root: Path, runner: Runner, kills: int, wall_s: float, dice: random.Random
) -> Iterator[str]:
    """Kill a case `kills` times and compare; a line for each kill and each comparison."""
    whole = prepare(case, root, root / case.name / "whole")
    left, attempt = kills, 0
    while left:
        attempt += 1
        folder = root / case.name / f"killed-{attempt}"
        job = prepare(case, root, folder)
        here = 0
        while True:
            minutes = dice.choice(INTERVALS)
            longest = 2 * wall_s if minutes == "0" else wall_s  # the writing takes time, too
            delay = dice.uniform(0, longest) if left else None
            if runner(job, folder, minutes, delay):
                break
            left, here = left - 1, here + 1
            yield f"killed after {delay:.2f} s, {last_step(job)}, every {minutes} min"
        wrong = differences(whole, job)
        assert not wrong, f"{case.name}, after {here} kill(s): {', '.join(wrong)} differ"
        yield f"ended after {here} kill(s): the same bytes"
        if here:
            shutil.rmtree(folder)


def run(
    root: Path,
    kills: int,
    seed: int = 0,
    corpus: Path | None = None,
    rows: int = 96,
    fresh: bool = False,
    names: Sequence[str] = (),
) -> int:
    """Kill every case, `kills` times in all; the number of kills made. Differences are errors."""
    material(root, corpus, rows)
    dice, runner = random.Random(seed), Runner(fresh)
    todo = [case for case in CASES if not names or case.name in names]
    made = 0
    for place, case in enumerate(todo):
        folder = root / case.name / "whole"
        job = prepare(case, root, folder)
        wall_s = runner(job, folder, "1000", None)
        if case.name == case.step:
            (root / "made").mkdir(exist_ok=True)
            output = job.outputs.get("model") or job.outputs["out"]
            (root / "made" / case.step).symlink_to(output)
        share = kills // len(todo) + (place < kills % len(todo))
        print(f"{case.name}: {wall_s:.1f} s undisturbed", flush=True)
        for line in attempts(case, root, runner, share, wall_s, dice):
            made += line.startswith("killed")
            print(f"  {line}", flush=True)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--corpus", type=Path, help="folder made by `spikebert corpus`")
    parser.add_argument("--rows", type=int, default=240, help="training rows taken from it")
    parser.add_argument("--fresh", action="store_true", help="a new interpreter for each process")
    parser.add_argument("--only", nargs="*", default=[], help="names of cases")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        made = run(
            Path(folder),
            given.kills,
            given.seed,
            given.corpus,
            given.rows,
            given.fresh,
            given.only,
        )
    print(f"{made} kills in {time.monotonic() - start:.0f} s, every result the same bytes")


if __name__ == "__main__":
    main()
