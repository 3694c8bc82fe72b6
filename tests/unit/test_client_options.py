"""``client.options``: views of a client."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core import ConfigurationError, RetryRefused, current_call
from rabibridge_core.rpc import RpcClient

if TYPE_CHECKING:
    from rabibridge_core._api.calls import Calls
    from rabibridge_testing import FakeBroker


async def add(left: int, right: int) -> int:
    return left + right


def options_of(calls: Calls, kind: Any = "async") -> Any:
    return calls._prepare(kind)[1]


NONE = ("async", None, False, None, False, True, None, None)


async def test_without_options_a_view_calls_as_its_client(fake_broker: FakeBroker) -> None:
    retry = RetryRefused(attempts=3)
    async with RpcClient() as client, RpcClient(retry=retry) as retrying:
        assert options_of(client) == options_of(client.options()) == NONE
        assert options_of(retrying) == options_of(retrying.options()) == (*NONE[:6], retry, None)
        assert options_of(retrying.options(retry=False)) == NONE


async def test_options_add_up(fake_broker: FakeBroker) -> None:
    async with RpcClient() as client:
        first = client.options(timeout=2, idempotent=True, headers={"a": 1, "b": 1})
        second = first.options(kind="any", idempotent=False, persistent=True, headers={"b": 2})
        assert options_of(first) == ("async", 2, True, None, False, True, None, {"a": 1, "b": 1})
        assert options_of(second) == ("any", 2, False, None, True, True, None, {"a": 1, "b": 2})
        third = second.options(inherit_deadline=False, idempotency_key="k", timeout=timedelta(seconds=1))
        assert options_of(third) == ("any", timedelta(seconds=1), False, "k", True, False, None, {"a": 1, "b": 2})
        assert options_of(first) == ("async", 2, True, None, False, True, None, {"a": 1, "b": 1})


async def test_a_view_says_whose_it_is(fake_broker: FakeBroker) -> None:
    async with RpcClient(name="gateway") as client:
        view = client.options(timeout=2).options(headers={"a": 1})
        assert repr(view) == f"<ClientView of {client!r}: timeout=2, headers={{'a': 1}}>"
        assert repr(client.options()) == f"<ClientView of {client!r}: no options>"


async def test_a_view_lives_as_long_as_its_client(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(add)
    client = RpcClient()
    view = client.options(timeout=5)
    async with client:
        assert await view.call(add, 1, 2) == 3
    async with client:
        assert await view.call(add, 1, 2) == 3
        assert await view.remote_call("add", (1, 2)) == 3
        assert await view.try_remote_call("add", (1,), {"right": 2}) == (True, (0, 3))
        assert (await view.try_remote_call("add", (1,)))[0] is True
        assert (await view.try_remote_call("nothing"))[0] is False


async def test_headers_and_time_reach_the_function(fake_broker: FakeBroker) -> None:
    async def seen() -> list[Any]:
        return [current_call().headers["tenant"], current_call().time_left]

    fake_broker.add_service(seen)
    async with RpcClient() as client:
        tenant, time_left = await client.options(timeout=50, headers={"tenant": "a"}).call(seen)
        assert tenant == "a"
        assert 0 < time_left <= 50


@pytest.mark.parametrize(
    ("wrong", "allowed"),
    [
        ({"kind": "both"}, "'async', 'sync', or 'any'"),
        ({"timeout": "1"}, "seconds or a timedelta"),
        ({"idempotent": 1}, "True or False"),
        ({"persistent": "yes"}, "True or False"),
        ({"inherit_deadline": 0}, "True or False"),
        ({"idempotency_key": ""}, "1 to 200 characters"),
        ({"retry": True}, "RetryRefused"),
        ({"headers": ["a"]}, "dict"),
        ({"headers": {"rb-x": 1}}, "reserved"),
    ],
    ids=lambda value: str(value),
)
async def test_a_wrong_option_is_refused_where_it_is_given(
    fake_broker: FakeBroker, wrong: dict[str, Any], allowed: str
) -> None:
    async with RpcClient() as client:
        for calls in (client, client.options(timeout=math.inf)):
            with pytest.raises(ConfigurationError, match=allowed):
                calls.options(**wrong)
    with pytest.raises(TypeError, match="timout"):
        client.options(timout=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
