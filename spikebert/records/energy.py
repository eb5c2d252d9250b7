"""What a network's operations cost: the conventions, their arithmetic, and the file of results.

Nothing here imports torch: `analysis.energy` measures, this module charges.

- A *MAC* is one multiply-accumulate. Where FLOPs are quoted with one multiplication and one
  addition counted apart, a FLOP is half a MAC. A MAC costs 4.6 pJ (3.7 + 0.9) and an accumulate
  (AC) 0.9 pJ: 32 bit floating point at 45 nm, Horowitz, ISSCC 2014.
- A layer's MACs are those of its products over all T steps as if its input were dense. Biases,
  norms, softmax, activations and neurons are left out by all conventions but `full`; look-ups of
  embeddings and traffic of memory by all.
- A layer's *SOPs* are its ACs: T x firing rate of its input x MACs of one step.
- An input that is the same at all T steps may be computed once in software. It is counted T times,
  as hardware that is fed spikes would run it.

A layer's input is *binary* (0 and 1 alone), *integer* (counts of spikes) or *real*, as seen over
all that was measured. The conventions differ in what they make of it:

| convention | binary          | integer                     | real            |
|------------|-----------------|-----------------------------|-----------------|
| `paper`    | SOPs at 0.9 pJ  | SOPs at 0.9 pJ              | MACs at 4.6 pJ  |
| `strict`   | SOPs at 0.9 pJ  | MACs at 4.6 pJ, every step  | MACs at 4.6 pJ  |
| `unary`    | SOPs at 0.9 pJ  | an input of k is k ACs      | MACs at 4.6 pJ  |

The firing rate in SOPs is the share of inputs that are not zero, so `paper` charges a count of k
as one AC. A network without spikes costs the same in all three: its convention is `dense`.

`full` is `paper`, or `dense` without spikes, and everything else once per use and step: biases,
norms, neurons (decay, input, comparison, reset), scale and softmax of attention, activations,
residuals, positions, pools and means. It counts multiplications and additions:

| operation               | mul. | add. |   pJ | as                                             |
|-------------------------|------|------|------|------------------------------------------------|
| addition, comparison    |    0 |    1 |  0.9 | Horowitz; a comparison is a subtraction        |
| multiplication          |    1 |    0 |  3.7 | Horowitz                                       |
| division                |    5 |    2 | 20.3 | two Newton steps from a seed of 8 bits, x 1/y  |
| inverse square root     |    6 |    2 | 24.0 | two Newton steps from a seed of 8 bits         |
| exp                     |    6 |    6 | 27.6 | reduction of range, polynomial of degree 5     |
| tanh                    |   12 |   10 | 53.4 | exp(2x), two additions, a division             |
| erf                     |   19 |   14 | 82.9 | Abramowitz and Stegun, 7.1.26: exp, a division |

Horowitz names no cost of the last five: they are counted by what software computes them with.

Lengths: "real" is the mean over sentences at their own lengths, special tokens included, padding
excluded. A number N is one sentence of N tokens, all of them counted (a sentence padded to N costs
a dense network the same), at the rates that were measured on the real sentences.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated

from pydantic import Field

from ..errors import UserError
from ..utils.validation import Count, FromFile, Real
from .records import read_versioned

MAC_PJ, AC_PJ, MULTIPLY_PJ = 4.6, 0.9, 3.7
KINDS = ("binary", "integer", "real")  # each takes in the ones before it
CONVENTIONS = ("paper", "strict", "unary")
DENSE, FULL = "dense", "full"
Amount = Annotated[Real, Field(ge=0)]


@dataclass(frozen=True)
class Workload:
    """What one layer has to do for one sample."""

    macs: float  # over all steps
    kind: str  # of its input, one of KINDS
    rate: float  # share of inputs that are not zero, 0 to 1
    magnitude: float  # mean of |input|


@dataclass(frozen=True)
class Charge(FromFile):
    """Operations of one sample, and their energy: energy_pj = 4.6 macs + 0.9 sops."""

    macs: Amount  # charged as MACs, over all steps
    sops: Amount  # charged as accumulates
    spike_rate: Amount | None  # share of inputs not zero where SOPs are charged, weighted by MACs
    energy_pj: Amount


@dataclass(frozen=True)
class Operations(FromFile):
    """Multiplications and additions beside the products."""

    multiplications: Amount = 0
    additions: Amount = 0

    def __add__(self, other: Operations) -> Operations:
        return Operations(
            self.multiplications + other.multiplications, self.additions + other.additions
        )

    def __mul__(self, times: float) -> Operations:
        return Operations(self.multiplications * times, self.additions * times)

    @property
    def energy_pj(self) -> float:
        return MULTIPLY_PJ * self.multiplications + AC_PJ * self.additions


DIVISION, INVERSE_ROOT, EXP = Operations(5, 2), Operations(6, 2), Operations(6, 6)
TANH, ERF = Operations(12, 10), Operations(19, 14)


@dataclass(frozen=True)
class Elementwise(FromFile):
    """What `full` adds for one sample: the mean of the samples, and that at the fixed length."""

    real: Operations
    fixed: Operations | None
    unknown: list[str]  # classes of modules that no rule explains: there is no `full` with them


def charge(workloads: Iterable[Workload], convention: str) -> Charge:
    """Charge layers by one of CONVENTIONS, or as `dense`: MACs alone.

    Raises:
        UserError: there is no such convention.
    """
    if convention not in (*CONVENTIONS, DENSE):
        raise UserError(
            "convention of energy",
            expected=" or ".join((*CONVENTIONS, DENSE)),
            got=convention,
            fix="choose one of them",
        )
    macs = sops = fed = fired = 0.0
    for work in workloads:
        as_macs = work.kind == "real" or (work.kind == "integer" and convention == "strict")
        if convention == DENSE or as_macs:
            macs += work.macs
            continue
        sops += work.macs * (work.magnitude if convention == "unary" else work.rate)
        fed += work.macs
        fired += work.macs * work.rate
    return Charge(macs, sops, fired / fed if fed else None, MAC_PJ * macs + AC_PJ * sops)


def _bert_terms(layers: int, width: int, intermediate: int, classes: int) -> tuple[int, int, int]:
    """MACs of a BERT by the power of its tokens that they go with: 2, 1, 0."""
    per_token = layers * (4 * width**2 + 2 * width * intermediate)
    return layers * 2 * width, per_token, width**2 + classes * width


def bert_macs(
    tokens: float, layers: int = 12, width: int = 768, intermediate: int = 3072, classes: int = 2
) -> float:
    """MACs of one sentence of `tokens` tokens in a BERT classifier, pooler and head included."""
    products, per_token, rest = _bert_terms(layers, width, intermediate, classes)
    return per_token * tokens + products * tokens**2 + rest


def matching_length(macs: float) -> float:
    """The length in tokens, not rounded, at which `bert_macs` gives `macs`.

    The paper prints 22.46 GFLOPs for BERT on ChnSenti and neither a length nor what a FLOP is.
    `matching_length(22.46e9)` and `matching_length(22.46e9 / 2)` are the lengths under which it
    comes out: 250.8 tokens if a FLOP is a MAC, 128.6 if a MAC is two. The second is near the usual
    128, and charging each such FLOP 4.6 pJ gives the paper's 103 mJ, twice 4.6 pJ for a MAC.

    Raises:
        UserError: not even a sentence without tokens costs so little.
    """
    products, per_token, least = _bert_terms(12, 768, 3072, 2)
    if least > macs:
        raise UserError("MACs of a BERT", expected=f"at least {least:g}", got=macs, fix="give more")
    return (math.sqrt(per_token**2 - 4 * products * (least - macs)) - per_token) / (2 * products)


@dataclass(frozen=True)
class LayerEnergy(FromFile):
    """One layer, or one of attention's products, over all samples."""

    name: str  # dotted name of the module; `.product.q` and the like for attention's products
    kind: str  # of the input: binary, integer or real
    rate: Amount  # share of inputs that are not zero
    rate_by_step: list[Amount]  # the same at each time step
    magnitude: Amount  # mean of |input|
    macs_real: Amount  # over all steps, mean of the samples
    macs_fixed: Amount | None  # over all steps at the fixed length; None if none was asked for


