"""The hub's own clients against a hub on the loopback: what is fetched, and what goes wrong."""

import hashlib
import io
import itertools
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from configured import SET, configure
from hub_server import TOKEN, Hub, Repository, serving
from hub_worker import Result, run, worker
from transformers import BertConfig, BertModel, BertTokenizer

from spikebert.config.datasets import Corpus, Teacher
from spikebert.data import hub as client
from spikebert.errors import UserError
from spikebert.utils.validation import validate

WORDS = ["a", "the", "film", "plot", "is", "was", "very", "good"]
WORDS += ["bad", "warm", "dull", "funny", "long", "cast", "story", "scene"]
COMMIT = "0" * 40
NUMBERS = itertools.count(1)


def sum_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def parquet(rows: list[dict]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def sentence(number: int) -> str:
    """A text that no other number gives."""
    return " ".join(WORDS[(number // 16**place) % 16] for place in (0, 1, 2)) + f" number {number}"


LABELLED = parquet([{"text": sentence(n), "label": n % 2} for n in range(60)])
SHARDS = {
    f"data/train-{shard:05}-of-00003.parquet": parquet(
        [{"text": sentence(1000 * shard + n)} for n in range(1, 21)]
    )
    for shard in range(3)
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> dict[str, bytes]:
    """The files of a BERT of width 8."""
    folder = tmp_path_factory.mktemp("bert")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "words.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    tokenizer = BertTokenizer(vocab=str(folder / "words.txt"))
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    model = BertModel(BertConfig(vocab_size=len(tokenizer), intermediate_size=8, **shape))
    for part in (model, tokenizer):
        part.save_pretrained(folder / "bert")
    return {file.name: file.read_bytes() for file in (folder / "bert").iterdir()}


@pytest.fixture(scope="module")
def served():
    with serving() as hub:
        yield hub


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


def environment(served: Hub, home: Path) -> dict[str, str]:
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return {"HF_ENDPOINT": served.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", **quiet}


@pytest.fixture(scope="module")
def online(served, home):
    with worker(**environment(served, home)) as call:
        yield call


@pytest.fixture(scope="module")
def offline(served, home):
    with worker(**environment(served, home), HF_HUB_OFFLINE="1") as call:
        yield call


@pytest.fixture
def hub(served):
    """The hub, without a trace of other tests: each test has a repository of its own."""
    served.requests.clear()
    served.faults.clear()
    served.name = f"owner/r{next(NUMBERS)}"
    return served


def publish(hub: Hub, files: dict[str, bytes], kind: str = "datasets/", **facts) -> str:
    repository = hub.repositories.setdefault(f"{kind}{hub.name}", Repository(**facts))
    return repository.add(files)


def split(call, hub: Hub, tmp_path: Path, revision: str, **changes) -> Result:
    file = {"source": "hub", "repository": hub.name, "revision": revision, "hub_split": "train"}
    file |= {"text_column": "text", "label_column": "label", **changes}
    spec = {"language": "en", "description": "d", "labels": ["bad", "good"], "files": [file]}
    options, _ = configure(tmp_path, datasets={"mine": spec})
    return call(run, ["split", "mine", *options, "--out", f"{tmp_path}/out"])


def unlabelled(call, hub: Hub, tmp_path: Path, revision: str, **changes) -> Result:
    file = {"source": "hub", "repository": hub.name, "revision": revision, "hub_split": "train"}
    spec = {"description": "d", "files": [file | {"text_column": "text", **changes}]}
    no_rows = SET | {"language": "zh"}  # of the language that hold test rows
    options, _ = configure(tmp_path, datasets={"mine": no_rows}, unlabelled={"en": spec})
    return call(run, ["unlabelled", "en", *options, "--out", f"{tmp_path}/out"])


def teacher(call, hub: Hub, tmp_path: Path, revision: str, **changes) -> Result:
    spec = {"source": "hub", "repository": hub.name, "revision": revision, **changes}
    options, _ = configure(tmp_path, teachers={"en": spec})
    return call(run, ["fetch-teacher", "en", *options, "--out", f"{tmp_path}/out"])


def nothing_is_left(tmp_path: Path) -> bool:
    return not (tmp_path / "out").exists() and not list(tmp_path.glob("*.part"))


def is_one_screen(result: Result, *words: str) -> bool:
    text = result.output
    assert result.status == 2, text
    assert "Traceback" not in text
    assert len(text.splitlines()) < 25
    assert all(word in text for word in words), text
    return True


# --- what is fetched ---------------------------------------------------------------------------


def test_a_labelled_set_is_streamed(hub, online, tmp_path):
    commit = publish(hub, {"README.md": b"---\nlicense: mit\n---\n", "train.parquet": LABELLED})
    publish(hub, {"train.parquet": parquet([{"text": "a later one", "label": 0}])})
    result = split(online, hub, tmp_path, commit)
    assert result.status == 0, result.output
    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert stats["rows_kept"] == 60
    assert stats["files"][0]["revision"] == commit


def test_streamed_text_leaves_shards_that_nobody_reads(hub, online, tmp_path):
    commit = publish(hub, SHARDS)
    result = unlabelled(online, hub, tmp_path, commit, max_rows=25)
    assert result.status == 0, result.output
    rows = [json.loads(line) for line in (tmp_path / "out" / "text.jsonl").open()]
    expected = [sentence(n) for n in (*range(1, 21), *range(1001, 1006))]
    assert sorted(row["text"] for row in rows) == sorted(expected)
    assert hub.asked("train-00001")
    assert not hub.asked("train-00002")


def tokens_and_width(folder: str) -> tuple[list[str], int]:
    from transformers import AutoModel

    from spikebert.training.tokenization import load_tokenizer

    model = AutoModel.from_pretrained(folder, trust_remote_code=False, use_safetensors=True)
    states = model(**load_tokenizer(folder)("a warm film", return_tensors="pt"))
    return load_tokenizer(folder).tokenize("a warm film"), states.last_hidden_state.shape[-1]


def test_a_teacher_with_its_tokenizer(hub, online, tmp_path, bert):
    commit = publish(hub, bert | {"pytorch_model.bin": b"pickle"}, kind="")
    result = teacher(online, hub, tmp_path, commit, sha256=sum_of(bert["model.safetensors"]))
    assert result.status == 0, result.output
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == bert["model.safetensors"]
    assert not hub.asked("pytorch_model", "HEAD")
    hub.requests.clear()
    assert online(tokens_and_width, f"{tmp_path}/out") == (["a", "warm", "film"], 8)
    assert hub.requests == []  # a folder needs no hub


def test_a_reference_that_moves_is_told_and_written_down(hub, online, tmp_path):
    commit = publish(hub, {"train.parquet": LABELLED})
    hub.repositories[f"datasets/{hub.name}"].refs["refs/convert/parquet"] = commit
    result = split(online, hub, tmp_path, "refs/convert/parquet")
    assert result.status == 0, result.output
    assert "is not pinned" in result.output
    assert commit in result.output
    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert stats["files"][0]["commit"] == commit


def test_a_branch_is_refused(hub, online, tmp_path, bert):
    publish(hub, bert, kind="")
    with pytest.raises(UserError, match="pin the 40 hexadecimal digits"):
        validate(Teacher, {"source": "hub", "repository": hub.name, "revision": "main"}, "en")
    assert is_one_screen(teacher(online, hub, tmp_path, "main"), "pin the 40 hexadecimal digits")
    assert not hub.requests


# --- sums --------------------------------------------------------------------------------------


def test_a_wrong_sum_of_the_configuration(hub, online, tmp_path, bert):
    commit = publish(hub, bert, kind="")
    result = teacher(online, hub, tmp_path, commit, sha256="0" * 64)
    assert is_one_screen(result, "model.safetensors", "it is not the pinned file")
    assert nothing_is_left(tmp_path)


def test_a_wrong_sum_of_a_data_file(hub, online, tmp_path):
    commit = publish(hub, {"train.parquet": LABELLED})
    result = split(online, hub, tmp_path, commit, data_files={"train.parquet": "0" * 64})
    assert is_one_screen(result, "train.parquet", "it is not the pinned file")
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_bytes_that_the_hub_does_not_vouch_for(hub, online, tmp_path, bert, name):
    commit = publish(hub, bert, kind="")
    hub.fail(name, "corrupt", times=99)
    assert is_one_screen(
        teacher(online, hub, tmp_path, commit), f"{name} came with the sum", "tried 3 times"
    )
    assert nothing_is_left(tmp_path)
    hub.faults.clear()
    assert teacher(online, hub, tmp_path, commit).status == 0  # the bad bytes were not kept


# --- a hub that breaks -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [500, 503, "reset", "cut"])
def test_what_passes_is_tried_again(hub, online, tmp_path, bert, kind):
    commit = publish(hub, bert, kind="")
    hub.fail("/tree/", kind if kind != "cut" else 503)
    hub.fail("model.safetensors", kind if kind != "cut" else 503, method="HEAD")
    hub.fail("model.safetensors", kind)
    result = teacher(online, hub, tmp_path, commit)
    assert result.status == 0, result.output
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == bert["model.safetensors"]


@pytest.mark.parametrize("kind", [503, "reset"])
def test_what_does_not_pass_ends(hub, online, tmp_path, bert, kind):
    commit = publish(hub, bert, kind="")
    hub.fail("model.safetensors", kind, times=1000, method="HEAD")
    result = teacher(online, hub, tmp_path, commit)
    assert is_one_screen(result, "tried 3 times", "try again later")
    assert len(hub.asked("model.safetensors", "HEAD")) <= 36
    assert sum(result.waited) < 300
    assert nothing_is_left(tmp_path)


def test_a_broken_download_goes_on_where_it_was(hub, online, tmp_path, bert):
    # The client writes 10 MiB at once, and goes on after the last that it wrote.
    size = 24 * 2**20
    weights = (bert["model.safetensors"] * (size // len(bert["model.safetensors"]) + 1))[:size]
    commit = publish(hub, bert | {"model.safetensors": weights}, kind="")
    hub.fail("model.safetensors", "cut")
    result = teacher(online, hub, tmp_path, commit, sha256=sum_of(weights))
    assert result.status == 0, result.output
    whole, rest = hub.asked("model.safetensors")
    assert whole.range is None
    assert rest.range == f"bytes={10 * 2**20}-"
    assert sum_of((tmp_path / "out" / "model.safetensors").read_bytes()) == sum_of(weights)


@pytest.mark.parametrize("kind", [503, "reset", "cut"])
def test_a_stream_that_breaks_goes_on(hub, online, tmp_path, kind):
    commit = publish(hub, SHARDS)
    hub.fail("train-00001", kind, times=2)
    result = unlabelled(online, hub, tmp_path, commit)
    assert result.status == 0, result.output
    assert len((tmp_path / "out" / "text.jsonl").read_text().splitlines()) == 60


# --- what is not there, or not for all ---------------------------------------------------------


def test_a_missing_repository(hub, online, tmp_path):
    words = (f"{hub.name}", "no repository of this name", "check owner/name")
    assert is_one_screen(teacher(online, hub, tmp_path, COMMIT), "hub model", *words)
    assert is_one_screen(split(online, hub, tmp_path, COMMIT), "hub data set", *words)
    assert is_one_screen(unlabelled(online, hub, tmp_path, COMMIT), "hub data set", *words)
    files = {"data_files": {"train.parquet": "0" * 64}}
    assert is_one_screen(split(online, hub, tmp_path, COMMIT, **files), *words)
    assert nothing_is_left(tmp_path)


def test_a_missing_revision(hub, online, tmp_path, bert):
    publish(hub, bert, kind="")
    publish(hub, {"train.parquet": LABELLED})
    words = ("no such revision", "take a commit from its history", served_at(hub))
    assert is_one_screen(teacher(online, hub, tmp_path, COMMIT), *words)
    assert is_one_screen(split(online, hub, tmp_path, COMMIT), *words)
    assert is_one_screen(split(online, hub, tmp_path, "refs/convert/parquet"), *words)
    assert nothing_is_left(tmp_path)


def served_at(hub: Hub) -> str:
    return hub.url.rpartition(":")[0]


def test_a_gate(hub, online, tmp_path, bert):
    model = publish(hub, bert, kind="", gated=True)
    rows = publish(hub, {"train.parquet": LABELLED}, gated=True)
    words = ("a gate", "hf auth login", "HF_TOKEN")
    assert is_one_screen(teacher(online, hub, tmp_path, model), *words)
    assert is_one_screen(split(online, hub, tmp_path, rows), *words)
    files = {"data_files": {"train.parquet": sum_of(LABELLED)}}
    assert is_one_screen(split(online, hub, tmp_path, rows, **files), *words)
    assert nothing_is_left(tmp_path)


def with_token(token: str, arguments: list[str]) -> Result:
    os.environ["HF_TOKEN"] = token
    try:
        return run(arguments)
    finally:
        del os.environ["HF_TOKEN"]


def test_a_token_opens_the_gate(hub, online, tmp_path, bert):
    commit = publish(hub, bert, kind="", gated=True)

    def call(_, arguments):
        return online(with_token, TOKEN, arguments)

    result = teacher(call, hub, tmp_path, commit)
    assert result.status == 0, result.output
    assert TOKEN not in result.output
    for file in (tmp_path / "out").iterdir():
        assert TOKEN.encode() not in file.read_bytes()


def test_a_token_that_is_not_valid(hub, online, tmp_path, bert):
    commit = publish(hub, bert, kind="")
    hub.fail("model.safetensors", 401, times=9, method="HEAD")
    assert is_one_screen(teacher(online, hub, tmp_path, commit), "the token is not valid here")
    assert not any(r for r in hub.asked("model.safetensors", "HEAD")[1:])


def test_a_split_that_is_not_there(hub, online, tmp_path):
    commit = publish(hub, {"train.parquet": LABELLED})
    assert is_one_screen(split(online, hub, tmp_path, commit, hub_split="nosuch"), "nosuch")


# --- without a network -------------------------------------------------------------------------


def test_offline_reads_what_was_kept(hub, online, offline, tmp_path, bert):
    model = publish(hub, bert, kind="")
    rows = publish(hub, {"README.md": b"words", "train.parquet": LABELLED})
    files = {"data_files": {"train.parquet": sum_of(LABELLED)}}
    for name, call in (("on", online), ("off", offline)):
        hub.requests.clear()
        result = teacher(call, hub, tmp_path / name / "model", model)
        assert result.status == 0, result.output
        result = split(call, hub, tmp_path / name / "set", rows, **files)
        assert result.status == 0, result.output
        assert bool(hub.requests) == (name == "on")
    for part in ("model/out/model.safetensors", "set/out/train.jsonl"):
        assert (tmp_path / "on" / part).read_bytes() == (tmp_path / "off" / part).read_bytes()


def test_offline_without_a_cache(hub, offline, tmp_path):
    words = ("offline mode", "fetch it once with the network", "embedded")
    assert is_one_screen(teacher(offline, hub, tmp_path, COMMIT), *words)
    assert is_one_screen(split(offline, hub, tmp_path, COMMIT), *words)
    assert is_one_screen(unlabelled(offline, hub, tmp_path, "refs/convert/parquet"), *words)
    files = {"data_files": {"train.parquet": "0" * 64}}
    assert is_one_screen(split(offline, hub, tmp_path, COMMIT, **files), *words)
    assert not hub.requests
    assert nothing_is_left(tmp_path)


def prepare(name: str, revision: str) -> int:
    """What somebody else may have done on this machine: a data set prepared at some revision."""
    from datasets import load_dataset

    return len(load_dataset(name, revision=revision, split="train"))


def test_rows_of_another_revision_are_no_way_out(hub, online, tmp_path):
    old = publish(hub, {"train.parquet": parquet([{"text": "an old row here", "label": 0}])})
    new = publish(hub, {"train.parquet": LABELLED})
    assert online(prepare, hub.name, old) == 1
    hub.fail("README.md", 503, times=1000, method="HEAD")
    result = split(online, hub, tmp_path, new)
    assert is_one_screen(result, "tried 3 times")
    assert nothing_is_left(tmp_path)


# --- code in a repository ----------------------------------------------------------------------

EVIL = "import pathlib\npathlib.Path({marker!r}).touch()\n"


def test_no_code_of_a_model_is_run(hub, online, tmp_path, bert):
    marker = tmp_path / "it-ran"
    config = json.loads(bert["config.json"]) | {"auto_map": {"AutoModel": "modeling_x.X"}}
    commit = publish(
        hub,
        bert
        | {"config.json": json.dumps(config).encode()}
        | {"modeling_x.py": EVIL.format(marker=str(marker)).encode()},
        kind="",
    )
    result = teacher(online, hub, tmp_path, commit)
    assert result.status == 0, result.output
    online(tokens_and_width, f"{tmp_path}/out")
    assert not marker.exists()
    assert not hub.asked("modeling_x", "HEAD")
    assert "auto_map" not in json.loads((tmp_path / "out" / "config.json").read_text())


def test_no_pickle_is_read(hub, online, tmp_path, bert):
    files = {name: data for name, data in bert.items() if name != "model.safetensors"}
    commit = publish(hub, files | {"pytorch_model.bin": b"pickle"}, kind="")
    result = teacher(online, hub, tmp_path, commit)
    assert is_one_screen(result, "pickled weights are never read")
    assert not hub.asked("pytorch_model", "HEAD")
    assert nothing_is_left(tmp_path)


def test_no_script_of_a_set_is_run(hub, online, tmp_path):
    marker = tmp_path / "it-ran"
    script = f"{hub.name.rpartition('/')[2]}.py"
    commit = publish(hub, {script: EVIL.format(marker=str(marker)).encode()})
    assert is_one_screen(split(online, hub, tmp_path, commit), "its script is never run")
    assert not marker.exists()


# --- data_files --------------------------------------------------------------------------------


def test_data_files_are_of_one_kind():
    spec = {"repository": "o/x", "revision": COMMIT, "hub_split": "train"}
    for files in ({"a.bin": "0" * 64}, {"a.csv": "0" * 64, "b.parquet": "0" * 64}):
        with pytest.raises(UserError, match="files of one kind"):
            list(client.rows(spec | {"data_files": files}))


def test_data_files_in_the_schema():
    file = {"source": "hub", "repository": "o/x", "revision": COMMIT, "hub_split": "train"}
    file |= {"text_column": "text", "data_files": {"train.parquet": "0" * 64}}
    spec = {"language": "en", "description": "d", "labels": ["a", "b"], "files": [file]}
    validate(Corpus, spec, "set")
    with pytest.raises(UserError, match=r"files\.0\.data_files\.train\.parquet"):
        validate(Corpus, spec | {"files": [file | {"data_files": {"train.parquet": "1"}}]}, "s")
