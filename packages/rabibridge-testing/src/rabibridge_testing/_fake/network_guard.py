"""Refuses network connections while a test is on the broker in memory, and fails the test that tried one.

A test may reach a real broker in spite of the fixture: by a client of another library, by a helper that opens a socket,
or by a client that was connected before and connects again. An audit hook sees every ``connect()`` of a socket, so
nothing is replaced. Sockets of the file system are none of its business.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import FrameType

__all__ = ["NetworkGuard", "NetworkRefusedError"]

_STANDARD_LIBRARY = os.path.dirname(os.__file__)
_OWN_PAIRS = ("socketpair", "_fallback_socketpair")
"""Where a system has no pairs of sockets, event loops connect one to itself."""
_guards: list[NetworkGuard] = []
_hooked = threading.Lock()
"""Held for good by the first guard: a hook cannot be removed."""


class NetworkRefusedError(ConnectionRefusedError):
    """A connection that was tried while a test with ``no_network`` was on the broker in memory."""


class NetworkGuard:
    """Refuses all connections over IP inside its ``with`` block, of all threads of the process."""

    def __init__(self, allowed_hosts: Collection[str] = ()) -> None:
        """Allow connections to these hosts, each an address as the socket gets it, or an address and port (``::1:80``).

        A name is not enough where a library resolves it before it connects.
        """
        self._allowed = frozenset(allowed_hosts)
        self._attempts: list[str] = []

    def __enter__(self) -> NetworkGuard:
        _guards.append(self)
        if _hooked.acquire(blocking=False):
            sys.addaudithook(_audit)
        return self

    def __exit__(self, *exc_info: object) -> None:
        _guards.remove(self)

    def check(self, host: str, port: int, frame: FrameType | None) -> None:
        """Refuse a connection that ``frame`` tries to open.

        Raises:
            NetworkRefusedError: it is not allowed.
        """
        if host in self._allowed or f"{host}:{port}" in self._allowed:
            return
        what = f"a connection to {host}:{port}, {_place(frame)}"
        self._attempts.append(what)
        raise NetworkRefusedError(
            f"{what}, is refused: the test is on the broker in memory with no_network. Add {host!r} to its "
            "allowed_hosts if the test needs it"
        )

    def verify(self) -> None:
        """Check that no connection was tried since the last time.

        Raises:
            AssertionError: there were some; it names them.
        """
        __tracebackhide__ = True
        attempts, self._attempts = self._attempts, []
        if attempts:
            raise AssertionError("no_network: the test tried to open\n" + "\n".join(f"  {one}" for one in attempts))


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event != "socket.connect" or not _guards:
        return
    connecting, address = args
    if connecting.family not in (socket.AF_INET, socket.AF_INET6):
        return
    frame: FrameType | None = sys._getframe(1)
    if frame is not None and frame.f_code.co_name in _OWN_PAIRS and frame.f_code.co_filename == socket.__file__:
        return
    _guards[-1].check(str(address[0]), int(address[1]), frame)


def _place(frame: FrameType | None) -> str:
    """Return the innermost place outside of the standard library, in words."""
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(("<", _STANDARD_LIBRARY)) or "site-packages" in code.co_filename:
            return f"opened in {code.co_name} ({code.co_filename}:{frame.f_lineno})"
        frame = frame.f_back
    return "opened in a place that is not known"