@dataclass(frozen=True)
class RealEnergy(Charge):
    """Per sample at real lengths: means, and percentiles of the energy over samples."""

    energy_pj_p5: Amount
    energy_pj_p50: Amount
    energy_pj_p95: Amount


@dataclass(frozen=True)
class ConventionEnergy(FromFile):
    """A network's energy by one convention."""

    real: RealEnergy
    fixed: Charge | None


@dataclass(frozen=True)
class Measurement:
    """The energy of one network on some samples."""

    samples: int
    layers: list[LayerEnergy]
    accounts: dict[str, ConventionEnergy]  # by convention; `dense` alone without spikes
    elementwise: Elementwise


def percentile(values: Sequence[float], share: float) -> float:
    """Of sorted values, linear between neighbours; `share` is 0 to 1."""
    place = share * (len(values) - 1)
    low, high = values[math.floor(place)], values[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))


def charge_samples(
    samples: Sequence[Sequence[Workload]], fixed: Sequence[Workload] | None, convention: str
) -> ConventionEnergy:
    """`ConventionEnergy` of the layers' workloads, by sample, and of those at a fixed length."""
    charges = [charge(workloads, convention) for workloads in samples]
    energies = sorted(c.energy_pj for c in charges)
    rates = [c.spike_rate for c in charges if c.spike_rate is not None]
    return ConventionEnergy(
        real=RealEnergy(
            macs=fmean([c.macs for c in charges]),
            sops=fmean([c.sops for c in charges]),
            spike_rate=fmean(rates) if rates else None,
            energy_pj=fmean(energies),
            energy_pj_p5=percentile(energies, 0.05),
            energy_pj_p50=percentile(energies, 0.5),
            energy_pj_p95=percentile(energies, 0.95),
        ),
        fixed=None if fixed is None else charge(fixed, convention),
    )


