"""What stands before every answer: who may ask, how much may be sent, and what a browser may do with an answer."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

UPLOAD = 10 * 2**20  # bytes of a picture
_BODY = UPLOAD + 2**16  # with the other fields of the form
_HEADERS = {
    # Everything comes from this server, and nothing may be asked of another.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


class Guard:
    """Refuse strange hosts, other sites and large bodies; add headers that keep a browser to this server.

    A page of another site can make a browser ask here under a name of its own that it lets point here (DNS rebinding);
    the header Host then holds that name, so known names alone and plain addresses are answered.

    Args:
        app: what answers.
        names: of this server, beside ``localhost``.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        self._app, self._names = app, {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = self._refused(scope["method"], scope["path"], Headers(scope=scope))
        answer = self._app if refused is None else JSONResponse({"detail": refused[1]}, refused[0])
        await answer(scope, receive, with_headers)

    def _refused(self, method: str, path: str, headers: Headers) -> tuple[int, str] | None:
        """Status and reason, or None."""
        host = _without_port(headers.get("host", ""))
        if host not in self._names and not _is_address(host):
            return 421, f"this server is not called {host!r}; ask for localhost, or start it with --host"
        here = headers.get("sec-fetch-site", "none") in ("none", "same-origin")
        if path.startswith("/api/") and not here:  # a link to the page itself may be followed
            return 403, "another site asks; open the page itself"
        if method in ("GET", "HEAD"):
            return None
        size = headers.get("content-length", "")
        if not size.isdecimal():
            return 411, "say how long the body is, by Content-Length"
        if int(size) > _BODY:
            return 413, f"at most {UPLOAD // 2**20} MB are taken; make the picture smaller"
        return None


def _without_port(host: str) -> str:
    """
    >>> _without_port("Localhost:8000"), _without_port("[::1]:80")
    ('localhost', '::1')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
