"""A request's life on the worker has one owner.

The rule: whatever is raised at whatever step (a hook, decoding, validation, the function, the class of its exception,
encoding, publishing, logging), of whatever class, the request is settled exactly once and answered with what can be
told, its place is given back, nothing of it is kept, and the service continues.

Each test raises at one step, by a plug-in, serializer, handler or exception class of its own, and then counts answers,
places and entries.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Annotated, Any

import pydantic
import pytest

from rabibridge_core._codec.codec import Codec
from rabibridge_core._protocol.remote_errors import EXECUTION, INVALID_ARGUMENTS, REQUEST_REJECTED, RESULT_UNSENDABLE
from tests.unit.request_faults import (
    RAISED,
    FaultySerializer,
    Observer,
    OddError,
    RaisingLogHandler,
    UnpublishableRequest,
    odd_exceptions,
)
from tests.unit.scripted_requests import CODEC, ScriptedRequest, keyed, make_service, outlasting, until

if TYPE_CHECKING:
    from rabibridge_core._server.service import ServiceRunner

PLACES = 2
each_error = pytest.mark.parametrize("raised", RAISED, ids=lambda cls: cls.__name__)
each_kind = pytest.mark.parametrize("kind", ["async", "thread", "at-most-once", "validated", "keyed"])


def _make(kind: str, handler: Any, codec: Codec = CODEC, plugin: object = None) -> ServiceRunner:
    async def async_handler(what: Any = None) -> Any:
        return handler(what)

    def sync_handler(what: Any = None) -> Any:
        return handler(what)

    delivery: Any = "at-most-once" if kind == "at-most-once" else "at-least-once"
    func = sync_handler if kind == "thread" else async_handler
    return make_service(
        func, codec=codec, plugin=plugin, delivery=delivery, fetch_size=PLACES, validate=kind == "validated"
    )


def _request(kind: str, what: Any, codec: Codec = CODEC, cid: bytes = b"1") -> ScriptedRequest:
    if kind == "keyed":
        return keyed((what,), key=cid.decode(), cid=cid, time_left=60.0, codec=codec)
    return ScriptedRequest((what,), correlation_id=cid, time_left=60.0, codec=codec)


async def _settled_once(service: ServiceRunner, *requests: ScriptedRequest) -> None:
    """Wait for the end of these requests; check that nothing is left of them and that all places are free."""
    await until(lambda: not service.active_requests)
    for request in requests:
        assert len([event for event in request.events if event not in ("accepted", "probed")]) == 1, request.events
    assert len(service._processor._deadlines) == 0
    assert not service._deduplication._running
    if service._limiter is not None:
        assert service._limiter._running == 0


async def _process(service: ServiceRunner, *requests: ScriptedRequest) -> None:
    """Give the service these requests, and check how they end."""
    for request in requests:
        service.received(request)
    await _settled_once(service, *requests)


async def _serves(service: ServiceRunner, codec: Codec = CODEC) -> None:
    """Check that the service runs as many further calls as it has places, and still drains."""
    after = [ScriptedRequest(("fine",), correlation_id=b"after %d" % i, codec=codec) for i in range(PLACES + 1)]
    await _process(service, *after)
    assert [request.answer for request in after] == [[0, "fine"]] * (PLACES + 1)
    await service.stop(0)


def _echo(what: Any) -> Any:
    return what


@each_error
@pytest.mark.parametrize("before", [True, False], ids=["received", "finished"])
async def test_hooks(raised: type[BaseException], before: bool) -> None:
    plugin = Observer(raised, before=before)
    service = _make("async", _echo, plugin=plugin)
    requests = [_request("async", "x", cid=b"%d" % i) for i in range(PLACES + 1)]
    await _process(service, *requests)
    assert [request.answer for request in requests] == [[0, "x"]] * (PLACES + 1)  # a plug-in does not affect the call
    assert plugin.calls == 2 * len(requests)
    await _serves(service)


@each_error
@each_kind
async def test_decoding(raised: type[BaseException], kind: str) -> None:
    serializer = FaultySerializer()
    codec = Codec(serializer=serializer)
    service = _make(kind, _echo, codec)
    request = _request(kind, "x", codec)
    serializer.loads_raises = raised
    await _process(service, request)
    assert request.error["rb-error"] == REQUEST_REJECTED
    await _serves(service, codec)


@each_error
async def test_validation(raised: type[BaseException]) -> None:
    ran: list[Any] = []

    def check(value: Any) -> Any:
        if value == "bad":
            raise raised("a validator")
        return value

    async def checked(what: Any) -> Any:
        ran.append(what)
        return what

    checked.__annotations__["what"] = Annotated[Any, pydantic.AfterValidator(check)]
    service = make_service(checked, validate=True, fetch_size=PLACES)
    request = _request("async", "bad")
    await _process(service, request)
    assert (request.error["rb-error"], ran) == (INVALID_ARGUMENTS, [])
    await _serves(service)


@each_error
@each_kind
async def test_the_function(raised: type[BaseException], kind: str) -> None:
    def fail(what: Any) -> Any:
        if what == "bad":
            raise raised("a function")
        return what

    service = _make(kind, fail)
    request = _request(kind, "bad")
    await _process(service, request)
    assert request.error["rb-error"] == EXECUTION
    assert request.error["rb-error-type"].endswith(raised.__name__)
    assert request.error["rb-error-message"] == "a function"
    await _serves(service)


@pytest.mark.parametrize("kind", ["async", "thread"])
@pytest.mark.parametrize("raised", [RuntimeError, SystemExit, OddError], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("case", odd_exceptions(RuntimeError))
async def test_the_description_of_an_exception(raised: type[BaseException], kind: str, case: str) -> None:
    error = odd_exceptions(raised)[case]

    def fail(what: Any) -> Any:
        if what == "bad":
            raise error
        return what

    service = _make(kind, fail)
    request = _request(kind, "bad")
    await _process(service, request)
    assert request.error["rb-error"] == EXECUTION
    assert request.answer[1]
    for name in ("rb-error-type", "rb-error-types", "rb-error-message"):
        assert len(request.error[name].encode()) <= 1024
        assert "\n" not in request.error["rb-error-type"]
    await _serves(service)


@each_error
@each_kind
async def test_encoding_a_result(raised: type[BaseException], kind: str) -> None:
    serializer = FaultySerializer()
    codec = Codec(serializer=serializer)
    service = _make(kind, _echo, codec)
    request = _request(kind, "x", codec)
    serializer.results_raise = raised
    await _process(service, request)
    assert request.error["rb-error"] == RESULT_UNSENDABLE
    await _serves(service, codec)


@each_error
@each_kind
async def test_encoding_a_failure(raised: type[BaseException], kind: str) -> None:
    serializer = FaultySerializer()
    codec = Codec(serializer=serializer)

    def fail(what: Any) -> Any:
        return what if what == "fine" else {}[what]

    service = _make(kind, fail, codec)
    serializer.failures_raise = raised
    requests = [_request(kind, "x", codec, b"%d" % number) for number in range(PLACES + 1)]
    await _process(service, *requests)
    for request in requests:
        (reply,) = request.replies
        assert reply.body == b""
        assert reply.headers is not None
        assert (reply.headers["rb-error"], reply.headers["rb-error-type"]) == (EXECUTION, "builtins.KeyError")
    await _serves(service, codec)


@each_error
@pytest.mark.parametrize(("kind", "times"), [("async", 1), ("async", 9), ("thread", 1), ("keyed", 1), ("keyed", 9)])
async def test_publishing_a_result(raised: type[BaseException], kind: str, times: int) -> None:
    headers = {"rb-key": "key"} if kind == "keyed" else {}
    service = _make(kind, _echo)
    request = UnpublishableRequest(raised, times, args=("x",), headers=headers, time_left=60.0)
    await _process(service, request)
    if times == 1:
        assert request.error["rb-error"] == RESULT_UNSENDABLE
    else:
        assert request.events == ["discarded"]
    await _serves(service)


@each_error
async def test_acknowledging_before_the_start(raised: type[BaseException]) -> None:
    ran: list[Any] = []

    def run(what: Any) -> Any:
        ran.append(what)
        return what

    service = _make("at-most-once", run)
    request = UnpublishableRequest(raised, 1, args=("x",))
    await _process(service, request)
    assert (request.error["rb-error"], ran) == (REQUEST_REJECTED, [])
    await _serves(service)


@each_error
async def test_logging_a_failure(raised: type[BaseException]) -> None:
    def fail(what: Any) -> Any:
        return what if what == "fine" else {}[what]

    service = _make("async", fail)
    request = _request("async", "x")
    handler, logger = RaisingLogHandler(raised), logging.getLogger("rabibridge_core._server.failure_log")
    logger.addHandler(handler)
    try:
        await _process(service, request)
    finally:
        logger.removeHandler(handler)
    assert handler.records == 1
    assert request.error["rb-error-type"] == "builtins.KeyError"
    await _serves(service)


@each_error
async def test_cancelling_what_a_function_awaits(raised: type[BaseException]) -> None:
    began = list[Any]()
    release = asyncio.get_running_loop().create_future()

    class Waited(asyncio.Future[None]):
        def cancel(self, msg: Any = None) -> bool:
            raise raised("a future of its own")

    async def wait(what: Any = None) -> Any:
        if what == "fine":
            return what
        waited = Waited()
        release.add_done_callback(lambda _: waited.set_result(None))
        began.append(what)
        await waited

    service = make_service(wait, fetch_size=PLACES)
    stubborn = await outlasting(service, lambda: began, 0.01)
    other = await outlasting(service, lambda: len(began) > 1, 0.01, correlation_id=b"2")
    await until(lambda: len(service._processor._deadlines) == 0)  # both have expired: one does not disturb the other
    release.set_result(None)
    await _settled_once(service, stubborn, other)
    assert stubborn.events == other.events == ["replied"]  # they could not be cancelled, and have a result
    await _serves(service)
