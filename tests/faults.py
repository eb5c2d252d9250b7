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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
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
KEPT = {"SPIKEBERT_TEACHER_CACHE": "{root}/taught", "SPIKEBERT_TEACHER_CACHE_GIB": "1"}


@dataclass(frozen=True)
class Case:
    """One command of the line, and what it makes."""

    name: str
    verb: str
    options: dict[str, str]
    environment: dict[str, str]
    record: bool

    def command(self, folder: Path) -> list[str]:
        out = {"checkpoints": folder / "checkpoints", "out": folder / "model"}
        if self.record:
            out |= {"record": folder / "record.json", "predictions": folder / "test.csv"}
        options = {**self.options, **{name: str(path) for name, path in out.items()}}
        return [self.verb, *(word for k, v in options.items() for word in (f"--{k}", v))]


def cases(root: Path) -> list[Case]:
    """The steps in the order of the line: each reads what those before made undisturbed."""
    model = {name: str(root / name / "whole" / "model") for name in STEPS}
    corpus, text, augmented = (
        str(root / name) for name in ("corpus", "text.jsonl", "augmented.jsonl")
    )
    kept = {name: value.format(root=root) for name, value in KEPT.items()}

    def case(
        verb: str,
        name: str = "",
        env: dict[str, str] | None = None,
        more: dict[str, Any] | None = None,
        **options: str,
    ) -> Case:
        labelled = verb not in ("pretrain", "stage1")
        settings: dict[str, Any] = {verb: COMMON | STEPS[verb] | (more or {})}
        if verb in ("stage1", "stage2", "direct"):
            settings["model"] = MODEL
        options["settings"] = json.dumps(settings)
        if labelled:
            run = {"id": verb, "dataset": "films", "source": "rows of a test", "model": verb}
            options |= {"corpus": corpus, "run": json.dumps(run | {"variant": "base", "seed": 1})}
        return Case(name or verb, verb, options, env or {}, labelled)

    second = {"augmented": augmented, "teacher": model["finetune"], "stage1": model["stage1"]}
    return [
        case("pretrain", text=text),
        case("finetune", teacher=model["pretrain"]),
        case("stage1", text=text, teacher=model["pretrain"]),
        case("stage2", **second),
        case("direct", tokenizer=model["pretrain"]),
        case("stage1", "stage1, kept", kept, text=text, teacher=model["pretrain"]),
        case("stage2", "stage2, kept", kept, **second),
        case("stage1", "stage1, streamed", more=WINDOWS, text=text, teacher=model["pretrain"]),
    ]


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
        self.context.set_forkserver_preload(["spikebert.cli", "spikebert.training.steps"])

    def __call__(self, case: Case, folder: Path, minutes: str, kill_after: float | None) -> float:
        """The seconds from the first look at the checkpoints to the end; 0 when it was killed
        before, `kill_after` that look."""
        folder.mkdir(parents=True, exist_ok=True)
        environment = {**case.environment, "SPIKEBERT_CHECKPOINT_MINUTES": minutes}
        command, log = case.command(folder), folder / "log"
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
            assert now < limit, f"{case.name}: no end after {LIMIT_S} s"
            if begun == math.inf and any(folder.glob("checkpoints/*/identity.json")):
                begun = now
            if kill_after is not None and now - begun >= kill_after:
                process.kill()
                process.wait() if self.fresh else process.join()
                return 0.0
            time.sleep(0.002)
        ended = status()
        assert ended == 0, f"{case.name}: status {ended}\n{log.read_text(encoding='utf-8')[-3000:]}"
        return max(time.monotonic() - begun, 0.01)


def comparable(value: Any) -> Any:
    """A record without times and memory."""
    if isinstance(value, dict):
        return {k: comparable(v) for k, v in value.items() if k not in NOT_COMPARED}
    return [comparable(v) for v in value] if isinstance(value, list) else value


def contents(folder: Path) -> dict[str, Any]:
    """What a command made: bytes, or what JSON says beside times."""
    paths = [*(folder / "model").rglob("*"), folder / "test.csv", folder / "record.json"]
    files = {str(path.relative_to(folder)): path for path in paths if path.is_file()}
    return {
        name: comparable(json.loads(path.read_bytes()))
        if name in ("record.json", "model/training.json")
        else path.read_bytes()
        for name, path in files.items()
    }


def last_step(folder: Path) -> str:
    found = [int(p.name.split("-")[1]) for p in folder.glob("checkpoints/*/checkpoint-*")]
    return f"checkpoint {max(found)}" if found else "no checkpoint"


def differences(whole: Path, killed: Path) -> list[str]:
    """The files that are not the same."""
    expected, found = contents(whole), contents(killed)
    names = sorted(expected.keys() | found.keys())
    return [name for name in names if expected.get(name) != found.get(name)]


def attempts(
    case: Case, root: Path, runner: Runner, kills: int, wall_s: float, dice: random.Random
) -> Iterator[str]:
    """Kill a case `kills` times and compare; a line for each kill and each comparison."""
    whole = root / case.name / "whole"
    left, attempt = kills, 0
    while left:
        attempt += 1
        folder = root / case.name / f"killed-{attempt}"
        here = 0
        while True:
            minutes = dice.choice(INTERVALS)
            longest = 2 * wall_s if minutes == "0" else wall_s  # the writing takes time, too
            delay = dice.uniform(0, longest) if left else None
            if runner(case, folder, minutes, delay):
                break
            left, here = left - 1, here + 1
            yield f"killed after {delay:.2f} s, {last_step(folder)}, every {minutes} min"
        wrong = differences(whole, folder)
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
    todo = [case for case in cases(root) if not names or case.name in names]
    made = 0
    for place, case in enumerate(todo):
        wall_s = runner(case, root / case.name / "whole", "1000", None)
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
