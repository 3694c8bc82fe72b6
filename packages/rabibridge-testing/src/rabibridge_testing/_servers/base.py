"""What every broker can do, no matter who runs it."""

from __future__ import annotations

import contextlib
import secrets
import socket
import struct
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from types import TracebackType

_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
# rabbitmqctl takes about a second, however much it does: virtual hosts are made in batches.
_VHOST_BATCH = 16


class BrokerError(RuntimeError):
    """A broker could not be started, or cannot do what was asked of it."""


class Broker(ABC):
    """A RabbitMQ that can be used as a context manager: it runs inside, and what we started stops at the end.

    Attributes:
        host: the address it listens on.
        port: its AMQP port.
        username: a user with every permission.
        password: that user's password.
    """

    def __init__(self, host: str, port: int, username: str = "guest", password: str = "guest") -> None:  # noqa: S107 - of a private node on loopback
        """Keep the address; nothing is started."""
        self.host = host
        self.port = port
        self.username = username
        self.password = password
        self._vhosts: list[str] = []
        self._returned: list[str] = []

    @property
    def url(self) -> str:
        """The AMQP URL of the default virtual host."""
        return self.url_of("/")

    def url_of(self, vhost: str) -> str:
        """Return the AMQP URL of a virtual host."""
        user, password = quote(self.username, safe=""), quote(self.password, safe="")
        return f"amqp://{user}:{password}@{self.host}:{self.port}/{quote(vhost, safe='') if vhost != '/' else ''}"

    @abstractmethod
    def start(self, timeout: float = 120.0) -> None:
        """Start it and return when it takes connections; `BrokerError` if it does not within ``timeout`` seconds."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it for good and throw its data away; stopping twice does no harm."""

    @abstractmethod
    def kill(self) -> None:
        """End it as a power cut would: at once, without a word to anybody."""

    @abstractmethod
    def ctl(self, *args: str, timeout: float = 60.0) -> str:
        """Run ``rabbitmqctl`` on it and return what it printed; `BrokerError` if it fails."""

    @abstractmethod
    def running(self) -> bool:
        """Return whether its process runs."""

    def restart(self, timeout: float = 120.0) -> None:
        """Kill it if it runs and start it again, on the same port and with the same data."""
        if self.running():
            self.kill()
        self.start(timeout)

    def fresh_vhost(self) -> str:
        """Return the URL of a virtual host that nobody has used; it lives until `give_back`, or as the broker does."""
        if not self._vhosts:
            self._vhosts = self._add_vhosts([f"test-{secrets.token_hex(6)}" for _ in range(_VHOST_BATCH)])
        return self.url_of(self._vhosts.pop())

    def give_back(self, url: str) -> None:
        """Say that a virtual host from `fresh_vhost` is no longer used: it is removed when others are made.

        RabbitMQ looks through the exchanges of all virtual hosts for each one that it makes.
        """
        self._returned.append(unquote(urlsplit(url).path[1:]))

    def _add_vhosts(self, names: list[str]) -> list[str]:
        binaries, used = (", ".join(f'<<"{name}">>' for name in group) for group in (names, self._returned))
        self._returned = []
        user = f'<<"{self.username}">>'
        self.ctl(
            "eval",
            f"[catch rabbit_vhost:delete(V, {user}) || V <- [{used}]], "  # a test may have removed it
            f"[begin rabbit_vhost:add(V, {user}), rabbit_auth_backend_internal:set_permissions("
            f'{user}, V, <<".*">>, <<".*">>, <<".*">>, {user}) end || V <- [{binaries}]].',
        )
        return names

    def answers(self) -> bool:
        """Return whether this broker speaks AMQP on the port."""
        with (
            contextlib.suppress(OSError, struct.error),
            socket.create_connection((self.host, self.port), timeout=5) as connection,
            connection.makefile("rb") as received,
        ):
            connection.sendall(_PROTOCOL_HEADER)
            kind, _, size = struct.unpack(">BHI", received.read(7))
            # A method frame: Connection.Start.
            return kind == 1 and self._is_start_of_this_broker(received.read(size))
        return False

    def _is_start_of_this_broker(self, start: bytes) -> bool:
        """Return whether the method Connection.Start is sent by this broker, and not by one that took its port."""
        return True

    def _await_answer(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self.answers():
            if not self.running():
                raise BrokerError(f"{self!r} ended while it started.{self._why()}")
            if time.monotonic() > deadline:
                raise BrokerError(f"{self!r} did not answer within {timeout:g} s.{self._why()}")
            time.sleep(0.1)

    def _why(self) -> str:
        return ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self.port}>"

    def __enter__(self) -> Self:
        if not self.running():
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class GivenBroker(Broker):
    """A broker that somebody else runs, known by its URL: it can be used, not governed."""

    def __init__(self, url: str) -> None:
        """Take the address apart; a URL without a user means guest."""
        parts = urlsplit(url)
        super().__init__(
            parts.hostname or "127.0.0.1",
            parts.port or 5672,
            unquote(parts.username or "guest"),
            unquote(parts.password or "guest"),
        )
        self._url = url

    @property
    def url(self) -> str:
        """The URL as it was given."""
        return self._url

    def start(self, timeout: float = 15.0) -> None:
        """Wait until it answers."""
        self._await_answer(timeout)

    def stop(self) -> None:
        """Leave it as it is."""

    def kill(self) -> None:
        """Refuse."""
        raise BrokerError(f"{self!r} is not ours to kill")

    def running(self) -> bool:
        """Return True: what cannot be seen is taken to run."""
        return True

    def ctl(self, *args: str, timeout: float = 60.0) -> str:
        """Refuse."""
        raise BrokerError(f"{self!r} is not ours: rabbitmqctl {' '.join(args)} cannot be run on it")

    def fresh_vhost(self) -> str:
        """Return its one URL: tests on a given broker share a virtual host, so give it to nobody else meanwhile."""
        return self._url

    def give_back(self, url: str) -> None:
        """Leave the virtual host as it is."""
