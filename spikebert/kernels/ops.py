"""Fast forms of what `models` says plainly, in C++ on the processor, called through ctypes.

For training: with them an update of the student takes about half the time, see `make bench`. They
know one neuron, the leaky integrate-and-fire neuron, with the surrogates of `SURROGATE_NUMBERS`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .build import library

SURROGATE_NUMBERS = {"atan": 0, "sigmoid": 1, "triangle": 2, "rectangle": 3}
DTYPES = (torch.float32, torch.bfloat16)


class Call(ctypes.Structure):
    """`struct Call` of kernel.cpp: how the kernel is to read currents y and to write spikes.

    y is [given, batch, tokens, parts * width] or, with heads_in > 1, split by heads,
    [given, batch, heads_in, tokens, width / heads_in]. Each part has a norm of its own and becomes
    spikes of its own, [steps, batch, heads_out, tokens, width / heads_out].
    """

    WHOLE = (
        *("steps", "given", "rows", "width", "bfloat16", "surrogate", "hard", "attached"),
        *("norm", "threads", "stride", "heads_in", "heads_out", "tokens", "added"),
    )
    REAL = ("beta", "gain", "threshold", "alpha", "eps")
    _fields_ = [(n, ctypes.c_int64) for n in WHOLE] + [(n, ctypes.c_double) for n in REAL]


def _call(
    x: Tensor,
    width: int,
    settings: dict[str, Any],
    steps: int = 0,
    parts: int = 1,
    scale: float = 1.0,
    **more: float,
) -> Call:
    """The call for `parts` of `width` currents that x [T or 1, B, ..., N, .] becomes."""
    if x.dtype not in DTYPES or x.device.type != "cpu":
        raise ValueError(f"expected float32 or bfloat16 on the CPU, got {x.dtype} on {x.device}")
    steps = max(steps, len(x))
    if len(x) not in (1, steps):
        raise ValueError(f"steps: expected 1 or {steps} given, got {len(x)}")
    return Call(
        steps=steps,
        given=len(x),
        rows=x.shape[1] * x.shape[-2],
        width=width,
        bfloat16=x.dtype == torch.bfloat16,
        surrogate=SURROGATE_NUMBERS[settings["surrogate"]],
        hard=settings["reset"] == "hard",
        attached=not settings["detach_reset"],
        threads=torch.get_num_threads(),
        stride=parts * width,
        tokens=x.shape[-2],
        beta=settings["beta"],
        gain=scale * (1 - settings["beta"] if settings["decay_input"] else 1.0),
        threshold=settings["threshold"],
        alpha=settings["alpha"],
        **{"heads_in": 1, "heads_out": 1, **more},
    )


def pointer(x: Tensor | None, offset: int = 0) -> ctypes.c_void_p:
    """Where x's values begin, `offset` elements on."""
    return ctypes.c_void_p(None if x is None else x.data_ptr() + offset * x.element_size())


def _pointers(
    call: Call, part: int, y: Tensor, shift: Tensor | None, norms: Sequence[Tensor]
) -> list[ctypes.c_void_p]:
    """Of the currents, the shift and the norm of one part, or of their gradients."""
    first = part * call.width
    norm = norms[2 * part : 2 * part + 2] or (None, None)
    return [pointer(y, first), pointer(shift, first), *map(pointer, norm)]


def weight_gradient(dy: Tensor, x: Tensor) -> Tensor:
    """dy^T x, [N, K], of dy [M, N] and x [..., K] of M rows; in float32 where the processor has
    bfloat16 tiles and N and K are multiples of 32, else torch's product in their dtype."""
    lib, x = library(), x.flatten(0, -2)
    rows, width = dy.shape
    ours = dy.dtype == x.dtype == torch.bfloat16 and width % 32 == x.shape[1] % 32 == 0 < rows
    if not ours or lib is None or not lib.has_tiles():
        return dy.T @ x
    out = dy.new_empty(width, x.shape[1], dtype=torch.float32)
    dy, x = dy.contiguous(), x.contiguous()
    sizes = map(ctypes.c_int64, (rows, *out.shape, torch.get_num_threads()))
    lib.weight_gradient_by_tiles(*map(pointer, (dy, x, out)), *sizes)
    return out


