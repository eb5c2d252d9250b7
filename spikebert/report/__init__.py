"""Tables, figures and pages from published records alone.

Every table and figure is named here with the function that writes it, which takes a `Published`
and a folder. Nothing is imported before it is needed.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .published import Published

# By name: the module of this room and the function in it. `claims` writes ablation and variants,
# too, and reads the table of energy.
TABLES = {
    "accuracy": "accuracy_table:write_accuracy",
    "claims": "claims:write_claims",
    "energy": "energy_table:write_energy",
    "training_cost": "training_cost_table:write_training_cost",
    "glue": "glue_table:write_glue",
    "compressed": "compressed_table:write_compressed",
}
FIGURES = {
    "accuracy": "accuracy_figures:write_accuracy",
    "curves": "accuracy_figures:write_curves",
    "sweeps": "sweep_figures:write_sweeps",
    "probes": "probe_figures:write_probes",
    "calibration": "probe_figures:write_calibration",
    "bench": "sweep_figures:write_bench",
}


def write_output(place: str, run: Published, out: Path) -> None:
    """Write one of the tables or figures above into the folder `out`."""
    module, function = place.split(":")
    getattr(import_module(f".{module}", __name__), function)(run, out)
