"""`python -m spikebert` is the command `spikebert`."""

from .cli import main

if __name__ == "__main__":
    main()
