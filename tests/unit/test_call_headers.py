from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import RMQClient, current_call
from rabibridge_core import ConfigurationError
from rabibridge_core.plugins import CallHeaders, ClientObserver, hookimpl, plugin_manager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rabibridge_core import Headers, HeaderValue
    from rabibridge_core.plugins import Shape, Subject
    from rabibridge_testing import FakeBroker


async def seen() -> dict[str, Any]:
    return dict(current_call().headers)


@pytest.fixture
def broker(fake_broker: FakeBroker) -> FakeBroker:
    fake_broker.add_service(seen)
    return fake_broker


class Tracer:
    """Carries a trace context, as an OpenTelemetry plug-in does."""

    def __init__(self, **added: Any) -> None:
        self.added = added
        self.received: list[dict[str, Any]] = []

    @hookimpl
    def rabibridge_call_sent(self, headers: dict[str, HeaderValue]) -> None:
        headers.update(self.added)

    @hookimpl
    def rabibridge_request_received(self, headers: Headers) -> None:
        self.received.append(dict(headers))


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    tracer = Tracer(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    plugin_manager().register(tracer)
    yield tracer
    plugin_manager().unregister(tracer)


async def test_headers_reach_the_function(broker: FakeBroker) -> None:
    headers: Headers = {"tenant": "7", "weight": 1.5, "urgent": True, "count": -3, "raw": b"\x00"}
    async with RMQClient() as client:
        assert await client.remote_call("seen", timeout=30, headers=headers) == headers
        assert await client.remote_call("seen", timeout=30) == {}
        assert await client.try_remote_call("seen", timeout=30, headers={"a": "b"}) == (True, (0, {"a": "b"}))


class Adds(ClientObserver):
    """Adds headers to every call, and hears of nothing else."""

    def call_started(self, shape: Shape, service: str) -> CallHeaders:
        return CallHeaders({"tenant": "of the plug-in", "trace": "t", "rb-key": "reserved"})


class Adding:
    @hookimpl
    def rabibridge_client_observer(self, subject: Subject) -> ClientObserver:
        return Adds()


async def test_an_observer_adds_headers_that_the_call_does_not_have(broker: FakeBroker) -> None:
    plugin = Adding()
    plugin_manager().register(plugin)
    try:
        async with RMQClient() as client:
            expected = {"tenant": "of the plug-in", "trace": "t"}
            assert await client.remote_call("seen", timeout=30) == expected
            assert await client.remote_call("seen", timeout=30, headers={"tenant": "7"}) == expected | {"tenant": "7"}
    finally:
        plugin_manager().unregister(plugin)


async def test_headers_and_an_idempotency_key_travel_together(broker: FakeBroker) -> None:
    async with RMQClient() as client:
        found = await client.remote_call("seen", timeout=30, headers={"tenant": "7"}, idempotency_key="one")
    assert found == {"tenant": "7", "rb-key": "one"}


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"rb-key": "x"}, "reserved"),
        ({"RB-anything": "x"}, "reserved"),
        ({"": "x"}, "not a header name"),
        ({"caf\u00e9": "x"}, "not a header name"),
        ({"line\nbreak": "x"}, "not a header name"),
        ({"a": None}, "the header 'a' is None"),
        ({"a": ["x"]}, "must be a text or bytes"),
        ({"a": 2**63}, "integer of 64 bits"),
        ({"a": "x" * 8193}, "at most 8192 bytes"),
        ({"a": "\ud800"}, "must be a text"),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_what_cannot_be_a_header(broker: FakeBroker, headers: Any, message: str) -> None:
    async with RMQClient() as client:
        with pytest.raises(ConfigurationError, match=message):
            await client.remote_call("seen", timeout=30, headers=headers)
        assert await client.remote_call("seen", timeout=30) == {}


async def test_a_plug_in_adds_headers_and_reads_them(broker: FakeBroker, tracer: Tracer) -> None:
    async with RMQClient() as client:
        assert await client.remote_call("seen", timeout=30) == tracer.added
        both = await client.remote_call("seen", timeout=30, headers={"tenant": "7"})
    assert both == {"tenant": "7", **tracer.added}
    assert tracer.received == [tracer.added, both]


async def test_a_plug_in_cannot_spoil_a_call(
    broker: FakeBroker, tracer: Tracer, caplog: pytest.LogCaptureFixture
) -> None:
    tracer.added = {"rb-key": "forged", "list": [], "tenant": "changed", "good": "kept"}
    async with RMQClient() as client:
        assert await client.remote_call("seen", timeout=30, headers={"tenant": "7"}) == {"tenant": "7", "good": "kept"}
    assert "'rb-key' is reserved" in caplog.text
    assert "the header 'list' is []" in caplog.text
