"""Metrics in a program of one's own: the collector, the ASGI application, and what callers cannot make grow.

Metrics are of a whole process, so each test runs a program; the broker is the one in memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

NAMES = int(os.environ.get("METRICS_NAMES", "200"))
"""How many services that do not exist are called, and how many types of exceptions are raised."""

COLLECTOR = """
import asyncio, json
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from rabibridge_core.errors import RemoteExecutionError, ServiceError
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_telemetry.prometheus import RabiBridgeCollector

class Sold(ServiceError, code="shop.sold"):
    pass

async def add(a, b):
    return a + b

async def fail(a):
    raise LookupError(a)

async def sell():
    raise Sold()

async def main():
    registry = CollectorRegistry()
    registry.register(RabiBridgeCollector())
    server = RpcServer(url="memory://shop")
    for function in (add, fail):
        server.add_service(function)
    server.add_service(sell, raises=(Sold,))
    async with server.serving(), RpcClient(url="memory://shop") as client:
        for number in range(7):
            assert await client.remote_call("add", (number, 1)) == number + 1
        for name, args, error in (("fail", (1,), RemoteExecutionError), ("sell", (), Sold)):
            try:
                await client.remote_call(name, args)
            except error:
                pass
        text = generate_latest(registry).decode()
    try:
        registry.register(RabiBridgeCollector())
    except ValueError:
        twice = "refused"
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if "le" not in sample.labels:
                found[" ".join((sample.name, *sample.labels.values()))] = sample.value
    print(json.dumps({"samples": found, "twice": twice}))

asyncio.run(main())
"""
APPLICATION = """
import asyncio, json
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_telemetry.health_server import HealthApp

