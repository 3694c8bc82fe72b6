"""What cannot be called or served is refused in the same words in memory, on RabbitMQ and on Redis."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

from rabibridge import RMQClient, RMQServer
from rabibridge.settings import RABBITMQ
from rabibridge_testing import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge_testing import MemoryTransport

_CALLS: dict[str, Callable[[Any, str], Awaitable[Any]]] = {
    "an object": lambda client, name: client.call(name, object()),
    "a key that is no text": lambda client, name: client.call(name, {object(): 1}),
    "too few arguments": lambda client, name: client.call(name),
    "too many arguments": lambda client, name: client.call(name, 1, 2),
    "an argument that it does not have": lambda client, name: client.call(name, value=1, other=2),
    "nobody": lambda client, name: client.call(f"{name}_nobody", 1),
    "nobody, notified": lambda client, name: client.notify(f"{name}_nobody", 1),
    "the other kind": lambda client, name: client.options(kind="sync").call(name, 1),
    "an unknown kind": lambda client, name: client.options(kind="other").call(name, 1),
    "no name": lambda client, name: client.call("", 1),
    "a name with a blank": lambda client, name: client.call("a b", 1),
    "no time": lambda client, name: client.options(timeout=0).call(name, 1),
    "less than no time": lambda client, name: client.options(timeout=-1).call(name, 1),
    "a time that is no number": lambda client, name: client.options(timeout=float("nan")).call(name, 1),
    "a time that is a text": lambda client, name: client.options(timeout="1").call(name, 1),
    "headers that are no mapping": lambda client, name: client.options(headers=[1]).call(name, 1),
    "a header that is an object": lambda client, name: client.options(headers={"a": object()}).call(name, 1),
    "a reserved header": lambda client, name: client.options(headers={"x-rb-a": "1"}).call(name, 1),
    "an unknown class": lambda client, name: client.options(criticality="A B").call(name, 1),
    "a key that is a number": lambda client, name: client.options(idempotency_key=1).call(name, 1),
    "an empty key": lambda client, name: client.options(idempotency_key="").call(name, 1),
    "a key that is too long": lambda client, name: client.options(idempotency_key="a" * 1000).call(name, 1),
    "retries that are a number": lambda client, name: client.options(retry=3).call(name, 1),
    "a stream of no stream": lambda client, name: _items(client, name),
    "a call of a stream": lambda client, name: client.call(f"{name}_items", 1),
    "an error": lambda client, name: client.call(f"{name}_fails", 1),
    "a result that cannot be sent": lambda client, name: client.call(f"{name}_object", 1),
}
_SERVICES: dict[str, Callable[[Any, str], Any]] = {
    "the same name again": lambda server, name: server.add_service(lambda value: value, name=name),
    "no callable": lambda server, name: server.add_service(1, name=name),
    "no fetch_size": lambda server, name: server.add_service(_echo, fetch_size=0, name=f"{name}_1"),
    "a queue_size below 0": lambda server, name: server.add_service(_echo, queue_size=-1, name=f"{name}_1"),
    "a timeout below 0": lambda server, name: server.add_service(_echo, timeout=-1, name=f"{name}_1"),
    "an unknown delivery": lambda server, name: server.add_service(_echo, delivery="twice", name=f"{name}_1"),
    "an unknown type of queue": lambda server, name: server.add_service(_echo, queue_type="odd", name=f"{name}_1"),
    "at-most-once and idempotent": lambda server, name: server.add_service(
        _echo, delivery="at-most-once", idempotent=True, name=f"{name}_1"
    ),
    "a name with a blank": lambda server, name: server.add_service(_echo, name="a b"),
    "an unknown executor": lambda server, name: server.add_service(_echo, executor="odd", name=f"{name}_1"),
}


async def _echo(value: Any) -> Any:
    return value


async def _fails(value: Any) -> Any:
    raise ValueError(f"no {value}")


async def _object(value: Any) -> Any:
    return object()


async def _stream(value: Any) -> Any:
    yield value


async def _items(client: RMQClient, name: str) -> list[Any]:
    return [item async for item in client.stream(name, 1)]


def _memory() -> dict[str, MemoryTransport]:
    return {"transport": _broker.transport()}


_broker = MemoryBroker()


async def _outcomes(connection: Callable[[], dict[str, Any]]) -> dict[str, str]:
    """Return what each case ends with, in words."""
    name, ends = f"refused_{secrets.token_hex(6)}", {}
    server, client = RMQServer(**connection()), RMQClient(**connection())
    for function, service in ((_echo, name), (_fails, f"{name}_fails"), (_object, f"{name}_object")):
        server.add_service(function, name=service)
    server.add_service(_stream, name=f"{name}_items")
    ends["before connect()"] = await _end(lambda: client.call(name, 1))
    for case, register in _SERVICES.items():
        ends[f"server: {case}"] = await _end(lambda register=register: register(server, name))  # type: ignore[misc]
    async with server.serving():
        await server.wait_serving()
        async with client:
            for case, call in _CALLS.items():
                ends[f"client: {case}"] = await _end(lambda call=call: call(client, name))  # type: ignore[misc]
    ends["after close()"] = await _end(lambda: client.call(name, 1))
    return {case: re.sub(r"0x[0-9a-f]+|\(id [\w-]+\)", "", end.replace(name, "work")) for case, end in ends.items()}


async def _end(do: Callable[[], Any]) -> str:
    try:
        result = do()
        if hasattr(result, "__await__"):
            result = await result
    except Exception as error:  # noqa: BLE001 - whatever it is, it must be the same
        return f"{' '.join(one.__name__ for one in type(error).__mro__)}: {error}"
    return f"a {type(result).__name__}"


def _with_refusals() -> dict[str, Any]:
    given = _memory()
    given["transport"].refusals = RABBITMQ.refusals()
    return given


async def test_rabbitmq_refuses_in_the_same_words(amqp_url: str) -> None:
    in_memory, outside = await _outcomes(_with_refusals), await _outcomes(lambda: {"url": amqp_url})
    assert in_memory == outside


async def test_redis_refuses_in_the_same_words(redis_url: str) -> None:
    in_memory, outside = await _outcomes(_memory), await _outcomes(lambda: {"url": redis_url})
    assert in_memory == outside
