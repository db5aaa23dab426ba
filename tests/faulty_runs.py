"""What test_faults.py runs in processes of their own, which are really killed; they import this file by name."""

from __future__ import annotations

import gc
import os
import resource
import signal
import stat
import sys
import time
from pathlib import Path

from mimetric.cli import main
from mimetric.train import quality, watched
from mimetric.train.loop import Training


def command(words: list[str], log: Path, harm: str = "", amount: float = 0) -> None:
    """Run the command with its output in a file, harmed in one way or none; the process exits with its code."""
    gc.freeze()  # what was loaded before the fork is not searched for garbage
    signal.signal(signal.SIGINT, signal.default_int_handler)
    quality.informed = watched.informed = not_informed
    HARMS[harm](amount)
    sys.stdout = sys.stderr = log.open("w")
    code = main(words)
    sys.stdout.flush()
    os._exit(code)


def not_informed(*_):
    """No information is measured: it takes longer than such a run, which is not about it."""
    return dict.fromkeys(quality.INFORMATION) | {"information_warnings": []}


def slowed(seconds: float) -> None:
    """Each step takes a little, so that there is time to be harmed in."""
    take = Training._take

    def slow(self, rows):
        time.sleep(seconds)
        return take(self, rows)

    Training._take = slow


def killed_in_write(number: float) -> None:
    """The process dies while it writes its file of that number: half of it is on disk."""
    fsync, written = os.fsync, []

    def die(handle):
        if stat.S_ISREG(os.fstat(handle).st_mode):
            written.append(handle)
            if len(written) == number:
                os.ftruncate(handle, os.fstat(handle).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
        fsync(handle)

    os.fsync = die


def limited(size: float) -> None:
    """No file may be larger: to the process it is as if the disk were full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))


HARMS = {"": lambda _: None, "slowed": slowed, "killed in write": killed_in_write, "limited": limited}