class _Fused(torch.autograd.Function):
    """x, the weight and bias of a linear layer, a residual, and each part's norm weight and bias,
    to each part's spikes; all but x may be missing. The product is in x's dtype. Where `keep`
    [B, N], in uint8, is 0, all parts but the first are silent."""

    @staticmethod
    def forward(
        ctx: Any,
        call: Call,
        keep: Tensor | None,
        x: Tensor,
        weight: Tensor | None,
        shift: Tensor | None,
        residual: Tensor | None,
        *norms: Tensor,
    ) -> tuple[Tensor, ...]:
        weight = None if weight is None else weight.to(x.dtype)
        y = x if weight is None else nn.functional.linear(x, weight)
        call.norm = bool(norms)
        call.added = 0 if residual is None else len(residual)
        parts, heads, tokens = call.stride // call.width, call.heads_out, call.tokens
        shape = (call.steps, call.rows // tokens, heads, tokens, call.width // heads)
        outs = tuple(y.new_empty(shape) for _ in range(parts))
        stats = y.new_empty(parts, 2 * call.given * call.rows * call.norm, dtype=torch.float32)
        lib: Any = library()
        for part, out in enumerate(outs):
            lib.norm_lif_forward(
                ctypes.byref(call),
                *_pointers(call, part, y, shift, norms),
                *map(pointer, (keep if part else None, residual, out, stats[part])),
            )
        kept = x if ctx.needs_input_grad[3] else None
        ctx.save_for_backward(kept, weight, y, shift, stats, *norms)
        ctx.call, ctx.keep = call, keep
        return outs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, y, shift, stats, *norms = ctx.saved_tensors
        call = ctx.call
        dy = torch.empty_like(y)
        dshift = None if shift is None else torch.zeros_like(shift)
        changes = [torch.zeros_like(p) for p in norms]
        lib: Any = library()
        grads = tuple(grad.to(y.dtype).contiguous() for grad in grads)  # held while it is read
        for part, grad in enumerate(grads):
            lib.norm_lif_backward(
                ctypes.byref(call),
                *_pointers(call, part, y, shift, norms),
                *map(pointer, (ctx.keep if part else None, stats[part], grad)),
                *_pointers(call, part, dy, dshift, changes),
            )
        dx = dy if weight is None else dy @ weight
        dweight = weight_gradient(dy.flatten(0, -2), x) if ctx.needs_input_grad[3] else None
        over = None
        if call.added:
            over = grads[0].flatten(1, 2)
            over = over if call.added == call.steps else over.sum(0, keepdim=True)
        return None, None, dx, dweight, dshift, over, *changes


def norm_lif(
    y: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    steps: int = 0,
    eps: float = 1e-5,
    scale: float = 1.0,
    **settings: Any,
) -> Tensor:
    """Spikes [T, ..., D] of scale * LN(y), or of scale * y where there is no weight [D]; in y's
    dtype.

    y is [T, ..., D], or [1, ..., D] for `steps` equal steps; float32 or bfloat16, on the CPU.
    `settings` are those of `lif_step`, all of them. Membrane and norm are float32.
    """
    flat = y.reshape(y.shape[0], 1, -1, y.shape[-1]).contiguous()
    call = _call(flat, y.shape[-1], settings, steps, scale=scale, eps=eps)
    norms = () if weight is None or bias is None else (weight.float(), bias.float())
    (spikes,) = _Fused.apply(call, None, flat, None, None, None, *norms)
    return spikes.view(call.steps, *y.shape[1:])


def project(
    x: Tensor,
    layers: Sequence[tuple[nn.Linear, nn.LayerNorm]],
    heads: int = 0,
    keep: Tensor | None = None,
    steps: int = 0,
    residual: Tensor | None = None,
    **settings: Any,
) -> tuple[Tensor, ...]:
    """SN(LN(x W + b)) of each layer, all in one product: x [T or 1, B, N, K] -> [T, B, N, D] each
    or, with heads, [T, B, H, N, D/H].

    An x of one step stands for `steps` equal ones. All spikes but the first layer's are 0 where
    keep [B, N] is. A residual [T or 1, B, N, D] is added to the spikes of a single layer.
    Under autocast the product is in its dtype.
    """
    linears, norms = zip(*layers, strict=True)
    if torch.is_autocast_enabled("cpu"):
        x = x.to(torch.get_autocast_dtype("cpu"))
    sizes = {"parts": len(layers), "heads_out": heads or 1}
    call = _call(x, linears[0].out_features, settings, steps, eps=norms[0].eps, **sizes)
    weight, shift = linears[0].weight, linears[0].bias
    if len(layers) > 1:
        weight = torch.cat([linear.weight for linear in linears])
        shift = torch.cat([linear.bias for linear in linears])
    with torch.autocast("cpu", enabled=False):
        spikes = _Fused.apply(
            call,
            None if keep is None else keep.to(torch.uint8).contiguous(),
            x.contiguous(),
            weight,
            shift.float(),
            None if residual is None else residual.to(x.dtype).contiguous(),
            *(p.float() for norm in norms for p in (norm.weight, norm.bias)),
        )
    return tuple(spikes if heads else (s.flatten(1, 2) for s in spikes))


def merge(x: Tensor, scale: float = 1.0, **settings: Any) -> Tensor:
    """Spikes [T, B, N, D] of scale * x, from heads x [T, B, H, N, D/H]."""
    heads = x.shape[2]
    call = _call(x, heads * x.shape[-1], settings, scale=scale, heads_in=heads)
    (spikes,) = _Fused.apply(call, None, x.contiguous(), None, None, None)
    return spikes.flatten(1, 2)
