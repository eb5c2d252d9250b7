"""Files and folders are written whole or not at all; a folder's digest is that of its files."""

import hashlib
import os
from pathlib import Path

import pytest

from spikebert.errors import UserError
from spikebert.utils.checksums import tree_digest
from spikebert.utils.files import atomic_folder, check_writable, write_text


def test_complete_folder_or_none(tmp_path):
    out = tmp_path / "out"

    def fail_half_way():
        with atomic_folder(out) as part:
            (part / "a").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []
    with atomic_folder(out) as part:
        (part / "a").write_text("1")
        (part / "b").write_text("2")
    assert sorted(file.name for file in out.iterdir()) == ["a", "b"]
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    with atomic_folder(out) as part:
        (part / "c").write_text("3")
    assert [file.name for file in out.iterdir()] == ["c"]


def test_a_text_or_none(tmp_path):
    file = tmp_path / "new" / "a.txt"
    write_text(file, "zwei\r\nZeilen é\n")
    assert file.read_bytes() == "zwei\r\nZeilen é\n".encode()
    with pytest.raises(UnicodeEncodeError):
        write_text(file, "\ud800")
    assert file.read_bytes().startswith(b"zwei")
    assert [path.name for path in file.parent.iterdir()] == ["a.txt"]


def test_digest_of_a_folder_is_that_of_its_files_in_order(tmp_path):
    (tmp_path / "b").mkdir()
    for name, text in (("b/2", "two"), ("a", "one")):
        (tmp_path / name).write_text(text)
    parts = [hashlib.sha256(text.encode()).digest() for text in ("one", "two")]
    assert tree_digest(tmp_path) == hashlib.sha256(b"".join(parts)).hexdigest()
    assert tree_digest(tmp_path / "a") == hashlib.sha256(parts[0]).hexdigest()


def test_a_folder_that_may_only_be_read_is_named(tmp_path, monkeypatch):
    check_writable(tmp_path / "new/folder")
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != tmp_path)
    with pytest.raises(UserError, match="may only be read") as error:
        check_writable(tmp_path / "new/folder")
    assert "snakemake --directory" in str(error.value)
