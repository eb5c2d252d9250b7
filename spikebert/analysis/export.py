"""A trained classifier as a graph that needs no Python of ours: ONNX, or torch's own format."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..utils.files import atomic_file
from .predict import load

FORMATS = ("onnx", "pt2")
SENTENCES = ("a warm and funny film", "the worst of it: a dull, clumsy and humourless film")


class _Logits(nn.Module):
    """ids and mask [B, N] -> logits [B, C]."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids, attention_mask, return_dict=False)[0]
        return logits


def export(folder: str | Path, out: str | Path, form: str = "onnx") -> float:
    """Write a classifier's graph, of any batch and length, to `out`: ids and mask [B, N] -> logits
    [B, C]. Returns the largest difference between its logits and the model's, of two sentences in
    a batch and of a longer one alone.

    Raises:
        UserError: an unknown format, a folder without a classifier, or packages that are missing.
    """
    needed = ("onnx", "onnxscript", "onnxruntime") if form == "onnx" else ()
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"export to {form}",
            expected=f"the packages {', '.join(needed)}",
            got=f"no {missing[0]}",
            fix="pip install 'spikebert[onnx]'",
        )
    model, tokenizer = load(folder)
    graph = _Logits(model).eval()
    batches = [
        tokenizer(list(texts), return_tensors="pt", padding=True)
        for texts in (SENTENCES, [" ".join(SENTENCES * 4)])
    ]
    given = [(batch["input_ids"], batch["attention_mask"]) for batch in batches]
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with torch.no_grad(), atomic_file(out) as part:
        program = torch.export.export(
            graph, given[0], dynamic_shapes={"input_ids": free, "attention_mask": free}
        )
        if form == "onnx":
            torch.onnx.export(program, (), part, external_data=False, verbose=False)
        else:
            torch.export.save(program, part)
        run = _session(part, form)
        return max(float((graph(*pair) - run(*pair)).abs().max()) for pair in given)


def _session(path: Path, form: str) -> Any:
    """The written file as a function of ids and mask."""
    if form == "pt2":
        return torch.export.load(path).module()
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def run(*tensors: Tensor) -> Tensor:
        feed = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
        return torch.from_numpy(session.run(None, feed)[0])

    return run
