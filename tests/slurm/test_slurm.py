"""The workflow on a real Slurm: `make test-slurm`, which the tests of `make test` leave out.

Five runs at once, each through Snakemake's command line and the profile as it is shipped: the whole
tiny method, the augmentation of five seeds, and three trainings that lose their job in the middle.
These train slowly, by sleeping, so that the middle is there on any machine.
"""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import Cluster, wait_for, why_not
from workflow_runs import ROOT, TINY, copy_repository

from spikebert.records.records import read_records

pytestmark = pytest.mark.skipif(bool(why_not()), reason=str(why_not()))

MODELS = ["teacher", "spikebert"]
TEACHER = "work/tiny/teachers/en"
LOG = "work/tiny/logs/pretrain/en.log"
PATIENCE = 900  # seconds; a tenth of it will do on an idle machine
UPDATES = 160
SLOWLY = """\
import time
from wrapt import register_post_import_hook

def slow(trainer):
    plain = trainer.Interruptible.on_step_end
    def on_step_end(self, *args, **kwargs):
        time.sleep(0.4)
        return plain(self, *args, **kwargs)
    trainer.Interruptible.on_step_end = on_step_end

register_post_import_hook(slow, "spikebert.training.trainer")
"""


class Flight:
    """One run of the workflow on the cluster."""

    def __init__(self, cluster: Cluster, folder: Path, config: dict[str, Any]) -> None:
        self.cluster, self.folder = cluster, copy_repository(folder)
        self.output = folder / "output.txt"
        (folder / "config.yaml").write_text(yaml.safe_dump(config), "utf-8")
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("SNAKEMAKE", "SLURM"))},
            "PATH": f"{cluster.commands}:{os.environ['PATH']}",
        }

    def start(self, target: str, *more: str) -> None:
        command = [
            *(sys.executable, "-m", "snakemake", target, "--configfile", "config.yaml"),
            *("--workflow-profile", "profiles/slurm"),
            # There is no accounting here, and the jobs are short.
            *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "3"),
            *more,
        ]
        with self.output.open("wb") as stream:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def finish(self) -> str:
        """What Snakemake printed; the test fails unless it succeeded."""
        try:
            status = self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(self.tell()) from None
        assert status == 0, self.tell()
        return self.output.read_text("utf-8")

    def tell(self) -> str:
        logs = sorted(self.folder.glob("work/tiny/logs/**/*.log"))
        logs += sorted(self.folder.glob(".snakemake/slurm_logs/**/*.log"))
        texts = [f"== {p}\n{p.read_text('utf-8')[-3000:]}" for p in (self.output, *logs)]
        return "\n".join([*texts, self.cluster("squeue", "--states=all", "-o", "%i %T %N %r %k")])

    def jobs(self, rule: str = "") -> list[dict[str, str]]:
        """This run's jobs, in the words of scontrol, in the order of their start."""
        own = [j for j in self.cluster.jobs() if j["WorkDir"] == str(self.folder)]
        return [j for j in own if j.get("Comment", "").startswith(f"rule_{rule}")]

    def checkpoint(self) -> dict[str, str]:
        """Wait until the training has saved something, and give its job."""

        def saved() -> bool:
            assert not self.process.poll(), self.tell()
            return any(self.folder.glob("work/tiny/checkpoints/**/trainer_state.json"))

        wait_for(saved, f"a checkpoint of {self.folder.name}", PATIENCE)
        [job] = [j for j in self.jobs("pretrain") if j["JobState"] == "RUNNING"]
        return job


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running
    assert not list(running.processes())


@pytest.fixture(scope="module")
def flights(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Flight]]]:
    """All five at once, under way; each result is waited for by the test that looks at it."""
    whole = yaml.safe_load((ROOT / TINY).read_text("utf-8")) | {"gpu": 1, "threads": 2}
    whole["runs"] = [{"datasets": ["films"], "models": MODELS, "seeds": [1]}]
    quick = whole | {"runs": [{"datasets": ["films"], "models": MODELS, "seeds": [1, 2, 3, 4, 5]}]}
    rows = sum(line.endswith("\ttrain\n") for line in (ROOT / "tests/inputs/films_en.tsv").open())
    long = whole | {"gpu": 0, "threads": 1, "steps": {**whole["steps"]}}
    long["steps"]["pretrain"] = {
        **whole["steps"]["pretrain"],
        "epochs": UPDATES * 32 / rows,
        "evaluations": 20,
    }
    slow = tmp_path_factory.mktemp("slow")
    (slow / "sitecustomize.py").write_text(SLOWLY)

    def fly(
        name: str,
        config: dict[str, Any],
        *arguments: str,
        loss: Callable[[Flight], None] | None = None,
    ) -> Flight:
        flight = Flight(cluster, tmp_path_factory.getbasetemp() / name, config)
        if loss:
            flight.environment["PYTHONPATH"] = str(slow)
        flight.start(*arguments)
        ends.callback(flight.process.kill)  # if a test failed
        if loss:
            loss(flight)
        flight.finish()
        return flight

    def cancel(flight: Flight) -> None:
        cluster("scancel", flight.checkpoint()["JobId"])

    def break_node(flight: Flight) -> None:
        job = flight.checkpoint()
        flight.node = job["NodeList"]
        cluster.kill_node(flight.node)

        def elsewhere() -> bool:
            [again] = flight.jobs("pretrain")
            return again["JobState"] == "RUNNING" and again["NodeList"] != flight.node

        try:
            wait_for(elsewhere, "a requeue", PATIENCE)
        finally:
            cluster.start_node(flight.node)

    def shorten(flight: Flight) -> None:
        """Its time ends in five minutes, so that Slurm sends the signal of the profile now."""
        job = flight.checkpoint()
        hours, minutes, _ = map(int, job["RunTime"].split(":"))
        limit = f"TimeLimit={60 * hours + minutes + 5}"
        cluster("scontrol", "update", f"JobId={job['JobId']}", limit)

    there = ("--set-resources", "pretrain:slurm_extra='--nodelist=node2 --signal=TERM@300'")
    with ThreadPoolExecutor() as pool, contextlib.ExitStack() as ends:
        yield {
            "broken": pool.submit(fly, "broken", long, TEACHER, loss=break_node),
            "cancelled": pool.submit(fly, "cancelled", long, TEACHER, *there, loss=cancel),
            "shortened": pool.submit(fly, "shortened", long, TEACHER, *there, loss=shorten),
            "whole": pool.submit(fly, "whole", whole, "all"),
            "quick": pool.submit(fly, "quick", quick, "all", "--until", "augment"),
        }


