"""What a worker answers and logs when a function raises a declared error, and fields that it cannot send."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import ContentRejectedError, QueueFullError, RemoteExecutionError, ServiceError
from rabibridge_core._protocol.service_errors import FIELDS_MAX
from tests.unit.scripted_requests import ScriptedRequest, keyed, make_service, until
from tests.unit.service_errors_support import Anything, SoldOut, answer, decoded

if TYPE_CHECKING:
    from rabibridge_core.transport import Reply

_NAME = f"{SoldOut.__module__}.SoldOut"


async def test_fields_that_could_not_be_sent_stay_unknown_on_the_next_hop() -> None:
    error = decoded({"rb-error-code": "tests.anything", "rb-error-fields": ""})
    assert type(error) is RemoteExecutionError
    again = (await answer(error)).error
    assert (again["rb-error-code"], again["rb-error-fields"]) == ("tests.anything", "")
    assert type(decoded(again)) is RemoteExecutionError  # and no Anything with its defaults


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"items": [1, object()]}, r"fields\.value\.items\[1\]: msgpack cannot encode"),
        ("x" * FIELDS_MAX, "the fields take 16[0-9]{3} bytes; an error may have 16384"),
    ],
)
async def test_fields_that_cannot_be_sent(value: Any, why: str, caplog: pytest.LogCaptureFixture) -> None:
    request = await answer(Anything(value), raises=(Anything,))
    assert (request.error["rb-error-code"], request.error["rb-error-fields"]) == ("tests.anything", "")
    assert request.error["rb-error-type"].endswith(".Anything")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert re.search(why, record.getMessage())


async def test_fields_with_code_of_their_own(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(ServiceError, code="tests.broken"):
        size: int = 1

        @property
        def fields(self) -> dict[str, Any]:
            raise SystemExit

        def __str__(self) -> str:
            raise KeyError

    request = await answer(Broken(), raises=(Broken,))
    assert (request.error["rb-error-code"], request.error["rb-error-fields"]) == ("tests.broken", "")
    assert "KeyError" in request.error["rb-error-message"]


async def test_what_a_worker_logs(caplog: pytest.LogCaptureFixture) -> None:
    await answer(SoldOut("A"), raises=(SoldOut,))
    assert [record.getMessage() for record in caplog.records] == []
    with caplog.at_level(logging.DEBUG):
        await answer(SoldOut("A"), raises=(SoldOut,))
    assert [record.getMessage() for record in caplog.records if "declared" in record.getMessage()] == [
        f"service 'fails': call 1 ended as declared: {_NAME}: tests.sold_out: sku='A', left=0"
    ]
    caplog.clear()
    await answer(SoldOut("A"), raises=(Anything,))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "service 'fails' raised tests.unit.service_errors_support.SoldOut" in caplog.text
    caplog.clear()
    wrong: Any = "many"
    await answer(SoldOut("A", left=wrong), raises=(SoldOut,))
    (record,) = caplog.records
    assert "because its fields do not fit" in record.getMessage()
    assert "field 'left'" in record.getMessage()


async def test_a_stored_reply_repeats_the_error() -> None:
    ran: list[int] = []

    async def buy() -> None:
        ran.append(1)
        raise SoldOut("A-17")

    service = make_service(buy, idempotent=True)
    requests = [keyed(cid=b"1"), keyed(cid=b"2"), keyed(cid=b"3")]
    service.received(requests[0])
    service.received(requests[1])
    await until(lambda: requests[1].settled)
    service.received(requests[2])
    await until(lambda: requests[2].settled)
    assert ran == [1]
    for request in requests:
        assert decoded(request.error) == SoldOut("A-17")
    await service.stop(0)


async def test_an_error_of_another_tree_that_a_handler_lets_through() -> None:
    request = await answer(QueueFullError("text"))
    assert request.error["rb-error-type"].endswith("QueueFullError")
    assert "rb-error-code" not in request.error


class _SmallFrames(ScriptedRequest):
    """A request whose broker allows no more than two KiB of headers."""

    def reply(self, reply: Reply, /) -> None:
        size = sum(len(value) for value in (reply.headers or {}).values() if isinstance(value, str | bytes))
        if size > 2048:
            raise ContentRejectedError(f"the headers take {size} bytes; one frame of this connection has 2048")
        super().reply(reply)


async def test_fields_that_do_not_fit_into_a_frame(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(size: int) -> None:
        raise Anything("x" * size)

    service = make_service(fails, idempotent=True, raises=(Anything,))
    first = _SmallFrames((2000,), headers={"rb-key": "key"})
    service.received(first)
    await until(lambda: first.settled)
    again = keyed((2000,), cid=b"2")
    service.received(again)
    await until(lambda: again.settled)
    for request in (first, again):
        assert (request.error["rb-error-code"], request.error["rb-error-fields"]) == ("tests.anything", "")
    assert "one frame of this connection has 2048" in caplog.text
    await service.stop(0)
