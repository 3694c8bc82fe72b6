"""How declared errors travel: headers, fields of any type, versions of a class, several hops, what cannot be sent."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import RemoteExecutionError, ServiceError, register_call
from rabibridge_core._codec.codec import Codec
from rabibridge_core._protocol.payloads import decode_reply
from rabibridge_core._protocol.service_errors import FIELDS_MAX, as_listed
from rabibridge_core.errors._declared import _classes
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import Reply
from rabibridge_testing import MemoryBroker
from tests.unit.scripted_requests import PATIENCE
from tests.unit.service_errors_support import (
    FAILURE_HEADERS,
    Anything,
    Colour,
    Detailed,
    Line,
    Rich,
    SoldOut,
    answer,
    decoded,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@asynccontextmanager
async def _serving(*functions: Callable[..., Any], **limits: Any) -> AsyncIterator[MemoryBroker]:
    broker = MemoryBroker()
    server = RpcServer(transport=broker.transport(), settings=load_settings(require_broker=False))
    for function in functions:
        server.add_service(function, **limits)
    async with server:
        serving = asyncio.create_task(server.run_serve(signals=False))
        await server.wait_serving()
        yield broker
        server.stop()
        await serving


def _client(broker: MemoryBroker, serializer: str = "msgpack") -> RpcClient:
    settings = load_settings(require_broker=False)
    return RpcClient(transport=broker.transport(), settings=settings, serializer=serializer)


async def test_the_headers_of_a_declared_error() -> None:
    request = await answer(SoldOut("A-17", left=2))
    headers = request.error
    assert headers["rb-error"] == "execution"
    assert headers["rb-error-type"] == "tests.unit.service_errors_support.SoldOut"
    assert headers["rb-error-message"] == "tests.sold_out: sku='A-17', left=2"
    assert headers["rb-error-code"] == "tests.sold_out"
    assert Codec().decode(headers["rb-error-fields"], "application/msgpack") == {"sku": "A-17", "left": 2}
    assert "in fails" in request.answer[1]
    assert (await answer(LookupError("no"))).error.keys().isdisjoint({"rb-error-code", "rb-error-fields"})


@pytest.mark.parametrize("serializer", ["msgpack", "json"])
async def test_fields_are_what_their_annotations_say(serializer: str) -> None:
    async def buy() -> None:
        raise Detailed([("a", 1)], {"b": 2})

    async with _serving(buy) as broker, _client(broker, serializer) as client:
        with pytest.raises(Detailed) as failure:
            await client.remote_call("buy", timeout=PATIENCE)
        assert failure.value == Detailed([("a", 1)], {"b": 2.0})
        assert type(failure.value.pairs[0]) is tuple
        assert failure.value.func_name == "buy"
        assert failure.value.error_type.endswith(".Detailed")
        assert "in buy" in failure.value.remote_traceback
        assert "in buy" in failure.value.__notes__[0]


@pytest.mark.parametrize("serializer", ["msgpack", "json"])
async def test_fields_of_types_that_formats_do_not_have(serializer: str) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    error = Rich(at, Colour.RED, [Line(Decimal("1.10")), Line(Decimal(2), count=3)], {"a", "b"})

    async def buy() -> None:
        raise error

    async with _serving(buy) as broker, _client(broker, serializer) as client:
        with pytest.raises(Rich) as failure:
            await client.remote_call("buy", timeout=PATIENCE)
        assert failure.value == error
        assert type(failure.value.lines[0].price) is Decimal
        assert failure.value is not error


async def test_a_sync_function_and_try_remote_call() -> None:
    def buy() -> None:
        try:
            raise KeyError("A-17")
        except KeyError as error:
            raise SoldOut("A-17") from error

    async with _serving(buy) as broker, _client(broker) as client:
        reached, (code, error) = await client.try_remote_call("buy", (), {}, "sync", timeout=PATIENCE)
        assert (reached, code, error) == (True, 1, SoldOut("A-17"))
        assert error.remote_traceback.index("KeyError") < error.remote_traceback.index("direct cause")


async def test_many_errors_are_caught_as_a_group() -> None:
    async def buy(sku: str) -> None:
        raise SoldOut(sku)

    async with _serving(buy) as broker, _client(broker) as client:
        caught: list[str] = []
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(client.remote_call("buy", ("A",), timeout=PATIENCE))
        except* SoldOut as errors:
            caught += [error.sku for error in errors.exceptions if isinstance(error, SoldOut)]
        assert caught == ["A"]


async def test_a_group_that_a_function_raises_is_no_declared_error() -> None:
    request = await answer(ExceptionGroup("several", [SoldOut("A"), SoldOut("B")]))
    assert request.error["rb-error-type"] == "builtins.ExceptionGroup"
    assert "rb-error-code" not in request.error
    assert "sku='B'" in request.answer[1]


def test_a_code_that_nobody_has_declared() -> None:
    error = decoded({"rb-error-code": "tests.unknown", "rb-error-fields": '{"sku":"A","n":[1,2]}'})
    assert type(error) is RemoteExecutionError
    assert (error.code, error.fields) == ("tests.unknown", {"sku": "A", "n": [1, 2]})
    assert (error.error_type, error.error_message) == ("shop.SoldOut", "no more")
    assert decoded({}).code is None
    assert decoded({}).fields == {}


def test_no_class_is_found_by_a_name_from_the_wire() -> None:
    error = decoded({"rb-error-type": "tests.unit.service_errors_support.SoldOut", "rb-error-code": "x"})
    assert type(error) is RemoteExecutionError


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (
            '{"sku":"A","left":"many"}',
            "field 'left' does not fit its annotation: field 'left': Input should be",
        ),
        ('{"left":1}', "field 'sku' is missing"),
        ('["A",1]', "not a map"),
        ("{", "cannot be decoded as json"),
        (b"\xc1", "cannot be decoded as msgpack"),
        (b"\x81\x01\x02", "not a map|cannot be decoded"),
        ("", "could not send them"),
        (17, "must be text or bytes"),
        ('{"sku":"' + "x" * FIELDS_MAX + '"}', "must be text or bytes, at most 16384"),
    ],
)
def test_fields_that_do_not_fit(fields: Any, why: str) -> None:
    error = decoded({"rb-error-code": "tests.sold_out", "rb-error-fields": fields})
    assert type(error) is RemoteExecutionError
    assert error.code == "tests.sold_out"
    assert re.search(why, error.__notes__[-1])


def test_versions_of_a_class() -> None:
    newer = '{"sku":"A","left":1,"since":"May","code":"x","func_name":"x","__class__":"x"}'
    error = decoded({"rb-error-code": "tests.sold_out", "rb-error-fields": newer})
    assert error == SoldOut("A", 1)
    assert (error.code, error.func_name) == ("tests.sold_out", "buy")
    assert not hasattr(error, "since")
    assert decoded({"rb-error-code": "tests.sold_out", "rb-error-fields": '{"sku":"A"}'}) == SoldOut("A", 0)
    assert decoded({"rb-error-code": "tests.anything"}) == Anything()


def test_only_what_a_function_raised_is_a_declared_error() -> None:
    headers = {"rb-error-code": "tests.anything"}
    for kind in ("arguments", "request", "result", "dead"):
        assert not isinstance(decoded({**headers, "rb-error": kind}), ServiceError)


def test_a_body_that_cannot_be_read() -> None:
    headers = {**FAILURE_HEADERS, "rb-error-code": "tests.sold_out", "rb-error-fields": '{"sku":"A"}'}
    with pytest.raises(SoldOut) as failure:
        decode_reply(Codec(), Reply(b"?", "application/pickle", None, headers), "buy", b"17")
    assert failure.value.sku == "A"
    assert "cannot be read" in failure.value.__notes__[-1]


def test_a_list_of_classes_comes_before_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    error = decoded({"rb-error-code": "tests.sold_out", "rb-error-fields": '{"sku":"A"}'})
    other = type("Another", (SoldOut,), {}, code="tests.other")
    monkeypatch.setattr(other, "code", "tests.sold_out")  # as of a class that was declared again since
    found = as_listed(error, (Anything, other))
    assert type(found) is other
    assert isinstance(found, SoldOut)
    assert (found.sku, found.func_name, found.remote_traceback) == ("A", "buy", "Traceback ...")
    assert as_listed(error, (SoldOut,)) is error
    assert as_listed(error, (Anything,)) is error
    plain = decoded({})
    assert as_listed(plain, (SoldOut,)) is plain


async def test_a_function_lists_the_classes_of_its_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    old = type("Reloaded", (SoldOut,), {"__annotations__": {}, "__module__": "once"}, code="tests.reloaded_later")

    @register_call(raises=(old,))
    async def buy(number: int) -> None:
        raise old("A-17", left=number)

    new = type("Reloaded", (SoldOut,), {"__annotations__": {}, "__module__": "once"}, code="tests.reloaded_later")
    async with _serving(buy) as broker, _client(broker) as client, asyncio.timeout(PATIENCE):
        with pytest.raises(new) as by_name:
            await client.call("buy", 1)
        assert type(by_name.value) is new
        for call in (client.call(buy, 1), client.stub(buy)(1), client.call(client.stub(buy), 1)):
            with pytest.raises(old) as failure:
                await call
            assert failure.value == old("A-17", left=1)
            assert "in buy" in vars(failure.value)["remote_traceback"]
        found = [each async for each in client.map(buy, [1, 2], return_exceptions=True)]
        assert found == [old("A-17", left=1), old("A-17", left=2)]


_WITHOUT_PYDANTIC = """
import sys
from rabibridge_core._codec.codec import Codec
from rabibridge_core._protocol.large_bodies import LargeBodyError
from rabibridge_core._protocol.payloads import decode_reply
from rabibridge_core.errors import ServiceError
from rabibridge_core.transport import Reply

