"""Where calls are encrypted, what programs tell about themselves holds nothing of what functions get, give or raise.

Spans and metrics of OpenTelemetry, metrics for Prometheus, what workers answer (`top`, the dashboard), and the log at
DEBUG, in which only the error that a function has raised itself has its text.
"""

from __future__ import annotations

import logging

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from rabibridge_core.errors import CallError, SignatureError
from rabibridge_core.rpc import RpcClient
from rabibridge_telemetry.prometheus import RabiBridgeCollector
from tests.security.test_encrypted_markers import ENCRYPTED, FUNCTIONS, HEARD, KEYS, MARKER, texts
from tests.support.telemetry import Collected, collected
from tests.support.waiting import soon, until
from tests.unit.signing_support import pair


@pytest.fixture
def exported() -> Collected:
    """What is sent to the exporters during the test."""
    exporters = collected()
    exporters.clear()
    return exporters


async def _every_way(client: RpcClient) -> None:
    """Call in every way, with the marker in everything that is given."""
    HEARD.set()
    secret = client.options(timeout=60, headers={"tenant": MARKER})
    for name in ("echo", "raises", "declared", "booked", "reports"):
        await soon(secret.try_remote_call(name, (MARKER,)))
    with pytest.raises(CallError):
        [item async for item in secret.stream("count", MARKER)]
    assert await soon(secret.call("joined", texts())) == MARKER * 300
    assert [reply.ok async for reply in secret.broadcast("echo", MARKER)] == [True]
    assert [reply async for reply in secret.map("echo", [(MARKER,)])]
    await secret.notify("raises", MARKER)


async def test_spans_metrics_and_what_workers_answer(exported: Collected, caplog: pytest.LogCaptureFixture) -> None:
    registry = CollectorRegistry()
    registry.register(RabiBridgeCollector())
    caplog.set_level(logging.DEBUG)
    async with pair(FUNCTIONS, client_ring=KEYS, server_ring=KEYS, opentelemetry=True, **ENCRYPTED) as (
        client, _, _,
    ):  # fmt: skip
        await _every_way(client)
        (worker,) = await soon(client.workers())
        services = await soon(client.services())
        raises = worker.service("raises")
        assert raises is not None
        assert raises.failures
        await until(lambda: len(exported.spans) >= 20)
        spans = [span.to_json() for span in exported.spans]
        assert any('"exception.type"' in span for span in spans)
        metrics = [repr(exported.points(f"rpc.{side}.call.duration")) for side in ("client", "server")]
        exposed = generate_latest(registry).decode()
        assert 'service="raises"' in exposed
        for shown in (*spans, *metrics, exposed, repr(worker), repr(services), repr(client), repr(client.health())):
            assert MARKER not in shown


async def test_the_log_holds_arguments_only_in_what_functions_raise(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with pair(FUNCTIONS, client_ring=KEYS, server_ring=KEYS, **ENCRYPTED) as (client, server, _):
        await _every_way(client)
        async with RpcClient(url=str(client.settings.endpoints[0])) as plain:
            with pytest.raises(SignatureError):
                await soon(plain.remote_call("echo", (MARKER,)))
        assert server.refused_messages == {"signature": 1}
    raised = [record for record in caplog.records if record.exc_info]
    assert {getattr(record, "rb_event", "") for record in raised} == {"call.raised"}
    assert {getattr(record, "rb_error", "") for record in raised} == {
        "builtins.ValueError", "tests.security.test_encrypted_markers.Refused",
    }  # fmt: skip
    assert any(getattr(record, "rb_event", "") == "call.arguments_refused" for record in caplog.records)
    for record in caplog.records:
        if record not in raised:
            assert MARKER not in f"{record.getMessage()} {record.__dict__}"
