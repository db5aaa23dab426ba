"""The server as a process: where it listens, how it ends, and that it starts again."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from mimetric.core.errors import InputError

pytest.importorskip("uvicorn", reason="the extra serve is not installed")


def listening(host: str, port: int) -> socket.socket:
    from mimetric.serve.server import _listening

    return _listening(host, port)


def test_a_port_in_use_is_said() -> None:
    with listening("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(
            InputError, match=r"port: cannot listen on 127.0.0.1:\d+ .*name another by --port"
        ):
            listening("127.0.0.1", first.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "port", "said"), [("127.0.0.1", 70_000, "port: "), ("no such host", 0, "host: ")]
)
def test_an_address_that_is_none_is_said(host: str, port: int, said: str) -> None:
    with pytest.raises(InputError, match=f"^{said}"):
        listening(host, port)


def test_listens_to_this_machine_alone_unless_told(capsys: pytest.CaptureFixture[str]) -> None:
    from mimetric.cli import main

    assert main(["serve", "/nowhere", "--port", "0"]) == 2
    assert "serve: /nowhere: no run there" in capsys.readouterr().err
    with listening("127.0.0.1", 0) as socket_:
        assert socket_.getsockname()[0] == "127.0.0.1"


def test_an_extra_that_is_absent_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mimetric.cli import main

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", "/nowhere"]) == 2
    assert "serve: needs uvicorn: pip install 'mimetric[serve]'" in capsys.readouterr().err


def stopped(command: list[str], open_to_all: bool) -> int:
    """Start the command, ask its page once, stop it by Ctrl-C; return its port."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = ""
            while not (found := re.search(r"http://[\d.]+:(\d+)", said)):
                line = server.stdout.readline()
                assert line, "it ended"
                said += line
            assert ("open to the network: anyone who reaches this machine" in said) == open_to_all
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/api/run") as answer:
                assert json.load(answer)["kind"] == "images"
            server.send_signal(signal.SIGINT)
            _, faults = server.communicate(timeout=20)
            assert (server.returncode, faults) == (130, "mimetric serve: stopped by Ctrl-C\n")
        finally:
            server.kill()
    return int(found[1])


@pytest.mark.slow
def test_stops_cleanly_and_starts_again(comparison: Path) -> None:
    port = 0
    for host in ("127.0.0.1", "0.0.0.0"):
        command = [
            sys.executable,
            "-m",
            "mimetric",
            "serve",
            str(comparison),
            "--port",
            str(port),
            "--host",
            host,
        ]
        port = stopped(command, open_to_all=host == "0.0.0.0")
