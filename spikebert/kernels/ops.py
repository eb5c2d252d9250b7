"""Fast forms of what `models` says plainly, in C++ on the processor, called through ctypes.

For training: with them an update of the student takes about half the time, see `make bench`. They
know one neuron, the leaky integrate-and-fire neuron, with the surrogates of `SURROGATE_NUMBERS`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .build import library

SURROGATE_NUMBERS = {"atan": 0, "sigmoid": 1, "triangle": 2, "rectangle": 3}
DTYPES = (torch.float32, torch.bfloat16)


class Call(ctypes.Structure):
    """`struct Call` of kernel.cpp."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("steps", "given", "rows", "width", "bfloat16")),
        *((name, ctypes.c_int64) for name in ("surrogate", "hard", "attached", "norm", "threads")),
        *(
            (name, ctypes.c_int64)
            for name in ("stride", "heads_in", "heads_out", "tokens", "added")
        ),
        *((name, ctypes.c_double) for name in ("beta", "gain", "threshold", "alpha", "eps")),
    ]


def pointer(x: Tensor | None, offset: int = 0) -> ctypes.c_void_p:
    """Where x's values begin, `offset` elements on."""
    return ctypes.c_void_p(None if x is None else x.data_ptr() + offset * x.element_size())


@dataclass(frozen=True)
class Form:
    """How the kernel is to read and write; its numbers are those of kernel.cpp's `Call`.

    y is [given, batch, tokens, parts * width] or, with heads_in > 1, split by heads,
    [given, batch, heads_in, tokens, width / heads_in]. Each part has a norm of its own and becomes
    spikes of its own, [steps, batch, tokens, width] or, with heads_out > 1, split by them.
    """

    batch: int
    tokens: int
    width: int
    given: int
    steps: int
    settings: dict[str, Any]
    parts: int = 1
    heads_in: int = 1
    heads_out: int = 1
    eps: float = 1e-5
    scale: float = 1.0  # on the currents
    keep: Tensor | None = (
        None  # [batch, tokens] in uint8; where 0, all parts but the first are silent
    )

    def call(self, y: Tensor, norm: bool, added: int) -> Call:
        settings = self.settings
        return Call(
            steps=self.steps,
            given=self.given,
            rows=self.batch * self.tokens,
            width=self.width,
            bfloat16=y.dtype == torch.bfloat16,
            surrogate=SURROGATE_NUMBERS[settings["surrogate"]],
            hard=settings["reset"] == "hard",
            attached=not settings["detach_reset"],
            norm=norm,
            threads=torch.get_num_threads(),
            stride=self.parts * self.width,
            heads_in=self.heads_in,
            heads_out=self.heads_out,
            tokens=self.tokens,
            added=added,
            beta=settings["beta"],
            gain=self.scale * (1 - settings["beta"] if settings["decay_input"] else 1.0),
            threshold=settings["threshold"],
            alpha=settings["alpha"],
            eps=self.eps,
        )

    def spikes(self, y: Tensor) -> Tensor:
        """Room for one part's spikes."""
        if self.heads_out == 1:
            return y.new_empty(self.steps, self.batch, self.tokens, self.width)
        piece = self.width // self.heads_out
        return y.new_empty(self.steps, self.batch, self.heads_out, self.tokens, piece)

    def keep_of(self, part: int) -> Tensor | None:
        return self.keep if part else None

    def stats_of(self, part: int, stats: Tensor | None) -> ctypes.c_void_p:
        """Where a part's means and deviations lie, of [parts, ...]."""
        return pointer(None if stats is None else stats[part])

    def pointers(
        self, part: int, y: Tensor, shift: Tensor | None, norms: Sequence[Tensor]
    ) -> list[ctypes.c_void_p]:
        """Of the currents, the shift and the norm of one part, or of their gradients."""
        weight, bias = norms[2 * part : 2 * part + 2] if norms else (None, None)
        first = part * self.width
        return [pointer(y, first), pointer(shift, first), pointer(weight), pointer(bias)]


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


