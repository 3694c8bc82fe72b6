"""What comes from outside: trace context and baggage of any form, and names that callers and functions make up."""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from rabibridge import NoRouteError, RemoteExecutionError, current_call
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.plugins.manager import plugin_manager
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_core.settings import load_settings
from rabibridge_telemetry._opentelemetry.headers import Propagation, span_context_of
from rabibridge_telemetry._opentelemetry.sampling import Spans
from tests.support.telemetry import collected, traced_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult

UNSAMPLED = SpanContext(7, 7, True, TraceFlags(0))
VALID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def broker_name() -> str:
    """A broker in memory that no other test uses."""
    return f"traced-{token_hex(4)}"


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (VALID, True),
        (VALID.replace("00-", "01-", 1) + "-more", True),
        (VALID + "-more", False),
        (VALID.replace("00-", "ff-", 1), False),
        (VALID.upper(), False),
        (VALID[:-1], False),
        (VALID + "\r\n", False),
        ("00-" + "0" * 32 + "-b7ad6b7169203331-01", False),
        ("00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01", False),
        ("x" * 8000, False),
        (b"bytes", False),
        (7, False),
    ],
)
def test_a_traceparent_is_valid_or_ignored(text: Any, valid: bool) -> None:
    assert (span_context_of({"traceparent": text}) is not None) == valid


@pytest.mark.parametrize(("state", "kept"), [("a=1,b=2", 2), ("a=" + "x" * 511, 0), ("nonsense", 0), (7, 0)])
def test_a_tracestate_is_kept_up_to_its_limit(state: Any, kept: int) -> None:
    context = span_context_of({"traceparent": VALID, "tracestate": state})
    assert context is not None
    assert len(context.trace_state) == kept


def _entries(text: Any, *allowed: str) -> Mapping[str, object]:
    return baggage.get_all(Propagation(allowed).extract({"baggage": text})[1])


def test_no_baggage_comes_in_or_leaves_unless_it_is_listed() -> None:
    context = baggage.set_baggage("tenant", "7 ü", baggage.set_baggage("password", "secret", Context()))
    span = SpanContext(1, 1, False, TraceFlags(1))
    assert "baggage" not in Propagation(()).inject(span, context)
    assert Propagation(("tenant",)).inject(span, context)["baggage"] == "tenant=7%20%C3%BC"
    assert _entries("tenant=7,password=secret") == {}
    assert _entries("tenant=7%20%C3%BC;ttl=1, password=secret", "tenant") == {"tenant": "7 ü"}


def test_baggage_of_any_form_is_read_within_limits() -> None:
    assert _entries(",".join(f"k{n}=v" for n in range(10_000)), "k0", "k63", "k64", "k9999") == {"k0": "v", "k63": "v"}
    assert _entries("a=1," + "b=" + "x" * 2**20, "a", "b") == {"a": "1"}
    assert _entries("a=%zz,b=%ff,c=1%0d%0aX: y,=,;,a", "a", "b", "c") == {"a": "%zz", "b": "\ufffd"}
    assert _entries("a=1,a=2", "a") == {"a": "2"}
    assert _entries(b"a=1", "a") == {}


async def test_a_call_is_served_whatever_its_headers_say(broker_name: str) -> None:
    collected()
    settings = traced_settings(broker_name, baggage=("tenant",))

    async def tenant() -> object:
        return baggage.get_baggage("tenant")

    async def relay() -> object:
        return await clients[0].call(tenant)

    clients: list[RpcClient] = []
    server = RpcServer(settings=settings)
    server.add_service(tenant)
    server.add_service(relay)
    async with server.serving(), RpcClient(settings=settings) as client:
        clients.append(client)
        for value in ("tenant=7", "tenant=" + "x" * 8000, "=;,%", "tenant=7,tenant=7"):
            options = client.options(headers={"baggage": value, "traceparent": "\x7f" * 100, "tracestate": "?" * 600})
            assert await options.call(tenant) == (None if value == "=;,%" else value.rpartition("=")[2])
        # It is read from the header, and written anew for the next call.
        assert await client.options(headers={"baggage": "tenant=7,other=8"}).call(relay) == "7"


def test_the_setting_for_baggage_is_checked() -> None:
    settings = load_settings(url="memory://x", options={"baggage": "tenant, user-tier"})
    assert settings.baggage == ("tenant", "user-tier")
    with pytest.raises(ConfigurationError, match="baggage"):
        load_settings(url="memory://x", options={"baggage": "a b"})


