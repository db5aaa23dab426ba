"""A server that answers until it is stopped."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

import uvicorn

from mimetric.core.errors import InputError
from mimetric.serve.app import create_app
from mimetric.serve.desk import open_desk

_WAITING = 1000  # connections; more are told to come again


def serve_run(
    run: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    corpus: Path | None = None,
    device: str = "auto",
) -> None:
    """Serve the page of a run until Ctrl-C, and print where it is.

    Args:
        run, corpus, device: as :func:`mimetric.serve.desk.open_desk` has them.
        host: name or address of this machine to listen on.
        port: 0 takes one that is free.

    Raises:
        InputError: an address that cannot be listened on, or as :func:`mimetric.serve.desk.open_desk`.
        KeyboardInterrupt: it was stopped.
    """
    with _listening(host, port) as listener:
        _say(f"loading {run}, and embedding what it searches")
        desk = open_desk(run, corpus, device)
        app = create_app(desk, names={host, socket.gethostname()})
        listener.listen()  # from here on who asks waits, and is not turned away
        address, port = listener.getsockname()[:2]
        if not ipaddress.ip_address(address).is_loopback:
            _say(
                f"open to the network: anyone who reaches this machine on port {port} can search, send pictures and "
                "see the test items; there is no password, and what is sent can be read on the way"
            )
        _say(f"http://{_written(host)}:{port} shows {desk.name}; Ctrl-C ends it")
        settings = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=_WAITING,
            timeout_graceful_shutdown=2,
        )
        uvicorn.Server(settings).run(sockets=[listener])


def _say(line: str) -> None:
    print(line, flush=True)  # also where nobody types, such as a log


def _listening(host: str, port: int) -> socket.socket:
    """A socket that is bound, so that a port in use is known before work begins."""
    if not 0 <= port < 2**16:
        raise InputError(f"port: must be 0 to 65535, got {port}; try 8000")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise InputError(f"host: {host} is no address of this machine ({error}); try 127.0.0.1") from None
    listener = socket.socket(family, kind)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise InputError(
            f"port: cannot listen on {host}:{port} ({error.strerror}); name another by --port"
        ) from None
    return listener


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host
