"""A process that has imported everything once, and forks a copy of itself for each job.

Torch, transformers and the rest take some four seconds of a processor to import, more than many a
job of the workflow computes. A forked copy starts in a quarter of a second: over the 98 jobs of
`make reproduce` that train or look at models this saves an eighth of its 27 minutes on two cores.
Where the jobs run beside Snakemake, it starts

    python -m spikebert.fork_server SOCKET

and leaves the socket's path in SPIKEBERT_FORK_SERVER. `python -m spikebert VERB ...` then hands
over its arguments, environment, folder and standard streams, passes on the signals it gets, and
ends as its copy did: for whoever called it nothing else has changed. The copy dies with the one
that asked for it. Wherever a copy would differ from a fresh process (another interpreter or
environment, a CUDA build of torch, whose state does not survive a fork) there is none, and the job
imports for itself.

Linux only: elsewhere a fork after so many imports is not safe.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import pkgutil
import random
import runpy
import selectors
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

VARIABLE = "SPIKEBERT_FORK_SERVER"
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
# They time themselves, or start processes that have to import anyway.
FRESH_VERBS = ("bench", "launch")
# What a shell or Snakemake sets anew for each job, or drops, such as the prompt that an activated
# environment exports. A copy tells its libraries of the threads.
THREADS = tuple(
    f"{library}_{what}"
    for what in ("NUM_THREADS", "MAXIMUM_THREADS")
    for library in ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB")
)
FOLDERS = ("PWD", "OLDPWD", "TMPDIR", "TMP", "TEMP", "TEMPDIR")
PER_JOB = ("_", "SHLVL", "PS1", VARIABLE, *FOLDERS, *THREADS)
# Imported by verbs inside their functions.
LATER = ("sklearn.linear_model", "sklearn.metrics", "scipy.stats", "threadpoolctl", "yaml")
LARGEST = 2**17  # bytes of a request
KILL_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG


def _surroundings(environment: Mapping[str, str]) -> list[object]:
    """What has to agree for a copy to be as good as a fresh process."""
    kept = {name: value for name, value in environment.items() if name not in PER_JOB}
    return [sys.executable, sys.prefix, str(Path(__file__).parent), kept]


def ask(arguments: Sequence[str]) -> int | None:
    """The exit status of a copy that ran the verb; None where there is none to run it."""
    path = os.environ.get(VARIABLE)
    if not path or not arguments or arguments[0] in FRESH_VERBS or sys.platform != "linux":
        return None
    heeded = [number for number in FORWARDED if signal.getsignal(number) != signal.SIG_IGN]
    job = [[*arguments], dict(os.environ), str(Path.cwd()), heeded]
    request = json.dumps([_surroundings(os.environ), job])
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        try:
            server.connect(path)
            socket.send_fds(server, [request.encode()], [0, 1, 2])
            if server.recv(1) != b"y":
                return None
        except OSError:
            return None
        for number in heeded:
            signal.signal(number, lambda number, _: server.send(bytes([number])))
        status = server.recv(16)
    if not status:
        print("error: the process that jobs are copied from has ended", file=sys.stderr)
        return 1
    return int(status)


def end(status: int) -> None:
    """Exit with a status or, where it is negative, by that signal."""
    if status < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no other action
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def _import_all() -> bool:
    """Whether everything is imported, and in a state that survives a fork."""
    package = importlib.import_module(__package__ or "spikebert")
    inside = [
        module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    for name in (*inside, *LATER):
        if not name.endswith(".__main__"):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    torch = sys.modules["torch"]
    return torch.version.cuda is None and torch.version.hip is None


def _serve(path: str, at_first: dict[str, str]) -> list[str] | None:
    """Until the standard input and the last job have ended: None. In a copy, its arguments.

    `at_first` is the environment before the imports.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(64)
    # The caller's socket, and the process whose end makes the file of a job readable.
    events = selectors.DefaultSelector()
    for stream in (listener, sys.stdin):
        events.register(stream, selectors.EVENT_READ)
    while events.get_map():
        for key, _ in events.select():
            source: Any = key.fileobj
            if source is sys.stdin:  # nobody writes there: whoever started this is gone
                events.unregister(sys.stdin)
                events.unregister(listener)
                listener.close()
            elif source.fileno() < 0:  # closed by an event before this one
                continue
            elif source is listener:
                arguments = _begin(listener, events, at_first)
                if arguments is not None:
                    return arguments
            elif isinstance(source, socket.socket):
                _pass_on(source, key.data, events)
            else:
                child, client = key.data
                _finish(source, child, client, events)
    return None


