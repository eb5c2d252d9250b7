"""The worked examples of CONTRIBUTING.md, carried out as written in a copy of the repository."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from workflow_runs import ROOT, TINY, copy_repository, jobs, snakemake

from spikebert.kernels.build import library
from spikebert.records.energy import read_energy
from spikebert.records.records import read_record

BLOCK = re.compile(r"^```(python|rst|yaml)\n(?:# ([^\n]*)\n)?(.*?)^```$", re.MULTILINE | re.DOTALL)
RESULTS = "results/tiny"
PLIF, OWN, BAG = (f"films.{name}.base.s1" for name in ("direct", "spikebert", "bag"))
SIZE = [f"{RESULTS}/{name}" for name in ("tables/size.csv", "figures/size.svg")]


def carry_out(place: str, text: str, folder: Path) -> None:
    """Write a file, or put lines where the first line of their block says."""
    if found := re.fullmatch(r"in (\w+) of (\S+)", place):
        file = folder / found[2]
        head = re.compile(rf"^{found[1]}\b.*{{\n", re.MULTILINE)
        new, count = head.subn(lambda match: match[0] + text, file.read_text("utf-8"))
        assert count == 1
        file.write_text(new, "utf-8")
    elif found := re.fullmatch(r"at the end of (\S+)", place):
        with (folder / found[1]).open("a", encoding="utf-8") as end:
            end.write(text)
    else:
        assert not (folder / place).exists()
        (folder / place).write_text(text, "utf-8")


def merge(base: Any, more: Any) -> Any:
    if isinstance(base, dict):
        return base | {k: merge(base[k], v) if k in base else v for k, v in more.items()}
    return [*base, *more] if isinstance(base, list) else more


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with every example in it, and a tiny configuration of what they configure."""
    folder = copy_repository(tmp_path_factory.mktemp("copy"))
    config = yaml.safe_load((ROOT / TINY).read_text("utf-8")) | {"runs": []}
    blocks = BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    assert len(blocks) == 11
    for kind, place, text in blocks:
        if kind == "yaml":
            config = merge(config, yaml.safe_load(text))
        else:
            carry_out(place, text, folder)
    for step in ("stage1", "stage2", "direct", "bag"):
        config["steps"][step] |= {"compile": True, "epochs": 1, "max_length": 24}
    shutil.copy(ROOT / "tests/inputs/films_en.tsv", folder / "my_reviews.tsv")
    (folder / "my.yaml").write_text(yaml.safe_dump(config), "utf-8")
    return folder


@pytest.fixture(scope="module")
def done(copy: Path) -> Path:
    """The same, trained, evaluated, measured and drawn. The tests share it."""
    energies = [f"{RESULTS}/energy/{name}.json" for name in (PLIF, OWN, BAG)]
    targets = [*SIZE, f"{RESULTS}/tables/energy.csv", f"{RESULTS}/figures/accuracy.svg"]
    snakemake(copy, *targets, *energies, "--cores", "2", "--configfile", "my.yaml")
    return copy


def test_names_are_checked_before_the_first_job(copy: Path) -> None:
    config = yaml.safe_load((copy / "my.yaml").read_text("utf-8"))
    config["model"]["neuron"] = "adaptiv"
    (copy / "wrong.yaml").write_text(yaml.safe_dump(config), "utf-8")
    printed = snakemake(copy, "-n", "all", "--configfile", "wrong.yaml", status=1)
    assert "did you mean adaptive?" in printed


@pytest.mark.slow
def test_parts_of_a_file_of_ones_own_are_trained_and_measured(done: Path) -> None:
    assert library() is not None
    own, bag, plif = (read_record(done / RESULTS / f"records/{n}.json") for n in (OWN, BAG, PLIF))
    assert own.settings["model"]["neuron"] == "adaptive"
    assert own.settings["stage2"]["losses"] == {"rate": 0.1}
    assert any(entry.get("loss_rate", 0) > 0 for entry in own.history)
    assert bag.settings["bag"]["width"] == 32
    assert bag.parameters == 32 * vocabulary(done) + 2 * 32 + 2
    assert plif.settings["model"]["neuron"] == "sj.ParametricLIFNode"
    for record in (own, bag, plif):
        assert record.settings["plugins"].keys() == {"my_parts.py"}
        energy = read_energy(done / f"{RESULTS}/energy/{record.id}.json")
        assert energy.samples == record.n_test
        assert ("paper" in energy.accounts) == (record is not bag)


def vocabulary(folder: Path) -> int:
    config = json.loads((folder / "work/tiny/models" / BAG / "config.json").read_text("utf-8"))
    assert config["plugins"].keys() == {"my_parts.py"}
    return int(config["vocab_size"])


@pytest.mark.slow
def test_tables_and_figures_have_the_new_model(done: Path) -> None:
    for name in ("size", "energy"):
        with (done / RESULTS / f"tables/{name}.csv").open(encoding="utf-8") as file:
            models = {row["model"] for row in csv.DictReader(file)}
        assert models >= {"bag", "spikebert", "direct"}
    for name in ("size", "accuracy"):
        assert "#cc79a7" in (done / RESULTS / f"figures/{name}.svg").read_text("utf-8").lower()


@pytest.mark.slow
def test_a_model_of_ones_own_is_refused_without_its_file(done: Path) -> None:
    command = [sys.executable, "-m", "spikebert", "predict", f"work/tiny/models/{BAG}", "a film"]

    def run(*options: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*command, *options], cwd=done, capture_output=True, text=True, check=False
        )

    without = run()
    assert without.returncode
    assert "plugin my_parts.py, which this model needs" in without.stderr
    assert "Traceback" not in without.stderr
    assert not run("--plugin", "my_parts.py").returncode


@pytest.mark.slow
def test_a_language_trains_and_is_augmented(done: Path) -> None:
    record = read_record(done / RESULTS / "records/reviews.tfidf.base.s1.json")
    assert record.n_train + record.n_dev + record.n_test > 40
    code = (
        "from spikebert.config.settings import AugmentSettings\n"
        "from spikebert.data.augment import augment\n"
        "row = {'id': '0', 'text': 'Der Film ist sehr gut und lang', 'label': 1}\n"
        "print(len(list(augment([row], 'de', AugmentSettings(), 1, set(), ()))))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=done, capture_output=True, check=True)
    assert int(run.stdout) > 1


@pytest.mark.slow
def test_another_file_makes_all_of_it_run_again(done: Path) -> None:
    path = done / "my_parts.py"
    text = path.read_text("utf-8")
    path.write_text(text + "# another\n", "utf-8")
    counts = jobs(done, *SIZE, f"{RESULTS}/tables/energy.csv", "--configfile", "my.yaml")
    path.write_text(text, "utf-8")
    trained = {"finetune", "stage1", "stage2", "direct", "bag"}
    assert counts.keys() >= {*trained, "measure_energy", "size"}
    assert not counts.keys() & {"corpus", "tfidf", "augment", "pretrain"}
