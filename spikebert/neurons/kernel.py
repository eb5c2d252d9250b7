"""`kernel.cpp` built once for this processor, kept between processes, and called through ctypes."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SOURCE = Path(__file__).with_suffix(".cpp")
# The membrane's sums are not contracted, so that fp32 spikes are bitwise the plain neuron's.
FLAGS = ("-O3", "-ffp-contract=off", "-std=c++17", "-shared", "-fPIC")
# Best first; compilers differ in what they know.
OPTIONAL = (("-march=native", "-fopenmp"), ("-march=native",), ())
SURROGATE_NUMBERS = {"atan": 0, "sigmoid": 1, "triangle": 2, "rectangle": 3}
DTYPES = (torch.float32, torch.bfloat16)


class Call(ctypes.Structure):
    """`struct Call` of kernel.cpp."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("steps", "given", "rows", "width", "bfloat16")),
        *((name, ctypes.c_int64) for name in ("surrogate", "hard", "attached", "norm", "threads")),
        *((name, ctypes.c_double) for name in ("beta", "gain", "threshold", "alpha", "eps")),
    ]


def compiler() -> str | None:
    """The C++ compiler: $CXX, or g++, or clang++; None where there is none."""
    return next(
        filter(None, map(shutil.which, (os.environ.get("CXX", ""), "g++", "clang++"))), None
    )


def _processor() -> str:
    """What decides the meaning of -march=native; a home folder may serve unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.processor()} {flags}"


def _folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spikebert"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="spikebert-"))
    return cache if os.access(cache, os.W_OK) else Path(tempfile.mkdtemp(prefix="spikebert-"))


def _build(command: str, target: Path) -> bool:
    """Compile to `target`, whole or not at all, with the most that the compiler knows."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as folder:
        part = Path(folder) / target.name
        for optional in OPTIONAL:
            words = [command, *FLAGS, *optional, str(SOURCE), "-o", str(part)]
            if subprocess.run(words, capture_output=True, check=False).returncode == 0:
                part.replace(target)
                return True
    return False


@functools.cache
def library() -> ctypes.CDLL | None:
    """The built kernel, or None where nothing can build it."""
    command = compiler()
    if command is None:
        return None
    parts = (SOURCE.read_text(encoding="utf-8"), command, *FLAGS, *map(str, OPTIONAL), _processor())
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    target = _folder() / f"kernel-{digest}.so"
    if not target.exists() and not _build(command, target):
        return None
    return ctypes.CDLL(str(target))


def _pointer(x: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if x is None else x.data_ptr())


def _call(y: Tensor, steps: int, norm: bool, settings: dict[str, Any], eps: float) -> Call:
    given, rows, width = y.shape
    return Call(
        steps=steps,
        given=given,
        rows=rows,
        width=width,
        bfloat16=y.dtype == torch.bfloat16,
        surrogate=SURROGATE_NUMBERS[settings["surrogate"]],
        hard=settings["reset"] == "hard",
        attached=not settings["detach_reset"],
        norm=norm,
        threads=torch.get_num_threads(),
        beta=settings["beta"],
        gain=1 - settings["beta"] if settings["decay_input"] else 1.0,
        threshold=settings["threshold"],
        alpha=settings["alpha"],
        eps=eps,
    )


class _NormLIF(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        y: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        steps: int,
        eps: float,
        settings: dict[str, Any],
    ) -> Tensor:
        call = _call(y, steps, weight is not None, settings, eps)
        out = y.new_empty(steps, *y.shape[1:])
        lib = library()
        assert lib is not None
        lib.norm_lif_forward(
            ctypes.byref(call), _pointer(y), _pointer(weight), _pointer(bias), _pointer(out)
        )
        ctx.save_for_backward(y, weight, bias)
        ctx.call = call
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, weight, bias = ctx.saved_tensors
        grad = grad.to(y.dtype).contiguous()
        dy = torch.empty_like(y)
        dw, db = (None if p is None else torch.zeros_like(p) for p in (weight, bias))
        lib = library()
        assert lib is not None
        lib.norm_lif_backward(
            ctypes.byref(ctx.call), *map(_pointer, (y, weight, bias, grad, dy, dw, db))
        )
        return dy, dw, db, None, None, None


def norm_lif(
    y: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    steps: int = 0,
    eps: float = 1e-5,
    **settings: Any,
) -> Tensor:
    """Spikes [T, ..., D] of LN(y), or of y itself where there is no weight [D]; in y's dtype.

    y is [T, ..., D], or [1, ..., D] for `steps` equal steps; float32 or bfloat16, on the CPU.
    `settings` are those of `lif_step`, all of them. Membrane and norm are float32.
    """
    if y.dtype not in DTYPES or y.device.type != "cpu":
        raise ValueError(f"expected float32 or bfloat16 on the CPU, got {y.dtype} on {y.device}")
    steps = max(steps, y.shape[0])
    if y.shape[0] not in (1, steps):
        raise ValueError(f"steps: expected 1 or {steps} given, got {y.shape[0]}")
    flat = y.reshape(y.shape[0], -1, y.shape[-1]).contiguous()
    if weight is not None and bias is not None:
        weight, bias = weight.float(), bias.float()
    return _NormLIF.apply(flat, weight, bias, steps, eps, settings).view(steps, *y.shape[1:])
