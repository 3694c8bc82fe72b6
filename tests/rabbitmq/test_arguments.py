"""How the arguments of a call meet the signature of its function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import InvalidArgumentsError, RemoteExecutionError
from tests.support.waiting import soon

if TYPE_CHECKING:
    from tests.rabbitmq.support import Stage


async def test_positional_and_keyword_arguments(stage: Stage) -> None:
    async def show(first: Any, /, second: Any = 2, *rest: Any, key: Any = None, **more: Any) -> list[Any]:
        return [first, second, rest, key, more]

    name = await stage.serve(show)
    client = await stage.client()
    assert await soon(client.remote_call(name, (1,))) == [1, 2, [], None, {}]
    assert await soon(client.remote_call(name, [1, 3, 4, 5])) == [1, 3, [4, 5], None, {}]
    assert await soon(client.remote_call(name, (1,), {"second": 4, "key": "k", "x": [1, {"y": 2}]})) == [
        1, 4, [], "k", {"x": [1, {"y": 2}]},
    ]  # fmt: skip


async def test_validation_converts_and_refuses(stage: Stage) -> None:
    ran: list[object] = []

    async def add(left: int, right: int = 1) -> int:
        ran.append((left, right))
        return left + right

    def add_in_a_thread(left: int, right: int = 1) -> int:
        ran.append((left, right))
        return left + right

    one, other = stage.register(add, validate=True), stage.register(add_in_a_thread, validate=True)
    await stage.server(add, add_in_a_thread)
    client = await stage.client()
    for name in (one, other):
        ran.clear()
        assert await soon(client.remote_call(name, ("2",), ftype="any")) == 3
        for args, kwargs in ((("many",), {}), ((), {}), ((1, 2, 3), {}), ((1,), {"wrong": 1})):
            with pytest.raises(InvalidArgumentsError) as refused:
                await soon(client.remote_call(name, args, kwargs, "any"))
            assert refused.value.executed is False
            assert refused.value.func_name == name
        assert ran == [(2, 1)]


async def test_arguments_that_do_not_fit_the_signature(stage: Stage) -> None:
    ran: list[object] = []

    async def one(number: int) -> None:
        ran.append(number)

    def one_in_a_thread(number: int) -> None:
        ran.append(number)

    names = stage.register(one), stage.register(one_in_a_thread)
    await stage.server(one, one_in_a_thread)
    client = await stage.client()
    for name in names:
        for args, kwargs in (((), {}), ((1, 2), {}), ((1,), {"more": 2}), ((1,), {"number": 2})):
            with pytest.raises(InvalidArgumentsError) as refused:
                await soon(client.remote_call(name, args, kwargs, "any"))
            assert refused.value.error_type == "builtins.TypeError"
            assert name.rsplit("_", 1)[0] in refused.value.error_message
    assert ran == []


async def test_a_type_error_inside_the_function_is_no_invalid_argument(stage: Stage) -> None:
    async def broken(number: Any) -> Any:
        return number + "text"

    name = await stage.serve(broken)
    client = await stage.client()
    with pytest.raises(RemoteExecutionError) as failure:
        await soon(client.remote_call(name, (1,)))
    assert type(failure.value) is RemoteExecutionError
    assert failure.value.executed is True
