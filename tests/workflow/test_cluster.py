"""What the cluster profiles ask for: from dry runs, and from a Kubernetes that only writes down."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from workflow_runs import ROOT, TINY, copy_repository, snakemake

from spikebert.config.plan import make_plan
from spikebert.config.schema import RULES
from spikebert.errors import UserError

PAPER = "config/paper.yaml"
SNAKEFILES = [ROOT / "workflow/Snakefile", *ROOT.glob("workflow/rules/*.smk")]
TRAINING = {"pretrain", "finetune", "stage1", "stage2", "direct", "textcnn", "snn_textcnn"}

# The client's calls that reach for a cluster, answered here: every job that is made has failed.
NO_CLUSTER = """
import json, pathlib, sys
from kubernetes import client, config

made = []

def create(self, namespace, body):
    made.append({"namespace": namespace, **client.ApiClient().sanitize_for_serialization(body)})

config.load_kube_config = lambda *_, **__: None
client.CoreV1Api.create_namespaced_secret = lambda self, namespace, body: None
client.CoreV1Api.delete_namespaced_secret = lambda self, name, namespace, body: None
client.CoreV1Api.list_namespaced_pod = lambda self, **_: client.V1PodList(items=[])
client.BatchV1Api.create_namespaced_job = create
client.BatchV1Api.read_namespaced_job_status = lambda self, name, namespace: client.V1Job(
    status=client.V1JobStatus(failed=1)
)

from snakemake.cli import main
try:
    main(sys.argv[2:])
finally:
    pathlib.Path(sys.argv[1]).write_text(json.dumps(made))
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_repository(tmp_path_factory.mktemp("clone"))


def asked(printed: str) -> dict[str, set[tuple[tuple[str, str], ...]]]:
    """By rule, the different resources of the jobs that a dry run would submit."""
    blocks = re.findall(r"^( *)rule (\w+):\n((?:\1 {4}.*\n)+)", printed, re.MULTILINE)
    stay = re.findall(
        r"localrules:\n((?: {4}.*\n)+)", "\n".join(p.read_text("utf-8") for p in SNAKEFILES)
    )
    local = set(re.findall(r"\w+", " ".join(stay)))
    found: dict[str, set[tuple[tuple[str, str], ...]]] = {}
    for _, rule, block in blocks:  # those of a group stand further in
        if rule in local:
            continue
        line = re.search(r"resources: (.*)", block)
        assert line, block
        pairs = [tuple(part.split("=", 1)) for part in line[1].split(", ")]
        found.setdefault(rule, set()).add(tuple(p for p in pairs if "disk" not in p[0]))
    return found


@pytest.mark.parametrize("profile", ["slurm", "kubernetes"])
def test_paper_scale_asks_for_gpu_memory_and_time(clone: Path, profile: str) -> None:
    config = yaml.safe_load((ROOT / PAPER).read_text("utf-8"))
    printed = snakemake(
        clone, "-n", "all", "--configfile", PAPER, "--workflow-profile", f"profiles/{profile}"
    )
    found = asked(printed)
    assert found.keys() == RULES.keys() - {"pretrain"}
    for rule, kinds in found.items():
        [kind] = map(dict, kinds)
        stated = config["resources"].get(rule, {})
        assert int(kind["mem_mb"]) == stated.get("mem_mb", RULES[rule].mem_mb)
        assert int(kind["runtime"]) == stated.get("runtime", RULES[rule].runtime)
        assert kind.get("gpu") == ("1" if rule in TRAINING else None)
        if rule in TRAINING:
            assert stated, f"{rule} at the scale of the paper takes the small run's resources"
        if profile == "slurm":
            assert kind["slurm_extra"] == "--signal=TERM@300"
    groups = printed.split("Group job quick")[1:]
    sizes = sorted(members.count("rule augment:") for members in groups)
    assert sizes[1:] == [4] * len(sizes[1:])
    assert bool(sizes) == (profile == "slurm")


def test_resources_of_the_command_line_win(clone: Path) -> None:
    printed = snakemake(
        clone, "-n", "all", "--configfile", PAPER, "--workflow-profile", "profiles/slurm",
        "--set-resources", "stage1:runtime=2880", "stage1:slurm_partition=long",
    )  # fmt: skip
    [kind] = map(dict, asked(printed)["stage1"])
    assert (kind["runtime"], kind["slurm_partition"]) == ("2880", "long")


