"""The three pages: ``/metrics``, ``/healthz`` and ``/readyz``."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rabibridge_telemetry.health_server.sources import Source, Verdict

__all__ = ["Response", "respond"]

_GZIP_FROM: Final = 1024
_TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Response:
    """An answer to a request."""

    status: int
    body: bytes
    content_type: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()


async def respond(
    source: Source, method: str, path: str, headers: Mapping[str, str], allowed_hosts: frozenset[str] | None
) -> Response:
    """Answer a request.

    Args:
        source: what is asked.
        method: GET or HEAD; others are refused.
        path: without its query.
        headers: those of the request, with names in lower case.
        allowed_hosts: the host names that it may name; ``None``: any. A page in a browser on this machine can let a
            name of its own point to the loopback address and read the answers; it cannot change the name that it sends.
    """
    if allowed_hosts is not None and _host_of(headers.get("host", "")) not in allowed_hosts:
        return Response(421, b"This server answers for the names of this machine only.\n")
    if method not in ("GET", "HEAD"):
        return Response(405, b"Use GET.\n", headers=(("Allow", "GET, HEAD"),))
    if path == "/metrics":
        return _metrics(source, headers)
    if path == "/healthz":
        return _verdict(await source.alive())
    if path == "/readyz":
        return _verdict(await source.ready())
    return Response(404, b"There are /metrics, /healthz and /readyz.\n")


def _verdict(verdict: Verdict) -> Response:
    body = json.dumps({"ok": verdict.ok, "reasons": list(verdict.reasons)}, indent=2).encode() + b"\n"
    return Response(200 if verdict.ok else 503, body, "application/json")


def _metrics(source: Source, headers: Mapping[str, str]) -> Response:
    from rabibridge_telemetry._metrics.exposition import expose

    body, content_type = expose(source.totals(), headers.get("accept", ""))
    added: tuple[tuple[str, str], ...] = (("Vary", "Accept, Accept-Encoding"),)
    if len(body) >= _GZIP_FROM and _takes_gzip(headers.get("accept-encoding", "")):
        body, added = gzip.compress(body, 1), (*added, ("Content-Encoding", "gzip"))
    return Response(200, body, content_type, added)


def _takes_gzip(accept_encoding: str) -> bool:
    for part in accept_encoding.lower().split(","):
        coding, *parameters = part.replace(" ", "").split(";")
        if coding == "gzip":
            return "q=0" not in parameters
    return False


def _host_of(header: str) -> str:
    """Return the name in a Host header, in lower case and without the port."""
    host = header.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host