def _begin(
    listener: socket.socket, events: selectors.BaseSelector, at_first: dict[str, str]
) -> list[str] | None:
    client, _ = listener.accept()
    request, streams, _, _ = socket.recv_fds(client, LARGEST, 3)
    try:
        surroundings, job = json.loads(request)
        fits = surroundings == _surroundings(at_first) and len(streams) == 3
    except ValueError:  # cut off, or nothing at all
        fits = False
    with contextlib.suppress(OSError):
        client.send(b"y" if fits else b"n")
    if not fits:
        client.close()
    elif child := os.fork():
        with contextlib.suppress(OSError):
            os.setpgid(child, child)  # here and there: whichever comes first
        process = open(os.pidfd_open(child), "rb", buffering=0)  # noqa: PTH123, SIM115
        events.register(client, selectors.EVENT_READ, child)
        events.register(process, selectors.EVENT_READ, (child, client))
    else:
        for mine in [client, *(key.fileobj for key in events.get_map().values())]:
            if mine is not sys.stdin:
                mine.close()  # type: ignore[union-attr]
        events.close()
        arguments, *rest = job
        _become(streams, at_first, *rest)
        return [*arguments]
    for stream in streams:
        os.close(stream)
    return None


def _become(
    streams: list[int],
    at_first: dict[str, str],
    environment: dict[str, str],
    folder: str,
    heeded: list[int],
) -> None:
    """In the copy: take what is the job's."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(KILL_WITH_PARENT, signal.SIGKILL)
    for number in FORWARDED:  # a shell lets what it starts in the background ignore SIGINT
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, usual if number in heeded else signal.SIG_IGN)
    for standard, stream in enumerate(streams):
        os.dup2(stream, standard)
        os.close(stream)
    by_imports = {k: v for k, v in os.environ.items() if at_first.get(k) != v}
    os.environ.clear()
    os.environ.update(environment | by_imports)
    os.environ.pop(VARIABLE, None)
    os.chdir(folder)
    tempfile.tempdir = None
    random.seed()
    sys.modules["numpy"].random.seed()
    threads = environment.get("OMP_NUM_THREADS", "")
    if threads.isdecimal():
        sys.modules["threadpoolctl"].threadpool_limits(int(threads))
        sys.modules["torch"].set_num_threads(int(threads))


def _finish(
    process: IO[bytes], child: int, client: socket.socket, events: selectors.BaseSelector
) -> None:
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(KeyError):  # the caller was gone before
        events.unregister(client)
    events.unregister(process)
    process.close()
    with contextlib.suppress(OSError):
        client.send(str(status).encode())
    client.close()


def _pass_on(client: socket.socket, child: int, events: selectors.BaseSelector) -> None:
    """A signal to the job; its death, if the one that asked for it is gone."""
    try:
        told = client.recv(1)
    except OSError:
        told = b""
    if told:
        os.kill(child, told[0])  # not reaped yet, or its socket would be closed
    else:
        events.unregister(client)
        with contextlib.suppress(OSError):
            os.killpg(child, signal.SIGKILL)


def main() -> None:
    """Serve at the socket; a copy runs the command line in its place."""
    path = sys.argv[1]
    arguments, environment, server = None, dict(os.environ), os.getpid()
    try:
        if _import_all():
            arguments = _serve(path, environment)
    finally:
        if os.getpid() == server:  # a copy may end before it has become one
            shutil.rmtree(Path(path).parent, ignore_errors=True)
    if arguments is not None:
        sys.argv[1:] = arguments
        runpy.run_module("spikebert", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
