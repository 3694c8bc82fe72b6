"""Who may use the dashboard: host names, the token and its cookie, requests of other sites, and headers of responses.

Every request passes here before anything else sees it. Binding to the loopback interface is no protection by itself: a
page in the user's browser can point a name of its own at 127.0.0.1 and read the answers. Therefore the host name is
compared with those that are allowed, for data and for the page alike, whatever the method.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from rabibridge._dashboard.login_page import login_page

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["ACTION_HEADER", "LOOPBACK_HOSTS", "AccessGuard"]

ACTION_HEADER = "x-rabibridge-action"
"""A header that a request for an action must have: a browser sends it to another site only if that site agrees."""
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
_COOKIE = "rabibridge_dashboard"
_COOKIE_SECONDS = 12 * 3600
_MAX_QUERY = 1024
_MAX_HEADERS = 100
_RESPONSE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class AccessGuard:
    """ASGI middleware that lets a request through, or answers it with 400, 401, 403 or 421.

    Args:
        app: the application behind it.
        hosts: the host names that a request may name, without a port; they are compared whole, in lower case.
        token: what a request must prove to know; ``None``: nothing.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], token: str | None) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._token = token.encode() if token else None
        # Not the token itself: whoever reads the cookie cannot log in from elsewhere by the token's form.
        self._cookie = hmac.new(self._token, b"rabibridge dashboard", hashlib.sha256).hexdigest() if self._token else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_RESPONSE_HEADERS)
            await send(message)

        request = HTTPConnection(scope)
        refusal = self._refusal(request) or self._logged_in(request)
        await (refusal or self._app)(scope, receive, guarded)

    def _refusal(self, request: HTTPConnection) -> Response | None:
        if len(request.scope["query_string"]) > _MAX_QUERY or len(request.scope["headers"]) > _MAX_HEADERS:
            return PlainTextResponse("The request has too many headers, or too long a query.\n", 400)
        named = request.headers.getlist("host")
        host = _host_name(named[0]) if len(named) == 1 else None
        if host not in self._hosts:
            shown = repr(host)[:80] if host else "no host, or several"
            return PlainTextResponse(
                f"The dashboard does not answer for {shown}. Allow a host name with --allow-host, or with hosts= where "
                "it is mounted.\n",
                421,
            )
        if request.scope["method"] not in {"GET", "HEAD"} and not _same_site(request.headers):
            return PlainTextResponse("A request from another site may not change anything here.\n", 403)
        return None

    def _logged_in(self, request: HTTPConnection) -> Response | None:
        """Return ``None`` for a request that proves the token, else the response to it."""
        if self._token is None or self._proves(request):
            return None
        here = request.scope.get("root_path", "") + "/"
        offered = request.query_params.get("token")
        if request.scope["method"] == "GET" and offered is not None and self._is_token(offered):
            response = RedirectResponse(here, 303)  # which also takes the token out of the address bar
            response.set_cookie(
                _COOKIE,
                self._cookie,
                max_age=_COOKIE_SECONDS,
                path=here,
                secure=request.url.scheme == "https",
                httponly=True,
                samesite="strict",
            )
            return response
        if "text/html" in request.headers.get("accept", ""):
            return login_page(here, refused=offered is not None)
        return PlainTextResponse(
            "The dashboard wants its token: open the address that it printed at its start, or send the header "
            "Authorization: Bearer TOKEN.\n",
            401,
            {"WWW-Authenticate": "Bearer"},
        )

    def _proves(self, request: HTTPConnection) -> bool:
        cookie = request.cookies.get(_COOKIE, "")
        if hmac.compare_digest(cookie.encode(), self._cookie.encode()):
            return True
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._is_token(credentials)

    def _is_token(self, offered: str) -> bool:
        return self._token is not None and hmac.compare_digest(offered.encode(), self._token)


def _host_name(header: str) -> str | None:
    """Return the name in a Host header in lower case, without a port; ``None`` if it is not well formed."""
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    well_formed = parts.hostname and not (parts.path or parts.query or parts.fragment or parts.username is not None)
    return parts.hostname if well_formed else None


def _same_site(headers: Headers) -> bool:
    """Return whether a request that changes something was made by a page of ours, or by a program."""
    if headers.get("sec-fetch-site", "same-origin") != "same-origin" or ACTION_HEADER not in headers:
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
