"""Keys, and clients and servers that sign over the broker in memory; a tap can change what passes."""

from __future__ import annotations

import base64
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rabibridge_core._security.guard import Guard
from rabibridge_core._security.key_ring import KeyRing, parse_ring
from rabibridge_core._security.rules import Rules
from rabibridge_core._security.signature import SIGNATURE
from rabibridge_core.plugins.resolver import resolve_transport
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_core.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import Caller, CallerEvents, Reply, Request, Transport

_numbers = itertools.count()


def line(key_id: str, algorithm: str, raw: bytes, until: str = "") -> str:
    """Return one line of a key ring."""
    return f"{key_id} {algorithm} {base64.b64encode(raw).decode()} {until}".strip()


def public(raw: bytes) -> bytes:
    """Return the public key of a private one."""
    return Ed25519PrivateKey.from_private_bytes(raw).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


HMAC, OTHER = line("hmac", "hmac-sha256", b"h" * 32), line("other", "hmac-sha256", b"o" * 32)
GATEWAY, WORKER = b"g" * 32, b"w" * 32
ED_CLIENT = f"{line('gateway', 'ed25519', GATEWAY)}\n{line('worker', 'ed25519-public', public(WORKER))}"
ED_SERVER = f"{line('worker', 'ed25519', WORKER)}\n{line('gateway', 'ed25519-public', public(GATEWAY))}"
AES, CHACHA = line("aes", "aes-256-gcm", b"a" * 32), line("cha", "chacha20-poly1305", b"c" * 32)


def guard_of(ring: str = f"{HMAC}\n{AES}", signing_id: str = "hmac", **rules: Any) -> Guard:
    """Return a guard with these keys."""
    wall = {"wall": rules["wall"]} if "wall" in rules else {}
    return Guard(Rules(ring=KeyRing(parse_ring(ring, "the test"), **wall), signing_id=signing_id, **rules), "tester")


def settings_of(url: str, ring: str, signing_id: str, **options: Any) -> Settings:
    """Return settings with these keys, which require signatures unless told otherwise."""
    given = {"signing_keys": ring, "signing_key_id": signing_id, "require_signature": True, **options}
    return load_settings(url=url, options={name: value for name, value in given.items() if value is not None})


class Tap:
    """A transport of a caller between the guard and the broker, which may change or drop every message."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.out: Callable[[str, Request], Request | None] = lambda kind, request: request
        self.back: Callable[[Reply], Reply | None] = lambda reply: reply
        self.keep_cancel = True
        self.sent: list[tuple[str, Request]] = []
        self.received: list[Reply] = []
        self.caller: Any = None
        self.inject: Callable[[bytes, Reply], None]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def open_caller(self, events: CallerEvents, /) -> Caller:
        replied = self.inject = events.replied

        def tapped(correlation_id: bytes, reply: Reply, /) -> None:
            self.received.append(reply)
            changed = self.back(reply)
            if changed is not None:
                replied(correlation_id, changed)

        events.replied = tapped  # type: ignore[method-assign]
        self.caller = await self._inner.open_caller(events)
        tapped_caller: Any = _TappedCaller(self)
        return tapped_caller  # type: ignore[no-any-return]


class _TappedCaller:
    def __init__(self, tap: Tap) -> None:
        self._tap = tap

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tap.caller, name)

    def _pass(self, kind: str, request: Request) -> None:
        self._tap.sent.append((kind, request))
        changed = self._tap.out(kind, request)
        if changed is not None:
            getattr(self._tap.caller, kind)(changed)

    def send(self, request: Request, /) -> None:
        self._pass("send", request)

    def notify(self, request: Request, /) -> None:
        self._pass("notify", request)

    def broadcast(self, request: Request, /) -> None:
        self._pass("broadcast", request)

    def feed(self, request: Request, /) -> None:
        self._pass("feed", request)

    def cancel(self, routing_key: str, correlation_id: bytes, /) -> None:
        kept = correlation_id if self._tap.keep_cancel else correlation_id.split(b" ")[0]
        self._tap.caller.cancel(routing_key, kept)


@asynccontextmanager
async def pair(
    functions: Collection[Callable[..., Any]],
    *,
    client_ring: str = HMAC,
    server_ring: str = HMAC,
    client_id: str = "hmac",
    server_id: str = "hmac",
    serializer: str = "msgpack",
    client_options: dict[str, Any] | None = None,
    server_options: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[tuple[RpcClient, RpcServer, Tap]]:
    """Serve the functions, and yield a client, the server, and the tap of the client."""
    url = f"memory://signing-{next(_numbers)}"
    server_settings = settings_of(url, server_ring, server_id, **options, **(server_options or {}))
    client_settings = settings_of(url, client_ring, client_id, **options, **(client_options or {}))
    server = RpcServer(settings=server_settings, serializer=serializer, name="worker")
    for function in functions:
        server.add_service(function, validate=function.__name__ == "booked")
    tap: Any = Tap(resolve_transport(client_settings, "client"))
    client = RpcClient(settings=client_settings, serializer=serializer, transport=tap, name="client")
    async with server.serving(), client:
        yield client, server, tap


def bare(message: Any) -> Any:
    """Return a message without its signature."""
    headers = {name: value for name, value in (message.headers or {}).items() if name != SIGNATURE}
    return message._replace(headers=headers or None)


def strip(tap: Any, kind: str) -> None:
    tap.out = lambda sent, request: bare(request) if sent == kind else request
