"""Opens the TCP connection to a host name that may have several addresses, some of which may not answer (RFC 8305).

``create_connection`` of the event loop is not enough: asyncio tries the addresses one after the other unless told
otherwise, and uvloop cannot be told.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, TypeAlias

from rabibridge._connection.channel_numbers import UserLimit
from rabibridge_core._concurrency.forks import call_after_fork

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from rabibridge_core.settings.endpoints import Endpoint

__all__ = ["Dialer"]

_NEXT_ADDRESS_DELAY = 0.25
"""How long an address may take before the next one is tried beside it, in seconds (RFC 8305, section 5)."""

_Address: TypeAlias = "tuple[int, int, int, Any]"
"""Family, type and protocol of a socket, and where it connects to."""


class Dialer:
    """Connects to host names, and remembers of each what matters for the connections that follow.

    An address at which no log-in succeeded is the last one to be tried next time.
    """

    def __init__(self, resolve: Callable[[str, int], Awaitable[list[Any]]] | None = None) -> None:
        """Know nothing about any address yet; ``resolve`` is used instead of the event loop's ``getaddrinfo``."""
        self._look_up = resolve or _look_up
        self._without_log_in: set[Any] = set()
        self._last: Any = None
        self._user_limits: dict[Endpoint, UserLimit] = {}

    async def connect(self, host: str, port: int) -> socket.socket:
        """Return a connected socket: the first of all addresses that answers.

        Raises:
            OSError: the name cannot be resolved, or no address can be reached.
        """
        addresses = await self._resolve(host, port)
        attempts: set[asyncio.Task[socket.socket]] = set()
        failures: list[BaseException] = []
        try:
            while addresses or attempts:
                if addresses:
                    attempts.add(asyncio.create_task(_connect(addresses.pop(0))))
                delay = _NEXT_ADDRESS_DELAY if addresses else None
                done, attempts = await asyncio.wait(attempts, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
                connected = [attempt.result() for attempt in done if attempt.exception() is None]
                if connected:
                    for extra in connected[1:]:
                        extra.close()
                    self._last = connected[0].getpeername()
                    return connected[0]
                failures += filter(None, (attempt.exception() for attempt in done))
        finally:
            await _give_up(attempts)
        raise failures[0] if len(failures) == 1 else OSError("; ".join(dict.fromkeys(map(str, failures))))

    async def _resolve(self, host: str, port: int) -> list[_Address]:
        """Return all addresses, of the two families in turn, those without a log-in at the end."""
        found = await self._look_up(host, port)
        addresses = [(family, kind, protocol, address) for family, kind, protocol, _, address in found]
        first = [address for address in addresses if address[0] == addresses[0][0]]
        others = [address for address in addresses if address[0] != addresses[0][0]]
        in_turn = filter(None, chain.from_iterable(zip_longest(first, others)))
        return sorted(in_turn, key=lambda address: address[3] in self._without_log_in)

    def user_limit(self, endpoint: Endpoint) -> UserLimit:
        """Return what is known of the limit of channels of a user, from all connections that were made."""
        return self._user_limits.setdefault(endpoint, UserLimit())

    def log_in_failed(self) -> None:
        """Called when the address that answered last let nobody log in."""
        self._without_log_in.add(self._last)

    def log_in_succeeded(self) -> None:
        """Called when the address that answered last works."""
        self._without_log_in.discard(self._last)


class _Attempt:
    """A socket that is being connected; a forked child closes its copy."""

    def __init__(self, family: int, kind: int, protocol: int) -> None:
        self.socket = socket.socket(family, kind, protocol)
        call_after_fork(self)

    def after_fork(self) -> None:
        self.socket.close()


# getaddrinfo() and sock_connect() of uvloop are not used: they start threads of libuv, for which a forked child that
# exits waits in vain, as they run in its parent only (uv__threadpool_cleanup; seen with glibc 2.43).


async def _look_up(host: str, port: int) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:  # a name, not an address
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        return await asyncio.get_running_loop().run_in_executor(None, look_up)


async def _sock_connect(sock: socket.socket, address: Any) -> None:
    loop = asyncio.get_running_loop()
    if isinstance(loop, asyncio.BaseEventLoop):
        return await loop.sock_connect(sock, address)
    try:
        sock.connect(address)
    except (BlockingIOError, InterruptedError):
        ready = asyncio.Event()
        loop.add_writer(sock, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(sock)
        if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, f"Connect call failed {address}") from None
    return None


async def _connect(address: _Address) -> socket.socket:
    family, kind, protocol, where = address
    attempt = _Attempt(family, kind, protocol)
    try:
        attempt.socket.setblocking(False)
        attempt.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await _sock_connect(attempt.socket, where)
    except BaseException:
        attempt.socket.close()
        raise
    return attempt.socket


async def _give_up(attempts: Iterable[asyncio.Task[socket.socket]]) -> None:
    for attempt in attempts:
        attempt.cancel()
    for late in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(late, socket.socket):
            late.close()
