"""A job that the fork server runs is to its caller what a fresh process is."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from configured import configure, layout_of
from toy import QUICK, sentences, write_rows

from spikebert import fork_server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
ASK = (
    "import sys; from spikebert import fork_server; print('status', fork_server.ask(sys.argv[1:]))"
)


def environment():
    """What every process here has; pytest's own variables change from test to test."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server and the variable that names its socket."""
    path = tmp_path_factory.mktemp("w") / "socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "spikebert.fork_server", str(path)],
        stdin=subprocess.PIPE,
        env={k: v for k, v in environment().items() if k not in fork_server.THREADS},
    )
    wait_for(path.exists)
    yield process, {fork_server.VARIABLE: str(path)}
    process.stdin.close()
    assert process.wait(60) == 0
    assert not path.parent.exists()


def start(server, *arguments, folder=None, **changes):
    """A verb that the server is to run."""
    return subprocess.Popen(
        [sys.executable, "-m", "spikebert", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment() | server[1] | changes,
        # Whatever this process, and with it the server, was told to ignore.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def ask(server, *arguments, folder=None, **changes):
    """The status that a copy gives, as text; None where there is none."""
    run = subprocess.run(
        [sys.executable, "-c", ASK, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment() | server[1] | changes,
        check=True,
    )
    return run.stdout.splitlines()[-1]


def copies(server):
    return psutil.Process(server[0].pid).children()


@pytest.fixture
def blocked(server, tmp_path):
    """A verb that waits for a pipe to which nobody writes, and the copy that runs it."""
    os.mkfifo(tmp_path / "table.md")
    wait_for(lambda: not copies(server))
    verb = start(server, "pages", str(tmp_path / "table.md"), "--out", str(tmp_path))
    try:
        wait_for(lambda: copies(server))
        yield verb, copies(server)[0]
    finally:
        verb.kill()


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["table", "--help"], ["table"], ["no-such-verb"], ["pages", "none.md"]],
)
def test_output_and_status_are_those_of_a_fresh_process(server, tmp_path, arguments):
    copied = start(server, *arguments, folder=tmp_path)
    fresh = start(server, *arguments, folder=tmp_path, **{fork_server.VARIABLE: ""})
    assert copied.communicate() == fresh.communicate()
    assert copied.returncode == fresh.returncode


def test_files_lie_where_the_caller_stands(server, tmp_path):
    (tmp_path / "a.md").write_text("| a |\n|---|\n| 1 |\n", encoding="utf-8")
    assert ask(server, "pages", "a.md", "--out", "here", folder=tmp_path) == "status 0"
    assert (tmp_path / "here/a.html").is_file()
    assert ask(server, "pages", "b.md", "--out", "here", folder=tmp_path) == "status 2"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_copy(server, blocked, number):
    verb, copy = blocked
    verb.send_signal(number)
    _, error = verb.communicate(timeout=60)
    assert verb.returncode != 0
    assert number == signal.SIGINT or verb.returncode == -number, error
    wait_for(lambda: not copies(server))
    assert not copy.is_running()


def test_what_the_caller_ignores_the_copy_ignores(server, tmp_path):
    os.mkfifo(tmp_path / "table.md")
    ignoring = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        verb = subprocess.Popen(
            [sys.executable, "-m", "spikebert", "pages", "table.md", "--out", "."],
            cwd=tmp_path,
            env=environment() | server[1],
        )
    finally:
        signal.signal(signal.SIGINT, ignoring)
    wait_for(lambda: copies(server))
    verb.send_signal(signal.SIGINT)
    with open(tmp_path / "table.md", "w", encoding="utf-8") as pipe:  # noqa: PTH123
        pipe.write("| a |\n|---|\n| 1 |\n")
    assert verb.wait(60) == 0


def test_copy_dies_with_its_caller(server, blocked):
    verb, copy = blocked
    verb.kill()
    wait_for(lambda: not copies(server))
    assert not copy.is_running()


def test_death_of_the_copy_is_that_of_the_caller(blocked):
    verb, copy = blocked
    copy.kill()
    assert verb.wait(60) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["pages", "--help"], {"LANG": "another"}),
        (["pages", "--help"], {fork_server.VARIABLE: "/no/such/socket"}),
        (["pages", "--help"], {fork_server.VARIABLE: ""}),
        (["bench", "--help"], {}),
        ([], {}),
    ],
)
def test_what_differs_is_left_to_a_fresh_process(server, arguments, changes):
    assert ask(server, *arguments, **changes) == "status None"


def test_the_prompt_of_an_activated_environment_makes_no_difference(server):
    assert ask(server, "predict", "--help", PS1="(venv) ") == "status 0"


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_training_gives_the_bits_of_a_fresh_process(server, tmp_path, threads):
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 120}
    keys = {
        "unlabelled": {"en": {"description": "d", "files": [], "include_training_rows": True}},
        "teachers": {"en": {"source": "pretrain"}},
        "steps": {"pretrain": {**QUICK, **shape, "epochs": 2}},
    }
    made = []
    for name, changes in (("copied", {}), ("fresh", {fork_server.VARIABLE: ""})):
        folder = tmp_path / name
        folder.mkdir()
        options, _ = configure(folder, ("teacher",), **keys)
        layout = layout_of(folder)
        write_rows(Path(layout.text("en")), sentences(48, 9))
        verb = start(
            server,
            *("run", "pretrain/en", *options, "--threads", threads),
            OMP_NUM_THREADS=threads,
            **changes,
        )
        if name == "copied":
            wait_for(lambda: copies(server))
        assert verb.wait(120) == 0, verb.stderr.read()
        made.append((Path(layout.bert("en")) / "model.safetensors").read_bytes())
    assert made[0] == made[1]


def test_a_server_leaves_when_nobody_wants_it(tmp_path):
    path = tmp_path / "w" / "socket"
    path.parent.mkdir()
    command = [sys.executable, "-m", "spikebert.fork_server", str(path)]
    run = subprocess.run(command, input=b"", timeout=120, check=False)
    assert run.returncode == 0
    assert not path.parent.exists()
