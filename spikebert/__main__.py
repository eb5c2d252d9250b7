"""`python -m spikebert` is the command `spikebert`, or has the fork server run it."""

import sys

from . import fork_server

if __name__ == "__main__":
    status = fork_server.ask(sys.argv[1:])
    if status is not None:
        fork_server.end(status)

    from .cli import main

    main()
