"""Names that a peer sends, of errors, classes and values, find nothing here: no class, no function, no module."""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
from enum import Enum
from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]
import pytest
from pydantic import BaseModel

from rabibridge import RabiBridgeError, RemoteExecutionError
from rabibridge._transport.transport import RabbitMQTransport
from rabibridge_core._client.options import CallOptions
from rabibridge_core._protocol.naming import queue_name, routing_keys
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import Reply, ServiceQueue
from rabibridge_testing import MemoryBroker
from rabibridge_testing.conformance.harness import PATIENCE, Bench, Worker, service, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from rabibridge_core._client.client import Client

MSGPACK, JSON, PICKLE = "application/msgpack", "application/json", "application/x-python-pickle"


class Model(BaseModel):
    """What a name could find."""

    value: str = ""


class Colour(Enum):
    """The same."""

    RED = "red"


# The modules of the last two are not imported by anything that these tests import.
NAMES = [
    "os.system", "subprocess.Popen", "builtins.eval", "builtins.SystemExit", f"{__name__}.Model", f"{__name__}.Colour",
    "turtle.Turtle", "antigravity.geohash",
]  # fmt: skip


def _packed(value: Any) -> bytes:
    packed: bytes = msgpack.Packer().pack(value)
    return packed


@pytest.fixture(params=["memory", "rabbitmq"])
async def bench(request: pytest.FixtureRequest, vhost_url: str) -> AsyncIterator[Bench]:
    broker = MemoryBroker()

    async def make() -> Any:
        in_memory = request.param == "memory"
        return broker.transport() if in_memory else RabbitMQTransport(load_settings(url=vhost_url), "bench")

    bench = Bench(make)
    yield bench
    await bench.close()


class Forger:
    """A worker that answers the calls of a client as it likes."""

    def __init__(self, client: Client, worker: Worker, name: str) -> None:
        self._client, self._worker, self._name = client, worker, name

    async def answer(self, reply: Reply) -> Any:
        """Call, and answer this call so."""
        call: asyncio.Task[Any] = asyncio.create_task(
            self._client.call(self._name, (), {}, CallOptions("async", PATIENCE))
        )
        (await self._worker.next()).reply(reply)
        return await soon(call)


@pytest.fixture
async def forger(bench: Bench) -> Forger:
    name, worker = bench.name("forged"), Worker()
    queue = ServiceQueue(queue_name(name, is_async=True), routing_keys(name, is_async=True), None, 16)
    await soon((await bench.transport()).serve(queue, worker))
    return Forger(await bench.client(), worker, name)


async def test_an_error_is_text_whatever_class_it_names(forger: Forger) -> None:
    before = set(sys.modules)
    for name in NAMES:
        headers = {
            "rb-error": "execution",
            "rb-error-type": name,
            "rb-error-types": f"{name},builtins.BaseException",
            "rb-error-message": "echo",
            "rb-error-code": name,
            "rb-error-fields": '{"args":["echo"],"value":"red"}',
        }
        for forged in (headers, {**headers, "rb-error": name}, {}):
            with pytest.raises(RemoteExecutionError) as failed:
                await forger.answer(Reply(_packed([1, f"Traceback\n{name}: echo"]), MSGPACK, None, dict(forged)))
            error = failed.value
            assert type(error) is RemoteExecutionError
            assert error.error_type == name
            assert isinstance(error.error_message, str)
            assert not isinstance(error.__cause__, SystemExit)
    assert set(sys.modules) - before == set()


async def test_a_value_is_no_instance_of_a_class_that_it_names(forger: Forger) -> None:
    before = set(sys.modules)
    for name in NAMES:
        for payload in ("echo", ["echo"], {"args": ["echo"]}):
            body = json.dumps([0, {"$rb": [name, payload]}]).encode()
            with pytest.raises(RabiBridgeError):
                await forger.answer(Reply(body, JSON, None))
        packed = _packed([name, "echo"])
        for code in (0x52, 0x01, 0x7F):
            body = _packed([0, msgpack.ExtType(code, packed)])
            try:
                value = await forger.answer(Reply(body, MSGPACK, None))
            except RabiBridgeError:
                continue
            assert type(value) is msgpack.ExtType  # as msgpack has it: bytes with a number
        plain = {"__class__": name, "__reduce__": [name, ["echo"]], "py/object": name}
        assert await forger.answer(Reply(_packed([0, plain]), MSGPACK, None)) == plain
    assert set(sys.modules) - before == set()


class Touch:
    """What runs a command where it is unpickled."""

    def __init__(self, file: str) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self._file, "w")


async def test_a_pickle_that_nobody_asked_for_runs_nothing(bench: Bench, forger: Forger, tmp_path: Path) -> None:
    file = tmp_path / "touched"
    for content_type in (PICKLE, f"{PICKLE}; sig=v1", "application/x-cloudpickle", MSGPACK, JSON):
        with pytest.raises(RabiBridgeError):
            await forger.answer(Reply(pickle.dumps([0, Touch(str(file))]), content_type, None))
    assert not file.exists()
    ran: list[Any] = []

    async def echo(value: Any) -> None:
        ran.append(value)

    name = bench.name("echo")
    await bench.server(service(echo, name))
    client = await bench.client()
    await client.call(name, ("honest",), {}, CallOptions("async", PATIENCE))
    assert ran == ["honest"]
