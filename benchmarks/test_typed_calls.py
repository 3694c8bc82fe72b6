"""Measures what a call by the function itself costs more than one by a name and a tuple."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core import register_call
from rabibridge_core.rpc import RpcClient

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from rabibridge_testing import FakeBroker

_CALLS = 100


@register_call
async def echo(x: int) -> int:
    return x


_WAYS: dict[str, Callable[[RpcClient], Callable[[int], Awaitable[Any]]]] = {
    "remote_call": lambda client: lambda x: client.remote_call("echo", (x,), timeout=10),
    "call": lambda client: lambda x: client.call(echo, x),
    "call by name": lambda client: lambda x: client.call("echo", x),
    "view": lambda client: _view(client),
    "view of each call": lambda client: lambda x: client.options(timeout=10).call(echo, x),
    "stub": lambda client: client.stub(echo, timeout=10),
}


def _view(client: RpcClient) -> Callable[[int], Awaitable[int]]:
    view = client.options(timeout=10)
    return lambda x: view.call(echo, x)


@pytest.mark.benchmark(group=f"ways to call, {_CALLS} calls")
@pytest.mark.parametrize("way", _WAYS)
def test_ways_to_call(
    fake_broker: FakeBroker, runner: asyncio.Runner, measure_calls: Callable[..., None], way: str
) -> None:
    fake_broker.add_service(echo)
    client = RpcClient()
    runner.run(client.connect())
    measure_calls(_WAYS[way](client), _CALLS, 1)
    runner.run(client.close())
