"""What computed the numbers of a record: versions, commit, hardware and memory."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from .._version import __version__


def versions() -> dict[str, str]:
    """Versions of what computes the numbers."""
    names = ("torch", "transformers", "accelerate", "numpy", "scikit-learn")
    known = {name: metadata.version(name) for name in names}
    return {"spikebert": __version__, "python": platform.python_version(), **known}


def commit(folder: Path = Path(__file__).parents[1]) -> str:
    """The commit of the source, with `+` if files have changed since; "unknown" outside git.

    Files in `results/` do not count: a run writes its own records there.
    """

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
        )

    try:
        head = git("rev-parse", "--verify", "HEAD")
        changed = git("diff", "--quiet", "HEAD", "--", ":(top)", ":(top,exclude)results")
    except OSError:
        return "unknown"
    if head.returncode:
        return "unknown"
    return head.stdout.strip() + ("+" if changed.returncode else "")


COMMIT = commit()  # of what was imported: files may change while it trains


def hardware() -> str:
    """Processor or GPU, and threads, in words."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = torch.cpu.get_capabilities().get("cpu_name", platform.processor() or "CPU")
    return f"{name}, {torch.get_num_threads()} thread(s)"


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
