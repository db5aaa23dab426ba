from __future__ import annotations

import os

import pytest

from mimetric.core.errors import InputError
from mimetric.core.files import writable_folder, write_whole


def test_replaces_whole_and_leaves_nothing_else(tmp_path):
    write_whole(tmp_path / "a.txt", b"old")
    write_whole(tmp_path / "a.txt", b"new")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a.txt": b"new"}


@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_a_crash_on_the_way_keeps_the_old_file(tmp_path, monkeypatch, broken):
    write_whole(tmp_path / "a.txt", b"old")

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, broken, crash)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.txt", b"new")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a.txt": b"old"}


def test_a_folder_is_made(tmp_path):
    assert writable_folder(tmp_path / "a" / "b").is_dir()


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        InputError, match=r"^out: cannot write to .*sub \(Not a directory\); name another folder$"
    ):
        writable_folder(tmp_path / "file" / "sub")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        writable_folder(tmp_path)