async def test_names_that_callers_and_functions_make_up_are_folded(broker_name: str) -> None:
    spans = collected()
    settings = traced_settings(broker_name)

    async def fail(number: int) -> None:
        raise type(f"E{number}", (Exception,), {})("made up")

    server = RpcServer(settings=settings)
    server.add_service(fail)
    async with server.serving(), RpcClient(settings=settings) as client:
        for number in range(300):
            with pytest.raises(RemoteExecutionError):
                await client.call(fail, number)
            with pytest.raises(NoRouteError):
                await client.remote_call(f"nowhere{number}")
    mine = {"server.address": broker_name}
    served = [point for point in spans.points("rpc.server.call.duration") if mine.items() <= point.items()]
    called = [point for point in spans.points("rpc.client.call.duration") if mine.items() <= point.items()]
    assert len(served) == 101
    assert {point["rpc.method"] for point in served} == {"fail"}
    assert sum(point["error.type"] == "_OTHER" for point in served) == 1
    assert {point["rpc.method"] for point in called} == {"fail", "_OTHER"}
    assert len(called) == 2


def _sampled(sampler: Sampler, count: int, parent: SpanContext | None = None) -> tuple[int, int]:
    """Return how many of so many spans were recorded, and how many were dropped."""
    spans = Spans("1", TracerProvider(sampler=sampler))
    context = Context()
    if parent is not None:
        context = trace.set_span_in_context(trace.NonRecordingSpan(parent), context)
    found = [spans.dropped(parent) or spans.start(context, "x", SpanKind.CLIENT, {}) for _ in range(count)]
    dropped = [one for one in found if isinstance(one, SpanContext)]
    assert all(one.is_valid and not one.trace_flags & 1 for one in dropped)
    return count - len(dropped), len(dropped)


def test_spans_are_sampled_as_the_sampler_of_the_program_says() -> None:
    recorded, dropped = _sampled(ParentBased(TraceIdRatioBased(0.2)), 20_000)
    assert abs(recorded - 4000) < 500
    assert dropped == 20_000 - recorded
    assert _sampled(TraceIdRatioBased(1.0), 50) == (50, 0)
    assert _sampled(TraceIdRatioBased(0.0), 50) == (0, 50)
    assert _sampled(ALWAYS_ON, 50) == (50, 0)
    assert _sampled(ParentBased(ALWAYS_ON), 50, UNSAMPLED) == (0, 50)


class _ByName(TraceIdRatioBased):
    """Samples what the program has chosen, and calls itself as its base does."""

    def should_sample(self, parent_context: Any, trace_id: int, name: str, *args: Any, **more: Any) -> SamplingResult:
        return (ALWAYS_ON if name == "x" else ALWAYS_OFF).should_sample(parent_context, trace_id, name)


def test_samplers_of_the_program_are_asked_whatever_they_are_derived_from() -> None:
    assert _sampled(_ByName(0.0), 50) == (50, 0)
    assert _sampled(ParentBased(_ByName(0.0)), 50) == (50, 0)
    assert _sampled(ParentBased(ALWAYS_ON, remote_parent_not_sampled=_ByName(0.0)), 50, UNSAMPLED) == (50, 0)
    assert _sampled(ALWAYS_OFF, 50) == (0, 50)
    assert _sampled(ParentBased(ALWAYS_OFF), 50) == (0, 50)


def test_a_trace_that_begins_and_is_dropped_has_ids_of_its_own() -> None:
    spans = Spans("1", TracerProvider(sampler=ParentBased(TraceIdRatioBased(0.5))))
    dropped = []
    while text := spans.dropped_root():
        context = span_context_of({"traceparent": text})
        assert context is not None
        dropped.append(context)
    assert len({context.trace_id for context in dropped}) == len(dropped)
    assert all(context.trace_id % 2**64 >= 2**63 and not context.trace_flags & 1 for context in dropped)
    assert spans.dropped(None) is None  # it stays sampled until it is started
    span = spans.start(Context(), "x", SpanKind.CLIENT, {})
    assert not isinstance(span, SpanContext)
    assert span.get_span_context().trace_id % 2**64 < 2**63


async def test_calls_of_a_function_whose_caller_is_not_sampled_belong_to_its_trace(broker_name: str) -> None:
    spans = collected()
    settings = traced_settings(broker_name)

    async def inner() -> tuple[str, int]:
        current = trace.get_current_span()
        assert not current.is_recording()
        return str(current_call().headers["traceparent"]), current.get_span_context().trace_id

    async def outer() -> tuple[str, int]:
        return await client.call(inner)

    server = RpcServer(settings=settings)
    server.add_service(inner)
    server.add_service(outer)
    unsampled = VALID[:-1] + "0"
    async with server.serving(), RpcClient(settings=settings) as client:
        spans.clear()
        for headers in ({"traceparent": unsampled}, {"traceparent": unsampled, "tracestate": "a=1"}):
            sent, seen = await client.options(headers=headers).call(outer)
            assert (sent[3:35], sent[-2:], seen) == (unsampled[3:35], "00", int(unsampled[3:35], 16))
    assert [span.name for span in spans.spans if span.kind is SpanKind.SERVER] == []


async def test_it_must_be_installed_where_it_is_switched_on(broker_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    RpcClient(settings=traced_settings(broker_name))
    monkeypatch.setattr(plugin_manager(), "get_plugin", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"rabibridge-rabbitmq\[opentelemetry\]"):
        RpcClient(settings=traced_settings(broker_name))
