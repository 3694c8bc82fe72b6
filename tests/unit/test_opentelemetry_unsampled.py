"""The context of a request that is not sampled: whoever reads it finds the span of the caller, whenever that is."""

from __future__ import annotations

import threading
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry import context as contexts
from opentelemetry.context import Context

from rabibridge_core import current_call
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_telemetry._opentelemetry.headers import SPAN_KEY
from rabibridge_telemetry._opentelemetry.unsampled import UnsampledContext, is_sampled, is_unsampled
from tests.support.telemetry import collected, traced_settings

if TYPE_CHECKING:
    from collections.abc import Callable

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
HEADER = f"00-{TRACE}-{SPAN}-00"


def _context() -> UnsampledContext:
    context = UnsampledContext()
    context.headers = {"traceparent": HEADER}
    return context


@pytest.mark.parametrize(
    "read",
    [
        lambda context: context[SPAN_KEY],
        lambda context: context.get(SPAN_KEY),
        lambda context: dict(context)[SPAN_KEY],
        lambda context: {**context}[SPAN_KEY],
        lambda context: Context(context)[SPAN_KEY],
        lambda context: ({} | context)[SPAN_KEY],
        lambda context: (context | {})[SPAN_KEY],
        lambda context: context.copy()[SPAN_KEY],
        lambda context: dict(zip(context.keys(), context.values(), strict=True))[SPAN_KEY],
        lambda context: next(value for key, value in context.items() if key == SPAN_KEY),
        lambda context: context[next(iter(context))],
        lambda context: context[next(reversed(context))],
        lambda context: contexts.set_value("key", "value", context)[SPAN_KEY],
        lambda context: baggage.set_baggage("key", "value", context)[SPAN_KEY],
        trace.get_current_span,
    ],
)
def test_it_is_read_as_a_context_with_the_span_of_the_caller(read: Callable[[UnsampledContext], Any]) -> None:
    context = _context()
    found = read(context).get_span_context()
    assert (f"{found.trace_id:032x}", f"{found.span_id:016x}", found.trace_flags, found.is_remote) == (
        TRACE, SPAN, 0, True,
    )  # fmt: skip
    assert trace.get_current_span(context) is context[SPAN_KEY]


def test_it_is_not_empty_before_it_is_read() -> None:
    assert _context()
    assert len(_context()) == 1
    assert SPAN_KEY in _context()
    assert "other" not in _context()
    assert _context() != {}
    assert not _context() == {}  # noqa: SIM201 - both operators
    assert SPAN_KEY in repr(_context())
    first = _context()
    assert first == dict(first)


@pytest.mark.parametrize(
    ("header", "sampled", "unsampled"),
    [
        (HEADER, False, True),
        (HEADER[:-1] + "1", True, False),
        (HEADER[:-1] + "2", False, True),
        (HEADER[:-1] + "3", True, False),
        (HEADER.upper(), False, False),
        (HEADER + "-more", False, False),
        (HEADER[:-1], False, False),
        (HEADER + "\n", False, False),
        ("01" + HEADER[2:], False, False),
        (f"00-{'0' * 32}-{SPAN}-00", False, False),
        (f"00-{TRACE}-{'0' * 16}-01", False, False),
        ("", False, False),
    ],
)
def test_only_a_valid_header_is_read_in_one_step(header: str, sampled: bool, unsampled: bool) -> None:
    assert (is_sampled(header) is not None, is_unsampled(header) is not None) == (sampled, unsampled)


async def test_a_handler_may_keep_the_span_and_the_context_for_other_threads_and_for_later() -> None:
    collected()
    kept: list[tuple[trace.Span, Context, str]] = []

    async def keeps() -> None:
        header = str(current_call().headers["traceparent"])
        kept.append((trace.get_current_span(), contexts.get_current(), header))

    settings = traced_settings(f"unsampled-{token_hex(4)}")
    server = RpcServer(settings=settings)
    server.add_service(keeps)
    sent = [f"00-{number:032x}-{number:016x}-00" for number in range(1, 21)]
    async with server.serving(), RpcClient(settings=settings) as client:
        for header in sent:
            await client.options(timeout=60, headers={"traceparent": header}).remote_call("keeps")
    assert [header for *_, header in kept] == sent
    found: list[int] = []

    def run() -> None:
        for _, context, _ in kept:
            token = contexts.attach(context)
            found.append(trace.get_current_span().get_span_context().trace_id)
            contexts.detach(token)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [span.get_span_context().trace_id for span, *_ in kept] == list(range(1, 21))
