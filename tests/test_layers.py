"""A module imports only from a lower layer, and the light ones load no heavy library."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "spikebert"

# From the bottom to the top; a new module has to find its place here.
LAYERS = [
    {"distributed", "warm", "errors"},
    {
        "specs",
        "strict_json",
        "texts",
        "paper",
        "metrics",
        "losses",
        "dense",
        "neurons",
        "signals",
    },
    {"settings", "sums", "tasks", "gpus", "pool", "adamw"},
    {"costs", "hub"},
    {
        "records",
        "sources",
        "readers",
        "batches",
        "attention",
        "significance",
        "energy_account",
        "calibration",
    },
    {
        "resources",
        "configuration",
        "augment",
        "probes",
        "energy",
        "pages",
        "pretrained",
        "checkpoints",
    },
    {"schema"},
    {"plan", "corpora", "modeling", "tables"},
    {"stream"},
    {"trainer"},
    {
        "students",
        "textcnn",
        "training",
        "taught",
        "figures",
        "early_exit",
        "evidence",
        "energy_table",
        "cost_table",
    },
    {
        "distillation",
        "inference",
        "probe_figures",
        "ablation",
        "sweeps",
        "forecast",
        "cards",
        "glue_table",
        "compressed_table",
    },
    {"variants"},
    {"steps", "inspection", "claims", "energy_run", "calibration_figure", "publish"},
    {"baselines", "cnn_baselines", "bench"},
    {"cli"},
    {"__init__", "__main__"},
]
LEVEL = {module: level for level, modules in enumerate(LAYERS) for module in modules}


def module_of(path: Path) -> str:
    """The module or, for a file of a subpackage, the subpackage."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(path: Path) -> set[str]:
    """The modules of this package that a file imports, anywhere in it."""
    depth = len(path.relative_to(PACKAGE).parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            name = node.module or ""
            if node.level == depth:
                found |= {name.split(".")[0]} if name else {alias.name for alias in node.names}
            elif not node.level and name.split(".")[0] == "spikebert":
                found |= {name.split(".")[1]} if "." in name else {a.name for a in node.names}
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {parts[1] for parts in names if parts[0] == "spikebert" and len(parts) > 1}
    return found & LEVEL.keys()


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_module_has_a_layer() -> None:
    assert {module_of(path) for path in FILES} == LEVEL.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    module = module_of(path)
    upward = {name for name in imports_of(path) - {module} if LEVEL[name] >= LEVEL[module]}
    assert not upward, f"{module} (layer {LEVEL[module]}) imports {upward}"


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("plan, schema", "torch, transformers, datasets, pandas, matplotlib, numpy"),
        (
            "tables, figures, probe_figures, claims, sweeps, energy_table, cost_table, "
            "calibration_figure, pages, glue_table, compressed_table",
            "torch, transformers, datasets",
        ),
        ("cli", "torch, transformers, datasets, pandas, matplotlib"),
    ],
)
def test_light_modules_load_nothing_heavy(modules: str, heavy: str) -> None:
    code = f"import sys; from spikebert import {modules}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(heavy.split(", ")) & set(run.stdout.split())
