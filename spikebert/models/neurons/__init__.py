"""Spiking neurons: one file each, with its equation at the top.

To add one, write `spikebert/neurons/<name>.py` with a module that takes currents [T, ...] and
returns spikes [T, ...], and enter it in `NEURONS`; `model.neuron: <name>` then selects it.
"""

from __future__ import annotations

from torch import nn

from .lif import LIF, fire, is_lif, lif, lif_step
from .surrogate import SURROGATES, spike

NEURONS: dict[str, type[nn.Module]] = {"lif": LIF}

__all__ = ["LIF", "NEURONS", "SURROGATES", "fire", "is_lif", "lif", "lif_step", "spike"]
