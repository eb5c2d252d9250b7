"""`spikebert <verb>`: use a trained model, look inside it, and the steps of the workflow.

Heavy libraries are imported where a verb needs them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..errors import Interrupted, UserError
from . import data, inspect, report, train
from .options import PANELS, app

__all__ = ["app", "data", "inspect", "main", "report", "train"]

app.registered_commands.sort(key=lambda verb: PANELS.index(str(verb.rich_help_panel)))

OS_FIX = "check the path, its permissions and the space on the disk"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake is printed on one screen, with exit status 2."""
    try:
        app(arguments, standalone_mode=True)
    except UserError as error:
        fail(error, 2)
    except Interrupted as error:
        fail(error, 75)
    except OSError as error:  # no space, no permission, a folder in the place of a file
        fail(UserError("file or folder", expected="to read or write it", got=error, fix=OS_FIX), 2)


def fail(error: Exception, status: int) -> None:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(status)
