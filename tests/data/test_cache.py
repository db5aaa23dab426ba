"""Pictures decoded once: the same array however it is made, made again when a file changes, whole or absent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mimetric.core.errors import InputError
from mimetric.data import cache, images
from mimetric.data.cache import decoded, leaves
from mimetric.data.images import read_image
from mimetric.data.labelled import Pictures

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mimetric" / "pictures"


def pictures(folder: Path, count: int = 7, mode: str = "RGB", side: int = 12) -> Pictures:
    folder.mkdir(exist_ok=True)
    for i in range(count):
        pixels = RNG.integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{i}.png")
    return Pictures(folder, np.array([f"{i}.png" for i in range(count)], object))


def plain(given: Pictures, side: int) -> np.ndarray:
    return np.stack([read_image(given.folder / name, side, side)[0] for name in given.names])


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_and_the_cache_change_nothing(tmp_path, processes):
    given = pictures(tmp_path / "a")
    first = decoded(given, 8, processes=processes)
    again = decoded(given, 8, processes=processes)
    assert isinstance(first.x, np.memmap)
    assert np.array_equal(first.x, plain(given, 8))
    assert np.array_equal(again.x, first.x)
    assert first.good.all()


def test_what_is_mapped_can_be_written_to_and_the_file_stays(tmp_path):
    given = pictures(tmp_path / "a")
    before = plain(given, 8)
    decoded(given, 8).x[:] = 0
    assert np.array_equal(decoded(given, 8).x, before)


def test_gray_pictures_take_one_channel(tmp_path):
    given = pictures(tmp_path / "a", mode="L")
    found = decoded(given, 8).x
    assert found.shape == (7, 1, 8, 8)
    assert np.array_equal(found, plain(given, 8)[:, :1])


def test_decoded_once(tmp_path, monkeypatch):
    given = pictures(tmp_path / "a")
    decoded(given, 8)
    monkeypatch.setattr(images, "decode", None)
    decoded(given, 8)
    with pytest.raises(TypeError):  # another size is another array
        decoded(given, 9)


def test_a_change_of_content_size_time_or_name_is_seen(tmp_path, own_cache):
    given = pictures(tmp_path / "a")
    decoded(given, 8)
    stamp = os.stat(tmp_path / "a" / "3.png")
    Image.new("RGB", (12, 12), "red").save(tmp_path / "a" / "3.png")
    assert decoded(given, 8).x[3, :, 4, 4].tolist() == [255, 0, 0]
    (tmp_path / "a" / "0.png").replace(tmp_path / "a" / "3.png")  # the same name with another time
    os.utime(tmp_path / "a" / "3.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    given = Pictures(given.folder, given.names[1:])
    assert np.array_equal(decoded(given, 8).x, plain(given, 8))
    for side in (8, 9):  # what is not used any more goes; another size is kept on its own
        for i in range(6):
            os.utime(tmp_path / "a" / "3.png", ns=(0, i))
            decoded(given, side)
    assert len(list(own_cache.glob("*.npy"))) == 8
    assert len(list(own_cache.glob("*.json"))) == 8


def test_two_lists_of_one_folder_share_it(tmp_path, monkeypatch):
    given = pictures(tmp_path / "a")
    lists = [Pictures(given.folder, given.names[rows]) for rows in (slice(4), slice(4, 7))]
    wanted = [decoded(one, 8).x.copy() for one in lists]
    monkeypatch.setattr(images, "decode", None)
    for one, want in zip(lists, wanted):
        assert np.array_equal(decoded(one, 8).x, want)


def test_two_folders_of_the_same_names_are_two(tmp_path):
    a, b = pictures(tmp_path / "a"), pictures(tmp_path / "b")
    for name in a.names:
        os.utime(tmp_path / "a" / name, ns=(0, 0))
        os.utime(tmp_path / "b" / name, ns=(0, 0))
    assert np.array_equal(decoded(a, 8).x, plain(a, 8))
    assert np.array_equal(decoded(b, 8).x, plain(b, 8))


@pytest.mark.parametrize("processes", [1, 3])
def test_the_first_fault_stops_and_nothing_is_written(tmp_path, own_cache, processes):
    given = pictures(tmp_path / "a")
    (tmp_path / "a" / "4.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"4\.png cannot be decoded .* or leave such out by bad=skip$"):
        decoded(given, 8, processes=processes)
    assert [file.suffix for file in own_cache.iterdir()] == [".lock"]


@pytest.mark.parametrize("processes", [1, 3])
def test_faults_are_skipped_and_remembered(tmp_path, processes):
    given = pictures(tmp_path / "a")
    (tmp_path / "a" / "4.png").write_bytes(b"no picture")
    (tmp_path / "a" / "5.png").unlink()
    names = np.array([*given.names, "../b.png", "a\0b.png"], object)
    for _ in range(2):
        found = decoded(Pictures(given.folder, names), 8, skip=True, processes=processes)
        assert np.flatnonzero(~found.good).tolist() == [4, 5, 7, 8]
        kept = Pictures(given.folder, given.names[[0, 1, 2, 3, 6]])
        assert np.array_equal(found.x, plain(kept, 8))
        assert "../b.png leaves the folder" in found.faults[7]
        assert found.reasons().endswith("and 1 more")
    with pytest.raises(
        InputError, match=r"5\.png: No such file"
    ):  # those that are skipped are so only if asked for
        decoded(given, 8)


def test_a_fault_names_its_place_in_the_list(tmp_path):
    given = pictures(tmp_path / "a", 3)
    (tmp_path / "a" / "1.png").unlink()
    places = np.array(["line 2", "line 3", "line 5"], object)
    with pytest.raises(InputError, match=r"^line 3: 1\.png: No such file or directory; correct the name"):
        decoded(Pictures(given.folder, given.names, places), 8)


def test_leaves():
    assert leaves("a/../../b.png")
    assert not leaves("a/..b/c.png")
    assert not leaves("./b.png")


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    given = pictures(tmp_path / "a")
    assert np.array_equal(decoded(given, 8).x, plain(given, 8))


def test_a_disk_without_room(tmp_path, monkeypatch):
    monkeypatch.setattr(
        cache.shutil, "disk_usage", lambda _: cache.shutil._ntuple_diskusage(10**9, 10**9, 10)
    )
    with pytest.raises(InputError, match=r"need 0\.0 GB in .*; make room, take a smaller size"):
        decoded(pictures(tmp_path / "a"), 8)


def test_a_decoding_process_that_dies_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.sys, "executable", "/bin/false")
    with pytest.raises(InputError, match="a process that decodes pictures ended with code 1"):
        decoded(pictures(tmp_path / "a"), 8, processes=2)


PROGRAM = """
import sys, numpy as np
from pathlib import Path
from mimetric.data.cache import decoded
from mimetric.data.labelled import Pictures
folder = Path(sys.argv[1])
names = np.array(sorted(file.name for file in folder.iterdir()), object)
print(decoded(Pictures(folder, names), 48, processes=int(sys.argv[2])).x.sum(dtype=np.int64))
"""


def started(folder: Path, processes: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(folder), str(processes)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_make_one_file(tmp_path, own_cache):
    given = pictures(tmp_path / "a", 40, side=60)
    both = [started(tmp_path / "a") for _ in range(2)]
    sums = {int(one.communicate()[0]) for one in both}
    assert sums == {int(plain(given, 48).sum(dtype=np.int64))}
    assert len(list(own_cache.glob("*.npy"))) == 1
    assert not list(own_cache.glob(".*"))


def test_what_a_killed_process_leaves_is_no_array_and_is_removed(tmp_path, own_cache):
    given = pictures(tmp_path / "a", 30, side=60)
    for i in range(30):
        (tmp_path / "a" / f"x{i}.png").write_bytes((tmp_path / "a" / f"{i}.png").read_bytes())
    running = started(tmp_path / "a", processes=2)
    end = time.monotonic() + 20
    while not list(own_cache.glob(".*.tmp")) and time.monotonic() < end and running.poll() is None:
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.wait()
    names = np.array(sorted(file.name for file in (tmp_path / "a").iterdir()), object)
    given = Pictures(tmp_path / "a", names)
    assert np.array_equal(decoded(given, 48).x, plain(given, 48))
    assert not list(own_cache.glob(".*"))