async def asked(app, path, method="GET", root="", **headers):
    sent = []
    scope = {"type": "http", "method": method, "path": root + path, "root_path": root,
             "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]}
    async def receive(): raise AssertionError("the application reads no body")
    async def send(message): sent.append(message)
    await app(scope, receive, send)
    start, body = sent
    text = body["body"].decode("utf-8", "replace")
    return [start["status"], dict((n.decode(), v.decode()) for n, v in start["headers"]), text]

async def main():
    app = HealthApp()
    server, client = RpcServer(url="memory://shop"), RpcClient(url="memory://shop")
    app.watch(client)
    server.add_service(len)
    found = {"before": await asked(app, "/readyz")}
    async with server.serving(), client:
        await client.call("len", "four")
        found["ready"] = await asked(app, "/readyz", host="anything.test")
        found["alive"] = await asked(app, "/healthz")
        found["metrics"] = await asked(app, "/metrics")
        found["open"] = await asked(app, "/metrics", accept="application/openmetrics-text; version=1.0.0")
        found["mounted"] = await asked(app, "/healthz", root="/internal")
        found["zipped"] = await asked(app, "/metrics", accept_encoding="br, gzip")
        found["head"] = await asked(app, "/metrics", "HEAD")
        found["post"] = await asked(app, "/metrics", "POST")
        found["missing"] = await asked(app, "/metric")
    found["after"] = await asked(app, "/readyz")
    events, sent = iter(("lifespan.startup", "lifespan.shutdown")), []
    async def receive(): return {"type": next(events)}
    async def send(message): sent.append(message["type"])
    await app({"type": "lifespan"}, receive, send)
    await app({"type": "websocket"}, receive, send)
    found["sent"] = sent
    print(json.dumps(found))

asyncio.run(main())
"""
FLOOD = """
import asyncio, json, sys, tracemalloc
from prometheus_client import CollectorRegistry
from rabibridge_core.errors import NoRouteError, RemoteExecutionError
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_telemetry.prometheus import RabiBridgeCollector

NAMES = int(sys.argv[1])
registry = CollectorRegistry()
registry.register(RabiBridgeCollector())

async def fail(number):
    raise type(f"E{number}", (LookupError,), {})(number)

def series():
    return sum(len(family.samples) for family in registry.collect())

async def flood(client, first):
    async def one(number):
        try:
            await client.remote_call(f"nothing-{number}", timeout=60)
        except NoRouteError:
            pass
        try:
            await client.remote_call("fail", (number,), timeout=60)
        except RemoteExecutionError:
            pass
    for start in range(first, first + NAMES // 2, 100):
        await asyncio.gather(*(one(number) for number in range(start, start + 100)))

async def main():
    server = RpcServer(url="memory://flood")
    server.add_service(fail, queue_size=10_000)
    async with server.serving(), RpcClient(url="memory://flood") as client:
        await flood(client, 0)
        found = {"series": [series()]}
        tracemalloc.start()
        await flood(client, NAMES // 2)
        found["series"].append(series())
        found["grown"] = tracemalloc.get_traced_memory()[0]
        (worker,) = await client.workers(timeout=30)
        found["failures"] = len(worker.services[0].failures)
        found["counted"] = {
            " ".join((sample.name, *sample.labels.values())): sample.value
            for family in registry.collect() for sample in family.samples
            if sample.name == "rabibridge_client_calls_total" and sample.value
        }
    print(json.dumps(found))

asyncio.run(main())
"""


def _run(tmp_path: Path, program: str, *arguments: str) -> Any:
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), *arguments],
        capture_output=True, text=True, check=False, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_collector_gives_the_metrics_of_its_process_to_a_registry(tmp_path: Path) -> None:
    found = _run(tmp_path, COLLECTOR)
    samples = found["samples"]
    assert samples["rabibridge_client_calls_total succeeded add"] == 7
    assert samples["rabibridge_server_calls_total succeeded add"] == 7
    assert samples["rabibridge_client_call_duration_seconds_count add"] == 7
    assert (
        samples["rabibridge_server_calls_total failed fail"]
        == samples["rabibridge_client_calls_total failed fail"]
        == 1
    )
    assert samples["rabibridge_server_calls_total declared sell"] == 1
    assert samples["rabibridge_connections client ready"] == samples["rabibridge_connections server ready"] == 1
    assert found["twice"] == "refused"


def test_an_application_is_mounted_in_others(tmp_path: Path) -> None:
    found = _run(tmp_path, APPLICATION)
    statuses = {name: answer[0] for name, answer in found.items() if name != "sent"}
    assert statuses == {
        "before": 503, "ready": 200, "alive": 200, "metrics": 200, "open": 200, "mounted": 200, "zipped": 200,
        "head": 200, "post": 405, "missing": 404, "after": 503,
    }  # fmt: skip
    assert json.loads(found["ready"][2]) == {"ok": True, "reasons": []}
    assert json.loads(found["before"][2])["reasons"]
    assert 'rabibridge_client_calls_total{outcome="succeeded",service="len"} 1.0' in found["metrics"][2]
    assert found["metrics"][1]["content-type"].startswith("text/plain")
    assert found["metrics"][1]["cache-control"] == "no-store"
    assert found["open"][1]["content-type"].startswith("application/openmetrics-text")
    assert found["open"][2].endswith("# EOF\n")
    assert found["zipped"][1]["content-encoding"] == "gzip"
    assert found["head"][2] == ""
    assert found["post"][1]["allow"] == "GET, HEAD"
    assert found["sent"] == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]


@pytest.mark.timeout(1800 if NAMES > 10_000 else 300)
def test_callers_cannot_make_series_or_memory_grow(tmp_path: Path) -> None:
    """Names that do not exist, and types of exceptions that are made while the program runs; METRICS_NAMES=100000."""
    found = _run(tmp_path, FLOOD, str(NAMES))
    assert found["series"][1] <= found["series"][0] + 4  # the lag of the event loop is known after a second
    assert found["counted"] == {
        "rabibridge_client_calls_total _OTHER no_route": NAMES,
        "rabibridge_client_calls_total fail failed": NAMES,
    }
    assert found["failures"] <= 16
    assert found["grown"] < 4 * 2**20, found
    print(found)