@dataclass(frozen=True)
class EnergyRecord(FromFile):
    """The file of one model on one corpus. Energies are pJ per sample, lengths tokens."""

    id: str
    dataset: str
    source: str  # where the rows came from, in words
    model: str  # a name in registry.MODELS, or a folder's name
    variant: str
    seed: Count
    split: str
    samples: Count  # the first ones of the split
    timesteps: Count  # T; 1 for a dense network
    fixed_length: Count
    tokens_mean: Amount
    tokens_p5: Amount
    tokens_p50: Amount
    tokens_p95: Amount
    parameters: Count
    layers: list[LayerEnergy]
    accounts: dict[str, ConventionEnergy]
    schema: int = 1
    elementwise: Elementwise | None = None  # None in records of before `full`

    def costs(self) -> dict[str, tuple[Charge, Charge | None]]:
        """At real lengths and at the fixed one by convention; `full` comes last, if it is known."""
        found: dict[str, tuple[Charge, Charge | None]] = {
            name: (account.real, account.fixed) for name, account in self.accounts.items()
        }
        base = found.get("paper") or found.get(DENSE)
        beside = self.elementwise
        if base and beside and not beside.unknown:
            real, fixed = base
            found[FULL] = (
                _with(real, beside.real),
                _with(fixed, beside.fixed) if fixed and beside.fixed else None,
            )
        return found


def _with(cost: Charge, beside: Operations) -> Charge:
    energy = cost.energy_pj + beside.energy_pj
    return Charge(cost.macs, cost.sops, cost.spike_rate, energy)


def read_energy(path: str | Path) -> EnergyRecord:
    """As `read_versioned`."""
    return read_versioned(EnergyRecord, path, "energy record", "delete it and measure again")
