"""`python -m spikebert` is the command `spikebert`, or has a warm process run it."""

import sys

from . import fork_server as warm

if __name__ == "__main__":
    status = warm.ask(sys.argv[1:])
    if status is not None:
        warm.end(status)

    from .cli import main

    main()
