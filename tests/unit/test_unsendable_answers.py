"""Answers that a serializer cannot encode: what the caller is told, and what is logged."""

from __future__ import annotations

from typing import Any

import pytest

from rabibridge_core._codec.codec import Codec
from rabibridge_core._protocol.remote_errors import RESULT_UNSENDABLE
from tests.unit.request_faults import FaultySerializer
from tests.unit.scripted_requests import ScriptedRequest, make_service, until


async def echo(what: Any) -> Any:
    return what


@pytest.mark.parametrize("returned", [None, "text", 5, ["x"]], ids=lambda value: type(value).__name__)
async def test_a_serializer_that_returns_no_bytes(returned: Any) -> None:
    serializer = FaultySerializer()
    codec = Codec(serializer=serializer)
    service = make_service(echo, codec=codec)
    request = ScriptedRequest(("x",), codec=codec)
    serializer.dumps_returns = [returned]
    service.received(request)
    await until(lambda: not service.active_requests)
    assert request.error["rb-error"] == RESULT_UNSENDABLE
    for word in ("'faulty'", type(returned).__name__, "bytes"):
        assert word in request.error["rb-error-message"]
    await service.stop(0)


@pytest.mark.parametrize("returned", [bytearray, memoryview])
async def test_a_serializer_that_returns_other_bytes(returned: Any) -> None:
    serializer = FaultySerializer()
    codec = Codec(serializer=serializer)
    service = make_service(echo, codec=codec)
    request = ScriptedRequest(("x",), codec=codec)
    serializer.dumps_returns = [returned(b'[0, "y"]')]
    service.received(request)
    await until(lambda: not service.active_requests)
    assert request.answer == [0, "y"]
    await service.stop(0)


async def test_a_result_that_cannot_be_sent_is_logged_a_few_times(caplog: pytest.LogCaptureFixture) -> None:
    async def opaque() -> object:
        return object()

    service = make_service(opaque)
    requests = [ScriptedRequest(correlation_id=b"%d" % number) for number in range(20)]
    for request in requests:
        service.received(request)
    await until(lambda: not service.active_requests)
    assert {request.error["rb-error"] for request in requests} == {RESULT_UNSENDABLE}
    service._maintain()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "'opaque': the answer to a call could not be sent: rabibridge_core.errors.SerializationError" in lines[0]
    assert "19 more times" in lines[1]
    await service.stop(0)
