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


class _Server:
    """The open requests, by the socket of each and the process that runs it."""

    def __init__(self, path: str, at_first: dict[str, str]):
        self.at_first = at_first  # the environment before the imports
        self.by_imports = {k: v for k, v in os.environ.items() if at_first.get(k) != v}
        self.sockets: dict[int, socket.socket] = {}
        self.events = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(path)
        self.listener.listen(64)
        self.ended, tell = socket.socketpair()  # a byte for every child that has ended
        for end_of in (self.ended, tell):
            end_of.setblocking(False)
        self.tell = tell
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
        for stream in (self.listener, self.ended, sys.stdin):
            self.events.register(stream, selectors.EVENT_READ)

    def serve(self) -> list[str] | None:
        """Until the standard input and the last job have ended: None. In a copy, its arguments."""
        wanted = True
        while wanted or self.sockets:
            ready = {key.fileobj: key.data for key, _ in self.events.select()}
            for client in ready.keys() - {self.listener, self.ended, sys.stdin}:
                self._pass_on(ready[client])
            if self.ended in ready:
                self._reap()
            if sys.stdin in ready:  # nobody writes there: whoever started this is gone
                wanted = False
                self.events.unregister(sys.stdin)
                self.events.unregister(self.listener)
                self.listener.close()
            elif self.listener in ready:
                arguments = self._begin()
                if arguments is not None:
                    return arguments
        return None

    def _begin(self) -> list[str] | None:
        client, _ = self.listener.accept()
        request, streams, _, _ = socket.recv_fds(client, LARGEST, 3)
        try:
            surroundings, job = json.loads(request)
            fits = surroundings == _surroundings(self.at_first) and len(streams) == 3
        except ValueError:  # cut off, or nothing at all
            fits = False
        with contextlib.suppress(OSError):
            client.send(b"y" if fits else b"n")
        if not fits:
            client.close()
        elif child := os.fork():
            with contextlib.suppress(OSError):
                os.setpgid(child, child)  # here and there: whichever comes first
            self.sockets[child] = client
            self.events.register(client, selectors.EVENT_READ, child)
        else:
            arguments, *rest = job
            self._become(client, streams, *rest)
            return [*arguments]
        for stream in streams:
            os.close(stream)
        return None

    def _become(
        self,
        client: socket.socket,
        streams: list[int],
        environment: dict[str, str],
        folder: str,
        heeded: list[int],
    ) -> None:
        """In the copy: leave what is the server's, and take what is the job's."""
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(KILL_WITH_PARENT, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in FORWARDED:  # a shell lets what it starts in the background ignore SIGINT
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual if number in heeded else signal.SIG_IGN)
        self.events.close()
        for mine in (client, self.listener, self.ended, self.tell, *self.sockets.values()):
            mine.close()
        for standard, stream in enumerate(streams):
            os.dup2(stream, standard)
            os.close(stream)
        os.environ.clear()
        os.environ.update(environment | self.by_imports)
        os.environ.pop(VARIABLE, None)
        os.chdir(folder)
        tempfile.tempdir = None
        random.seed()
        sys.modules["numpy"].random.seed()
        threads = environment.get("OMP_NUM_THREADS", "")
        if threads.isdecimal():
            sys.modules["threadpoolctl"].threadpool_limits(int(threads))
            sys.modules["torch"].set_num_threads(int(threads))

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.ended.recv(64):
                pass
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                child, status = found
                client = self.sockets.pop(child)
                with contextlib.suppress(KeyError):
                    self.events.unregister(client)
                with contextlib.suppress(OSError):
                    client.send(str(os.waitstatus_to_exitcode(status)).encode())
                client.close()

    def _pass_on(self, child: int) -> None:
        """A signal to the job; its death, if the one that asked for it is gone."""
        client = self.sockets.get(child)
        if client is None:
            return
        try:
            told = client.recv(1)
        except OSError:
            told = b""
        if told:
            os.kill(child, told[0])  # not reaped yet, or its socket would be gone
        else:
            self.events.unregister(client)
            with contextlib.suppress(OSError):
                os.killpg(child, signal.SIGKILL)


def main() -> None:
    """Serve at the socket; a copy runs the command line in its place."""
    path = sys.argv[1]
    arguments, environment, server = None, dict(os.environ), os.getpid()
    try:
        if _import_all():
            arguments = _Server(path, environment).serve()
    finally:
        if os.getpid() == server:  # a copy may end before it has become one
            shutil.rmtree(Path(path).parent, ignore_errors=True)
    if arguments is not None:
        sys.argv[1:] = arguments
        runpy.run_module("spikebert", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
