"""Model folders from others: read whole, without running or unpickling anything, or refused.

Weights come from safetensors alone, code of a folder's own is never run, and a weight that is
missing, of another shape or not finite is an error instead of a random one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from ..config.plugins import check_loaded
from ..errors import UserError
from ..utils.files import read_json

POOLER = ("pooler.dense.weight", "pooler.dense.bias")  # saved by none of BERT's masked models
HEAD = (
    *("classifier.weight", "classifier.bias", *(f"bert.{name}" for name in POOLER)),
    *("pre_classifier.weight", "pre_classifier.bias"),  # DistilBERT's
)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without bars and reports of the library: what is wrong is said once, by us."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_model(kind: Any, folder: str | Path, new: Collection[str] = (), **options: Any) -> Any:
    """The model of a folder, in evaluation; `kind` is an Auto class or a model class.

    Args:
        new: names of weights that may be missing, and then start at random.
        options: go to `from_pretrained`.

    Raises:
        UserError: the folder is missing or cut short, of an unknown type, needs code of its own, or
            has pickled weights alone; a weight is missing, of another shape, or not finite; or a
            plugin that it needs is not loaded.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise _refused(folder, "no config.json")
    config = read_json(folder / "config.json", "model configuration", "fetch or train it again")
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise _refused(folder, "a config.json without model_type")
    check_loaded(config.get("plugins"))
    names = {file.name for file in folder.iterdir()}
    if not names & {"model.safetensors", "model.safetensors.index.json"}:
        pickled = any(name.endswith((".bin", ".pt", ".pth")) for name in names)
        also = "; pickled weights are never read" if pickled else ""
        raise _refused(folder, f"no model.safetensors{also}")
    try:
        with _quietly():
            model, report = kind.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by their names
                **options,
            )
    except UserError:
        raise
    except Exception as error:  # the library's errors have no base class in common
        raise _refused(folder, f"{type(error).__name__}: {error}") from None
    if mismatched := sorted(report["mismatched_keys"]):
        name, found, expected = mismatched[0]
        raise _refused(folder, f"{name} {list(found)}, which config.json says is {list(expected)}")
    if missing := sorted(set(report["missing_keys"]) - set(new)):
        raise _refused(folder, f"no weights {', '.join(missing)} in model.safetensors")
    for name, values in model.named_parameters():
        if not torch.isfinite(values).all():
            raise _refused(folder, f"a value that is not finite in {name}")
    return model.eval()


def _refused(folder: Path, got: str) -> UserError:
    return UserError(
        f"model {folder}",
        expected="a Hugging Face folder of a known type with all its weights",
        got=got,
        fix="name a folder with config.json, model.safetensors and a tokenizer, such as "
        "work/<run>/models/<id>",
    )