def resumed(flight: Flight) -> int:
    """After which update the log of the last attempt says that it went on."""
    log = (flight.folder / LOG).read_text("utf-8")
    found = re.search(rf"resuming after update (\d+) of {UPDATES}", log)
    assert found, log
    return int(found[1])


def has_gpu(job: dict[str, str]) -> bool:
    return bool(re.fullmatch(r"gres[:/]gpu:1", job.get("TresPerJob", "")))


def test_the_whole_workflow_runs_through_slurm(flights: dict[str, Future[Flight]]) -> None:
    flight = flights["whole"].result()
    records = read_records((flight.folder / "results/tiny/records").glob("*.json"))
    assert {record.model for record in records} == set(MODELS)
    assert (flight.folder / "results/tiny/tables/claims.csv").is_file()
    rules = {
        re.match("rule_([a-z0-9_]+?)(_wildcards_.*)?$", j["Comment"])[1] for j in flight.jobs()
    }
    trained = {"pretrain", "finetune", "stage1", "stage2"}
    looks = {"measure_energy", "probe", "cka", "calibration"}
    assert rules == trained | looks | {"quick_augment", "unlabelled"}
    assert {j["JobState"] for j in flight.jobs()} == {"COMPLETED"}
    for job in flight.jobs():
        rule = re.match("rule_([a-z0-9]+)", job["Comment"])[1]
        assert has_gpu(job) == (rule in trained), job
        assert job["NumCPUs"] == ("1" if rule in ("quick", "unlabelled") else "2"), job


def test_augmentations_share_a_job(flights: dict[str, Future[Flight]]) -> None:
    flight = flights["quick"].result()
    jobs = flight.jobs()
    assert {(j["Comment"], j["JobState"]) for j in jobs} == {("rule_quick_augment", "COMPLETED")}
    assert sorted(j["NumCPUs"] for j in jobs) == ["1", "4"]  # five seeds
    assert len(list(flight.folder.glob("work/tiny/augmented/films/*.jsonl"))) == 5


def test_jobs_with_the_gpu_never_meet(flights: dict[str, Future[Flight]]) -> None:
    jobs = [j for j in flights["whole"].result().jobs() if has_gpu(j)]
    spans = sorted(
        [datetime.fromisoformat(j[name]) for name in ("SubmitTime", "StartTime", "EndTime")]
        for j in jobs
    )
    assert len(spans) == 4
    for (_, *one), (_, *other) in combinations(spans, 2):
        assert one[1] <= other[0] or other[1] <= one[0]
    waited = [a for a in spans for b in spans if a is not b and a[0] < b[2] <= a[1]]
    assert waited  # in the queue while another had the GPU


def test_a_cancelled_job_is_tried_again(flights: dict[str, Future[Flight]]) -> None:
    flight = flights["cancelled"].result()
    first, second = flight.jobs("pretrain")
    assert (first["JobState"], second["JobState"]) == ("CANCELLED", "COMPLETED")
    assert resumed(flight) > 0
    memory = [re.search(r"mem=(\d+)M", job["TRES"])[1] for job in (first, second)]
    assert int(memory[1]) == 2 * int(memory[0])


def test_a_job_outlives_its_node(flights: dict[str, Future[Flight]]) -> None:
    flight = flights["broken"].result()
    [job] = flight.jobs("pretrain")
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")
    assert job["NodeList"] != flight.node
    assert resumed(flight) > 0


def test_training_saves_before_its_time_is_up(flights: dict[str, Future[Flight]]) -> None:
    flight = flights["shortened"].result()
    first, second = flight.jobs("pretrain")
    assert (first["JobState"], second["JobState"]) == ("FAILED", "COMPLETED")
    told = flight.output.read_text("utf-8")
    stopped = re.search(rf"stopped by SIGTERM after update (\d+) of {UPDATES}", told)
    assert stopped, told
    assert resumed(flight) == int(stopped[1])


def test_the_cluster_is_whole_again(cluster: Cluster, flights: dict[str, Future[Flight]]) -> None:
    flights["broken"].result()
    time.sleep(1)
    assert set(cluster("sinfo", "-hN", "-o", "%N").splitlines()) == {"node1", "node2"}
