"""AdamW for models whose word table is larger than the rest: rows that a batch does not name wait.

Of a table of 30,522 words a batch names a few hundred. torch's AdamW reads and writes all of it,
and a dense gradient beside it, at every update: on a processor as long as many a small student's
products. Here the gradient holds the rows that were looked up, and the others take the steps that
they missed when they are next looked up (`neurons/adamw.cpp`), or when the table's state is asked
for. The values do not depend on when that is. The plain twin is torch.optim.AdamW.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from ..kernels.ops import library, pointer

WORTHWHILE = 1000  # rows


def tables_of(model: nn.Module) -> list[nn.Embedding]:
    """The tables of a model that `TableAdamW` may treat by rows: large, trained, in float32 on the
    processor, and read by lookup alone. None where the kernel cannot be built."""
    holders: dict[Tensor, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            holders[parameter] = holders.get(parameter, 0) + 1
    return [
        module
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        and module.num_embeddings >= WORTHWHILE
        and module.max_norm is None
        and not module.scale_grad_by_freq
        and (weight := module.weight).requires_grad
        and holders[weight] == 1
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and weight.is_contiguous()
        and library() is not None
    ]


def clip_grad_norm(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """torch's `clip_grad_norm_` for sparse gradients, too, and without a pass over gradients that
    are short enough: the norm before clipping."""
    holders: list[Tensor] = []
    for parameter in parameters:
        holder: Tensor = parameter
        if parameter.grad is not None and parameter.grad.is_sparse:  # its values stand for it
            holder = torch.empty_like(parameter.grad.values())
            holder.grad = parameter.grad.values()
        holders.append(holder)
    total = get_total_norm([p.grad for p in holders if p.grad is not None])
    if not total < max_norm:
        clip_grads_with_norm_(holders, max_norm, total)
    return total


class _Rows:
    """A table, and how far each of its rows is: `last` [V] steps of those in `steps`, which begins
    with number `first`; `seen` [V] where a row ever had a gradient."""

    def __init__(self, table: nn.Embedding):
        self.table, self.weight = table, table.weight
        self.last = torch.zeros(table.num_embeddings, dtype=torch.int64)
        self.seen = torch.zeros(table.num_embeddings, dtype=torch.uint8)
        self.steps = array("f")  # three numbers each, `Step` of adamw.cpp
        self.first = 1

    @property
    def now(self) -> int:
        return self.first + len(self.steps) // 3 - 1

    def all_at(self, step: int) -> None:
        """Every row is at `step`."""
        self.last.fill_(step)
        self.first, self.steps = step + 1, array("f")


class TableAdamW(torch.optim.AdamW):
    """torch.optim.AdamW with the same state; `tables` are updated by rows.

    While they are, their gradients are sparse, and lookups, `state_dict` and `load_state_dict` of
    their modules keep the rows right. Whoever reads a weight in another way calls `catch_up`
    before; `release` ends it.
    """

    def __init__(self, params: Any, *, tables: Sequence[nn.Embedding] = (), **settings: Any):
        super().__init__(params, **settings)
        self.rows = [_Rows(table) for table in tables]
        self.hooks = [hook for rows in self.rows for hook in self._hooks(rows)]
        for table in tables:
            table.sparse = True

    def _hooks(self, rows: _Rows) -> list[Any]:
        def look_up(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._bring(rows, inputs[0].flatten())

        def merge(weight: Tensor) -> None:
            if weight.grad is not None:
                weight.grad = weight.grad.coalesce()

        def written(*_: Any) -> None:
            rows.all_at(rows.now)

        return [
            rows.table.register_forward_pre_hook(look_up),
            rows.table.register_state_dict_pre_hook(lambda *_: self.catch_up()),
            rows.table.register_load_state_dict_pre_hook(written),
            rows.weight.register_post_accumulate_grad_hook(merge),
        ]

    def release(self) -> None:
        """Bring every row up to date and leave the tables as they were found."""
        self.catch_up()
        for hook in self.hooks:
            hook.remove()
        for rows in self.rows:
            rows.table.sparse = False

    def catch_up(self) -> None:
        """Bring every row up to date."""
        for rows in self.rows:
            self._bring(rows, None)
            rows.all_at(rows.now)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        grads = [rows.weight.grad for rows in self.rows]
        for rows in self.rows:  # torch's step passes over what has none
            rows.weight.grad = None
        loss = super().step(closure)
        for rows, grad in zip(self.rows, grads, strict=True):
            if grad is not None:
                self._record(rows)
                self._bring(rows, grad.indices()[0], grad.values())
                rows.weight.grad = grad
        return loss

    def _group(self, rows: _Rows) -> dict[str, Any]:
        return next(
            group for group in self.param_groups if any(p is rows.weight for p in group["params"])
        )

    def _record(self, rows: _Rows) -> None:
        """Note the numbers of a new step."""
        group, state = self._group(rows), self.state[rows.weight]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(rows.weight)
            state["exp_avg_sq"] = torch.zeros_like(rows.weight)
        state["step"] += 1
        number, rate, (beta1, beta2) = rows.now + 1, float(group["lr"]), group["betas"]
        rows.steps.extend(
            (
                1 - rate * group["weight_decay"],
                rate / (1 - beta1**number),
                (1 - beta2**number) ** -0.5,
            )
        )

    def _bring(self, rows: _Rows, which: Tensor | None, grad: Tensor | None = None) -> None:
        """Let rows take the steps that they missed, the last of them with a gradient, if any."""
        if not rows.steps:
            return
        group, state = self._group(rows), self.state[rows.weight]
        which = None if which is None else which.contiguous()
        grad = None if grad is None else grad.contiguous()
        lib = library()
        assert lib is not None
        lib.adamw_rows(
            pointer(rows.weight),
            pointer(state["exp_avg"]),
            pointer(state["exp_avg_sq"]),
            pointer(rows.last),
            pointer(rows.seen),
            pointer(which),
            ctypes.c_int64(rows.table.num_embeddings if which is None else which.numel()),
            ctypes.c_int64(rows.table.embedding_dim),
            pointer(grad),
            ctypes.c_void_p(rows.steps.buffer_info()[0]),
            ctypes.c_int64(rows.first),
            ctypes.c_int64(rows.now),
            *map(ctypes.c_double, (*group["betas"], group["eps"])),
            ctypes.c_int64(torch.get_num_threads()),
        )

    def state_dict(self) -> dict[str, Any]:
        self.catch_up()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for rows in self.rows:
            state = self.state[rows.weight]
            rows.all_at(int(state["step"]) if state else 0)
            rows.seen.copy_(state["exp_avg_sq"].any(1) if state else torch.zeros(()))
