"""The package as a whole: cheap to import, known to the Auto classes, its pins in step."""

import ast
import hashlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import spikebert

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

IMPORT_ORDERS = {
    "spikebert first": "import spikebert, transformers",
    "Auto classes first": "from transformers import AutoModel; import spikebert",
    "models first": "import spikebert.models.modeling",
    "networks first": "import spikebert.models.textcnn",
}

LOAD = """
import sys
from transformers import AutoConfig

folder = sys.argv[1]
config = AutoConfig.from_pretrained(folder)
assert type(config) is spikebert.SpikeBertConfig, type(config)

from transformers import AutoModel, AutoModelForSequenceClassification

assert type(AutoModel.from_config(config)) is spikebert.SpikeBertModel
model = AutoModelForSequenceClassification.from_pretrained(folder)
assert type(model) is spikebert.SpikeBertForSequenceClassification, type(model)
AutoModelForSequenceClassification.from_config(AutoConfig.for_model("snn_textcnn", filters=1))
"""


def run_python(code: str, *arguments: object) -> None:
    """Run code in a new interpreter, where nothing has been imported yet."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def student_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    config = spikebert.SpikeBertConfig(
        vocab_size=37, hidden_size=14, num_hidden_layers=1, num_attention_heads=7
    )
    spikebert.SpikeBertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_import_loads_no_heavy_package():
    run_python(
        "import sys, spikebert, spikebert.config.settings, spikebert.records.records\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )


@pytest.mark.slow
@pytest.mark.parametrize("order", IMPORT_ORDERS)
def test_auto_classes_know_the_model_in_every_import_order(order, student_folder):
    run_python(f"{IMPORT_ORDERS[order]}\n{LOAD}", student_folder)


def test_public_names_are_listed_and_found():
    assert set(spikebert.__all__) <= set(dir(spikebert))
    for name in spikebert.__all__:
        assert getattr(spikebert, name) is not None


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'spikebert' has no attribute 'SpikeBart'"):
        spikebert.SpikeBart  # noqa: B018


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}


def imported_packages(source: str) -> set[str]:
    """Top-level names of the absolute imports of a module, those within functions included."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.partition(".")[0] for name in names}


def test_every_imported_package_is_a_dependency():
    sources = [path.read_text("utf-8") for path in (ROOT / "spikebert").rglob("*.py")]
    imported = set().union(*map(imported_packages, sources)) - set(sys.stdlib_module_names)
    owners = packages_distributions()
    needed = {owners[name][0].lower().replace("_", "-") for name in imported - {"spikebert"}}
    # Extras that a module imports where it is used: neurons named sj.<class>, and the export.
    extras = PROJECT["project"]["optional-dependencies"]
    left = needed - names_of(PROJECT["project"]["dependencies"])
    assert left == {*names_of(extras["train"]), "onnxruntime"}


def test_every_dependency_is_pinned_and_no_cuda_package_is():
    asked = names_of(
        PROJECT["project"]["dependencies"]
        + PROJECT["project"]["optional-dependencies"]["workflow"]
        + PROJECT["dependency-groups"]["dev"]
    )
    pins = (ROOT / "envs/requirements.txt").read_text("utf-8")
    pinned = set(re.findall(r"^([a-z0-9-]+)==", pins, re.MULTILINE))
    assert not asked - pinned
    unwanted = ("cuda-", "nvidia-", "torchaudio", "torchvision", "triton")
    assert not [name for name in pinned if name.startswith(unwanted)]


def test_conda_environment_follows_the_pins():
    digest = hashlib.sha256((ROOT / "envs/requirements.txt").read_bytes()).hexdigest()
    script = (ROOT / "envs/spikebert.post-deploy.sh").read_text("utf-8")
    assert digest in script, "run `make lock`"


@pytest.mark.parametrize(
    ("rooms", "heavy"),
    [
        ("cli", "torch, transformers, datasets, pandas, matplotlib"),
        ("config", "torch, transformers, datasets, pandas, matplotlib"),
        ("records, report", "torch, transformers, datasets"),
    ],
)
def test_light_rooms_load_nothing_heavy(rooms: str, heavy: str) -> None:
    """Every module of a room, each with all that it imports at its head."""
    code = (
        f"import importlib, pkgutil, sys\nfrom spikebert import {rooms}\n"
        f"for room in ({rooms},):\n"
        "    for module in pkgutil.iter_modules(getattr(room, '__path__', [])):\n"
        "        importlib.import_module(f'{room.__name__}.{module.name}')\n"
        "print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(heavy.split(", ")) & set(run.stdout.split())
