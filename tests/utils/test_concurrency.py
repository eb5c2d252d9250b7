"""Several processes at one cache, started at once and killed in the middle: never half a file."""

import hashlib
import http.server
import json
import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from spikebert.config.settings import Stage1Settings, TrainingSettings
from spikebert.data import download as sources
from spikebert.kernels import ops as kernel
from spikebert.kernels.build import compiler
from spikebert.training.distillation import Distillation
from spikebert.training.teacher_cache import Cache, ask

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["spikebert.training.steps.distil"])
LIMIT_S = 120
BODY = bytes(range(256)) * 512  # 128 KiB
SPEC = {
    "source": "url",
    "repository": "owner/name",
    "commit": "d61ded09c99c0199d8c5bca946cd65864de2b296",
    "path": "data/a.bin",
    "sha256": hashlib.sha256(BODY).hexdigest(),
}
LENGTHS = tuple(range(2, 34))


def at_once(work, count, *rounds):
    """`work(*round)` for each of the rounds in `count` processes, which begin every round together.

    What they return, by round.
    """
    barrier, results = CONTEXT.Barrier(count), CONTEXT.Queue()
    jobs = [
        CONTEXT.Process(target=begin, args=(work, barrier, results, rounds)) for _ in range(count)
    ]
    for job in jobs:
        job.start()
    found = [results.get(timeout=LIMIT_S) for _ in jobs]
    for job in jobs:
        job.join(LIMIT_S)
        assert job.exitcode == 0
    return list(zip(*found, strict=True))


def begin(work, barrier, results, rounds):
    found = []
    for arguments in rounds:
        barrier.wait(LIMIT_S)
        found.append(work(*arguments))
    results.put(found)


def killed_when(condition, work, *arguments):
    """SIGKILL a process that runs `work(*arguments)` as soon as `condition()` holds."""
    job = CONTEXT.Process(target=work, args=arguments)
    job.start()
    limit = time.monotonic() + LIMIT_S
    while not condition():
        assert job.is_alive(), "it ended before it could be killed"
        assert time.monotonic() < limit
        time.sleep(0.001)
    job.kill()
    job.join()


# Downloads


@pytest.fixture
def server():
    """A slow server of BODY, and how often it was asked."""
    asked = []

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            for first in range(0, len(BODY), 1 << 14):
                time.sleep(0.02)
                try:
                    self.wfile.write(BODY[first : first + (1 << 14)])
                except OSError:
                    return

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as instance:
        threading.Thread(target=instance.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{instance.server_port}", asked
        instance.shutdown()


def download(url, cache):
    sources.RAW_URL = url
    sources.HTTP_TIMEOUT_S = 20
    members, _ = sources.read_members(SPEC, cache)
    return members[0].data == BODY


def parts(cache):
    return list(Path(cache).rglob("*.part/a.bin"))


def test_jobs_that_want_one_download_fetch_it_once(server, tmp_path):
    url, asked = server
    caches = [tmp_path / str(attempt) for attempt in range(10)]
    found = at_once(download, 3, *((url, cache) for cache in caches))
    assert found == [(True, True, True)] * len(caches)
    assert len(asked) == len(caches)
    assert not list(tmp_path.rglob("*.part"))


def test_a_download_killed_in_the_middle_is_made_again(server, tmp_path):
    url, _ = server
    for _ in range(3):
        killed_when(lambda: any(p.stat().st_size for p in parts(tmp_path)), download, url, tmp_path)
        assert not list(tmp_path.rglob("data/a.bin"))
    assert at_once(download, 2, (url, tmp_path)) == [(True, True)]
    assert not list(tmp_path.rglob("*.part"))  # what the killed ones left


# What a teacher said


def examples():
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "input_ids": torch.randint(1, 37, (n,), generator=generator).tolist(),
            "attention_mask": [1] * n,
        }
        for n in LENGTHS
    ]


def collate(rows):
    longest = max(len(row["input_ids"]) for row in rows)
    return {
        name: torch.tensor([row[name] + [0] * (longest - len(row[name])) for row in rows])
        for name in ("input_ids", "attention_mask")
    }


def taught(folder, names, limit=10**7, pause=0.0):
    """Digests of what is kept under each name in turn; a slow teacher pauses before it speaks."""
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(vocab_size=37, intermediate_size=8, **shape)
    model = BertForSequenceClassification(config)
    module = Distillation(BertForSequenceClassification(config), model, Stage1Settings())
    settings = TrainingSettings(precision="fp32")
    if pause:
        model.register_forward_pre_hook(lambda *_: time.sleep(pause))
    found = []
    for name in names:
        cache = Cache(folder, limit)
        kept, _ = ask(cache, module, examples, collate, {"text": name}, settings)
        found.append(hashlib.sha256(kept.features.tobytes()).hexdigest())
    return found


def test_jobs_that_want_one_entry_get_the_same(tmp_path):
    expected = taught(tmp_path / "alone", ["a"])
    found = at_once(taught, 3, *((tmp_path / str(attempt), ["a"]) for attempt in range(20)))
    assert found == [(expected,) * 3] * 20


def test_entries_that_push_one_another_out_are_never_read_half(tmp_path):
    """Room for two, four wanted, again and again: each reads what it asked for, whole."""
    (expected,) = taught(tmp_path / "alone", ["a"])
    size = sum(f.stat().st_size for f in (tmp_path / "alone").rglob("*") if f.is_file())
    found = at_once(taught, 3, (tmp_path / "shared", ["a", "b", "c", "d"] * 8, 2 * size + 100))
    assert found == [([expected] * 32,) * 3]
    assert len(list((tmp_path / "shared").glob("*/taught.json"))) <= 4


def test_an_entry_killed_in_the_middle_is_made_again(tmp_path):
    for _ in range(3):
        killed_when(
            lambda: any(tmp_path.glob(".*/*/features.npy")), taught, tmp_path, ["a"], 10**7, 5.0
        )
        assert not list(tmp_path.glob("*/taught.json"))
    ((first, second),) = at_once(taught, 2, (tmp_path, ["a"]))
    assert first == second == taught(tmp_path.parent / "alone", ["a"])
    assert not [path for path in tmp_path.glob(".*") if path.is_dir()]  # what the killed ones left


def test_a_cut_entry_is_made_again(tmp_path):
    expected = taught(tmp_path, ["a"])
    (features,) = tmp_path.glob("*/features.npy")
    features.write_bytes(features.read_bytes()[:-2])
    assert taught(tmp_path, ["a"]) == expected
    (about,) = tmp_path.glob("*/taught.json")
    about.write_text(json.dumps({})[:1])
    assert taught(tmp_path, ["a"]) == expected


# The kernel


def spikes(cache):
    """What a kernel built in this cache says."""
    os.environ["XDG_CACHE_HOME"] = str(cache)
    x = torch.linspace(-1, 3, 64).view(4, 2, 8)
    settings = {"beta": 0.9, "threshold": 1.0, "reset": "soft", "decay_input": False}
    more = {"detach_reset": True, "surrogate": "atan", "alpha": 2.0}
    return kernel.norm_lif(x, **settings, **more).tolist()


@pytest.mark.slow
@pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
def test_the_kernel_is_built_whole_by_many_and_after_a_kill(tmp_path):
    killed_when(lambda: any(tmp_path.glob("spikebert/.kernel-*")), spikes, tmp_path)
    assert not list(tmp_path.glob("spikebert/*.so"))
    ((first, *others),) = at_once(spikes, 3, (tmp_path,))
    assert all(other == first for other in others)
    made = sorted(path.suffix for path in (tmp_path / "spikebert").iterdir())
    assert made == [".lock", ".so"]