def test_a_training_of_several_processes_asks_for_a_gpu_each(clone: Path) -> None:
    config = yaml.safe_load((ROOT / TINY).read_text("utf-8")) | {"gpu": 1}
    config["resources"] = {"stage1": {"processes": 4}}
    (clone / "several.yaml").write_text(yaml.safe_dump(config), "utf-8")
    printed = snakemake(
        clone, "-n", "-p", "all", "--configfile", "several.yaml", "--resources", "gpu=4",
        "--workflow-profile", "profiles/slurm",
    )  # fmt: skip
    for rule, kinds in asked(printed).items():
        if rule in TRAINING:
            assert {dict(kind)["gpu"] for kind in kinds} == {"4" if rule == "stage1" else "1"}
    assert "python -m spikebert launch --processes 4 run stage1/en." in printed
    assert "python -m spikebert run films.spikebert.base.s1 " in printed

    config["resources"] = {"textcnn": {"processes": 2}}
    with pytest.raises(UserError, match="processes"):
        make_plan(config)


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The jobs that the Kubernetes plugin makes of one training job and of its second attempt."""
    folder = copy_repository(tmp_path_factory.mktemp("kubernetes"))
    shared = folder / "shared"
    text = shared / "work/tiny/unlabelled/en/text.jsonl"
    text.parent.mkdir(parents=True)
    text.write_text('{"text": "a film"}\n', "utf-8")
    # Storage copies with rsync, of which this stand-in does enough.
    tools = folder / "tools"
    tools.mkdir()
    (tools / "rsync").write_text('#!/bin/sh\nwhile [ $# -gt 2 ]; do shift; done\ncp -R "$1" "$2"\n')
    (tools / "rsync").chmod(0o755)
    arguments = [
        *("work/tiny/teachers/en", "--allowed-rules", "pretrain", "--configfile", TINY),
        *("--config", "gpu=1", "threads=2", f"checkpoints={shared}"),
        *("--workflow-profile", "profiles/kubernetes", "--default-storage-prefix", str(shared)),
        *("--container-image", "registry.test/spikebert:1", "--seconds-between-status-checks", "1"),
    ]
    run = subprocess.run(
        [sys.executable, "-c", NO_CLUSTER, str(folder / "made.json"), *arguments],
        cwd=folder,
        env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (folder / "made.json").exists(), run.stdout + run.stderr
    made = json.loads((folder / "made.json").read_text("utf-8"))
    assert made, run.stdout + run.stderr
    for job in made:
        job["shared"] = str(shared)
    return made


def test_pods_claim_what_the_rule_asks_for(pods: list[dict[str, Any]]) -> None:
    assert len(pods) == 2  # retries: 1
    for attempt, job in enumerate(pods, 1):
        pod = job["spec"]["template"]["spec"]
        [container] = pod["containers"]
        limits, requests = (container["resources"][k] for k in ("limits", "requests"))
        # Extended resources are refused without a limit that equals the request.
        assert limits["nvidia.com/gpu"] == requests["nvidia.com/gpu"] == "1"
        assert limits["memory"] == requests["memory"] == f"{8000 * attempt}M"
        assert limits["cpu"] == "2000m"
        assert {t["key"] for t in pod["tolerations"]} == {"nvidia.com/gpu"}
        assert job["spec"]["backoffLimit"] == 0  # Snakemake starts it again, not Kubernetes
        assert pod["restartPolicy"] == "Never"


def test_pods_run_the_step_in_the_image_beside_the_volume(pods: list[dict[str, Any]]) -> None:
    job = pods[0]
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["image"] == "registry.test/spikebert:1"
    assert container["command"] == ["/bin/sh"]
    command = container["args"][1]
    assert "snakemake" in command
    assert "--target-jobs 'pretrain:id=en'" in command
    assert "--default-storage-provider 'fs'" in command
    assert f"'checkpoints={job['shared']}'" in command  # the configuration travels along
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    assert mounts["spikebert"] == "/shared"
    claims = {
        v["name"]: v["persistentVolumeClaim"]["claimName"]
        for v in pod["volumes"]
        if "persistentVolumeClaim" in v
    }
    assert claims == {"spikebert": "spikebert"}
    assert job["namespace"] == "default"


def test_a_shell_that_is_told_to_go_waits_for_its_training() -> None:
    """Slurm signals every process of a step: here, those of a group."""
    found = re.search(r'shell\.prefix\("(.*)"\)', (ROOT / "workflow/rules/common.smk").read_text())
    assert found
    code = (
        "import signal, sys, time; "
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), print('saved'), sys.exit(75)));"
        "print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        ["bash", "-c", f'{found[1]} {sys.executable} -c "{code}" 2>&1'],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=30) == 75
    assert time.monotonic() - start >= 0.5
    assert process.stdout.read() == "saved\n"
