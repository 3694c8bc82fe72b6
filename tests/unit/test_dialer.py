"""One host name with several addresses: some are silent, some refuse, some let nobody log in."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge._connection.dialer import Dialer
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import Iterator


class Addresses:
    """Addresses of this machine that behave as told, and a dialer to which one name has all of them."""

    def __init__(self, stack: ExitStack) -> None:
        self.found: list[Any] = []
        self._stack = stack
        self.dialer = Dialer(self._resolve)

    async def _resolve(self, host: str, port: int) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in self.found]

    def _bound(self) -> socket.socket:
        bound = self._stack.enter_context(socket.socket())
        bound.bind(("127.0.0.1", 0))
        self.found.append(bound.getsockname())
        return bound

    def accepting(self) -> Any:
        self._bound().listen(16)
        return self.found[-1]

    def silent(self) -> Any:
        """Swallow connections, like a node behind a firewall: the queue of a listening socket is full."""
        self._bound().listen(0)
        for _ in range(4):
            waiting = self._stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(self.found[-1])
        return self.found[-1]

    def refusing(self) -> Any:
        self._bound()
        return self.found[-1]

    async def reached(self) -> Any:
        with await soon(self.dialer.connect("rabbit.example", 0)) as connected:
            return connected.getpeername()


@pytest.fixture
def addresses() -> Iterator[Addresses]:
    with ExitStack() as stack:
        yield Addresses(stack)


async def test_the_next_address_is_tried_beside_a_silent_one(addresses: Addresses) -> None:
    addresses.silent()
    addresses.silent()
    living = addresses.accepting()
    assert await addresses.reached() == living


async def test_the_next_address_is_tried_after_one_that_refuses(addresses: Addresses) -> None:
    addresses.refusing()
    living = addresses.accepting()
    assert await addresses.reached() == living


async def test_the_first_that_answers_is_used(addresses: Addresses) -> None:
    first = addresses.accepting()
    addresses.accepting()
    assert await addresses.reached() == first


async def test_all_refuse(addresses: Addresses) -> None:
    addresses.refusing()
    addresses.refusing()
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await addresses.reached()


async def test_an_address_without_a_log_in_comes_last_until_one_succeeds(addresses: Addresses) -> None:
    first, second = addresses.accepting(), addresses.accepting()
    assert await addresses.reached() == first
    addresses.dialer.log_in_failed()
    assert await addresses.reached() == second
    addresses.dialer.log_in_failed()
    assert await addresses.reached() == first  # none is better now
    addresses.dialer.log_in_succeeded()
    assert await addresses.reached() == first


async def test_one_that_is_cancelled_leaves_no_socket_open(addresses: Addresses) -> None:
    addresses.silent()
    connecting = asyncio.create_task(addresses.dialer.connect("rabbit.example", 0))
    await asyncio.sleep(0.01)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(connecting)  # a socket that was left open would fail the test with a ResourceWarning
