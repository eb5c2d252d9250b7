"""The command line in a process of its own, whose environment points the hub's clients elsewhere.

The clients read their environment once, when they are imported; the process is kept, so that its
imports are paid once.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, NamedTuple
from unittest import mock


class Result(NamedTuple):
    status: int
    output: str  # of both streams
    waited: list[float]  # seconds that were asked for between two tries, and not slept


def run(arguments: list[str]) -> Result:
    """`spikebert ARGUMENTS` in this process; nobody sleeps."""
    import logging

    from spikebert.cli import main

    stream, waited, status = io.StringIO(), [], 0
    handler = logging.StreamHandler(stream)
    logging.getLogger("spikebert").addHandler(handler)
    with (
        mock.patch("time.sleep", waited.append),
        mock.patch("sys.argv", ["spikebert", *arguments]),
        contextlib.redirect_stdout(stream),
        contextlib.redirect_stderr(stream),
    ):
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
    logging.getLogger("spikebert").removeHandler(handler)
    return Result(status, stream.getvalue(), waited)


@contextmanager
def worker(**environment: str) -> Iterator[Callable[..., Any]]:
    """`call(function, *arguments)` runs a function of a test module in the process."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | environment
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with mock.patch.dict(os.environ, variables, clear=True):
            pool.submit(os.getpid).result()
        yield lambda function, *arguments: pool.submit(function, *arguments).result()