class Sized(ServiceError, code="sized"):
    sizes: tuple[int, ...]

headers = {"rb-error": "execution", "rb-error-code": "sized", "rb-error-fields": '{"sizes":[1]}'}
body, content_type, encoding = Codec().encode([1, "text"])
reply = Reply(body, content_type, encoding, headers)
try:
    decode_reply(Codec(), reply, "buy", b"1")
except LargeBodyError:
    assert "pydantic" not in sys.modules
for on_loop in (False, True):
    try:
        decode_reply(Codec(), reply, "buy", b"1", on_loop)
    except Sized as error:
        print(error.sizes)
"""


def test_pydantic_is_not_imported_on_the_event_loop() -> None:
    done = subprocess.run([sys.executable, "-c", _WITHOUT_PYDANTIC], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(1,)\n(1,)\n", "")


async def test_two_hops() -> None:
    """A gateway lets the errors of the service behind it through, whether it knows their classes or not."""

    async def behind(known: bool) -> None:
        raise SoldOut("A-17", left=2)

    broker_behind = MemoryBroker()

    async def gateway(known: bool) -> None:
        async with _client(broker_behind) as client:
            if not known:
                _classes.pop("tests.sold_out")
            try:
                with pytest.raises(RemoteExecutionError) as failure:
                    await client.remote_call("behind", (known,), timeout=PATIENCE)
            finally:
                _classes["tests.sold_out"] = SoldOut
            assert isinstance(failure.value, SoldOut) is known
            raise failure.value

    server = RpcServer(transport=broker_behind.transport(), settings=load_settings(require_broker=False))
    server.add_service(behind)
    async with server, _serving(gateway) as broker, _client(broker) as client:
        serving = asyncio.create_task(server.run_serve(signals=False))
        for known in (True, False):
            with pytest.raises(SoldOut) as failure:
                await client.remote_call("gateway", (known,), timeout=PATIENCE)
            assert failure.value == SoldOut("A-17", left=2)
            assert failure.value.func_name == "gateway"
            assert "in behind" in failure.value.remote_traceback
        server.stop()
        await serving
