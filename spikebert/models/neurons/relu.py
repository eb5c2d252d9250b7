"""A rectifier in the place of a neuron: the real-valued control of a spiking network.

    a[t] = max(x[t], 0)

Without a membrane the steps are alike, so T = 1 loses nothing. What a network with it and one with
spikes do not have in common is spikes alone: graph, norms, attention, losses and schedule are the
same. Its activations are real, so its products are charged as multiply-accumulates.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class ReLU(nn.Module):
    """A layer of rectifiers; thresholds, decays and surrogates have no meaning here."""

    def __init__(self, **_: Any):
        super().__init__()

    def forward(self, x: Tensor, _: Any = None) -> tuple[Tensor, None]:
        """Currents [T, ...] -> activations [T, ...]; there is no state."""
        return x.relu(), None