def precision_of(x: Tensor) -> torch.dtype:
    """What products of x on the processor are made in: autocast's dtype, or x's."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


class _Fused(torch.autograd.Function):
    """x, the weight and bias of a linear layer, a residual, and each part's norm weight and bias,
    to each part's spikes; all but x may be missing. The product is in x's dtype."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        shift: Tensor | None,
        residual: Tensor | None,
        form: Form,
        *norms: Tensor,
    ) -> tuple[Tensor, ...]:
        precision = None if weight is None else weight.dtype
        y, kept = x, x if weight is None or ctx.needs_input_grad[1] else None
        if weight is not None:
            weight = weight.to(x.dtype)
            y = nn.functional.linear(x, weight)
        call = form.call(y, bool(norms), 0 if residual is None else residual.shape[0])
        lib = library()
        assert lib is not None
        outs = tuple(form.spikes(y) for _ in range(form.parts))
        size = (form.parts, 2 * form.given * call.rows)
        stats = y.new_empty(size, dtype=torch.float32) if norms else None
        for part, out in enumerate(outs):
            lib.norm_lif_forward(
                ctypes.byref(call),
                *form.pointers(part, y, shift, norms),
                *map(pointer, (form.keep_of(part), residual, out)),
                form.stats_of(part, stats),
            )
        ctx.save_for_backward(kept, weight, None if weight is None else y, shift, stats, *norms)
        ctx.call, ctx.form, ctx.precision = call, form, precision
        return outs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, y, shift, stats, *norms = ctx.saved_tensors
        y = x if weight is None else y
        form, added = ctx.form, ctx.call.added
        dy = torch.empty_like(y)
        dshift = None if shift is None else torch.zeros_like(shift)
        changes = [torch.zeros_like(p) for p in norms]
        lib = library()
        assert lib is not None
        grads = tuple(grad.to(y.dtype).contiguous() for grad in grads)  # held while it is read
        for part, grad in enumerate(grads):
            lib.norm_lif_backward(
                ctypes.byref(ctx.call),
                *form.pointers(part, y, shift, norms),
                pointer(form.keep_of(part)),
                form.stats_of(part, stats),
                pointer(grad),
                *form.pointers(part, dy, dshift, changes),
            )
        dx, dweight = dy, None
        if weight is not None:
            dx = dy @ weight
        if ctx.needs_input_grad[1]:
            dweight = weight_gradient(dy.flatten(0, -2), x).to(ctx.precision)
        over = grads[0] if added in (0, form.steps) else grads[0].sum(0, keepdim=True)
        return dx, dweight, dshift, over if added else None, None, *changes


def _check(y: Tensor, steps: int) -> int:
    """The number of steps, for currents that the kernel can read."""
    if y.dtype not in DTYPES or y.device.type != "cpu":
        raise ValueError(f"expected float32 or bfloat16 on the CPU, got {y.dtype} on {y.device}")
    steps = max(steps, y.shape[0])
    if y.shape[0] not in (1, steps):
        raise ValueError(f"steps: expected 1 or {steps} given, got {y.shape[0]}")
    return steps


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
    steps = _check(y, steps)
    flat = y.reshape(y.shape[0], 1, -1, y.shape[-1]).contiguous()
    sizes = (1, flat.shape[2], flat.shape[3], flat.shape[0], steps)
    form = Form(*sizes, settings, eps=eps, scale=scale)
    norms = () if weight is None or bias is None else (weight.float(), bias.float())
    (spikes,) = _Fused.apply(flat, None, None, None, form, *norms)
    return spikes.view(steps, *y.shape[1:])


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
    steps = _check(x, steps)
    linears, norms = zip(*layers, strict=True)
    dtype = precision_of(x)
    given, batch, tokens, _ = x.shape
    form = Form(
        batch,
        tokens,
        linears[0].out_features,
        given,
        steps,
        settings,
        parts=len(layers),
        heads_out=max(heads, 1),
        eps=norms[0].eps,
        keep=None if keep is None else keep.to(torch.uint8).contiguous(),
    )
    weight = (
        torch.cat([linear.weight for linear in linears]) if len(layers) > 1 else linears[0].weight
    )
    shift = torch.cat([linear.bias for linear in linears]) if len(layers) > 1 else linears[0].bias
    with torch.autocast("cpu", enabled=False):
        spikes = _Fused.apply(
            x.to(dtype).contiguous(),
            weight,
            shift.float(),
            None if residual is None else residual.to(dtype).contiguous(),
            form,
            *(p.float() for norm in norms for p in (norm.weight, norm.bias)),
        )
    if not heads:
        return tuple(spikes)
    return tuple(s.view(steps, batch, heads, tokens, -1) for s in spikes)


def merge(x: Tensor, scale: float = 1.0, **settings: Any) -> Tensor:
    """Spikes [T, B, N, D] of scale * x, from heads x [T, B, H, N, D/H]."""
    steps, batch, heads, tokens, piece = x.shape
    _check(x, steps)
    form = Form(batch, tokens, heads * piece, steps, steps, settings, heads_in=heads, scale=scale)
    (spikes,) = _Fused.apply(x.contiguous(), None, None, None, form)
    return spikes
