"""The gateway in applications of FastAPI, over the in-memory broker."""

from __future__ import annotations

import importlib
import logging
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from httpx import ASGITransport, AsyncClient

from rabibridge import (
    AccessDeniedError,
    CallLogFilter,
    CallTimeoutError,
    ConfigurationError,
    ConnectionLostError,
    InvalidArgumentsError,
    NoRouteError,
    QueueFullError,
    RMQClient,
    current_call,
)
from rabibridge.contrib.fastapi import Gateway
from tests.gateways.application import app, billing, gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_testing import FakeBroker
    from tests.gateways.conftest import Handlers

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def describe() -> dict[str, Any]:
    given = current_call()
    return {
        "left": given.time_left,
        "criticality": given.criticality,
        "headers": {name: given.headers[name] for name in ("traceparent", "tenant") if name in given.headers},
    }


def test_one_application_under_two_test_clients(handlers: Handlers) -> None:
    with TestClient(app) as first:
        assert first.get("/sum?a=1&b=2").json() == 3
    with TestClient(app) as second:
        assert second.get("/sum?a=1&b=2").json() == 3
        assert second.get("/readyz").json()["status"] == "ready"
        assert second.get("/healthz").json() == {"status": "alive"}


async def test_the_same_application_by_asgi_transport(handlers: Handlers) -> None:
    async with gateway.connected(), AsyncClient(transport=ASGITransport(app), base_url="http://test") as browser:
        assert (await browser.get("/sum?a=1&b=2")).json() == 3


def test_two_test_clients_at_once_have_clients_of_their_own(handlers: Handlers) -> None:
    with TestClient(app) as first, TestClient(app) as second:
        assert first.get("/sum?a=1&b=2").json() == 3
        assert second.get("/sum?a=3&b=4").json() == 7
        assert first.get("/sum?a=5&b=6").json() == 11


def test_the_same_application_under_anyio(handlers: Handlers) -> None:
    async def main() -> None:
        async with gateway.connected(), AsyncClient(transport=ASGITransport(app), base_url="http://test") as browser:
            assert (await browser.get("/sum?a=1&b=2")).json() == 3

    anyio.run(main)


async def test_without_a_lifespan_it_says_what_to_do(handlers: Handlers) -> None:
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as browser:
        with pytest.raises(RuntimeError, match="with TestClient"):
            await browser.get("/sum?a=1&b=2")
        assert (await browser.get("/readyz")).status_code == 503


def test_an_outage_is_seen_by_the_probe(fake_broker: FakeBroker, handlers: Handlers) -> None:
    with TestClient(app) as browser:
        fake_broker.lose_connection(restore=False)
        answer = browser.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["clients"]["default"]["ready"] is False
        fake_broker.restore()


@pytest.mark.parametrize(
    ("error", "status"),
    [(QueueFullError, 503), (NoRouteError, 502)],
)
def test_refusals(fake_broker: FakeBroker, handlers: Handlers, error: Any, status: int) -> None:
    fake_broker.refuse("add", error)
    with TestClient(app) as browser:
        answer = browser.get("/sum?a=1&b=2")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("retry-after" in answer.headers) == (status == 503)
    assert answer.json()["status"] == status


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (ValueError("hunter2"), 500),
        (InvalidArgumentsError("hunter2"), 422),
        (AccessDeniedError("hunter2"), 403),
        (CallTimeoutError("hunter2"), 504),
        (ConnectionLostError("hunter2", executed=False), 503),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_become_problems_without_their_texts(
    fake_broker: FakeBroker, raised: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails() -> None:
        raise raised

    fake_broker.add_service(fails)
    own = FastAPI()
    gateway.install(own)

    @own.get("/here")
    async def here() -> None:
        raise raised

    if isinstance(raised, ValueError):
        with TestClient(app) as browser:
            answer = browser.get("/call/fails")
        assert "hunter2" in caplog.text  # the log has what the browser does not get
    else:
        with TestClient(own) as browser:
            answer = browser.get("/here")
    assert answer.status_code == status
    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text


def test_deadline_class_and_headers_of_the_request(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(describe)
    with TestClient(app) as browser:
        plain = browser.get("/told").json()
        assert 10 < plain["left"] < 25
        assert (plain["criticality"], plain["headers"]) == (None, {})
        sent = {"Request-Timeout": "2500ms", "Request-Criticality": "batch", "traceparent": TRACE, "tenant": "a"}
        asked = browser.get("/told", headers=sent).json()
        assert asked["left"] < 7
        assert (asked["criticality"], asked["headers"]) == ("batch", {"traceparent": TRACE, "tenant": "a"})
        longer = {"Request-Timeout": "1H", "Request-Criticality": "urgent", "traceparent": "nonsense"}
        capped = browser.get("/told", headers=longer).json()
        assert capped["left"] < 25
        assert (capped["criticality"], capped["headers"]) == (None, {})
        wrong = browser.get("/told", headers={"Request-Timeout": "soon"})
        assert (wrong.status_code, wrong.json()["code"]) == (400, "deadline")


def test_lines_of_a_request_have_its_id(handlers: Handlers, caplog: pytest.LogCaptureFixture) -> None:
    own = FastAPI()
    gateway.install(own)

    @own.get("/async")
    async def logs() -> None:
        log.warning("logged")

    @own.get("/thread")
    def logs_too() -> None:
        log.warning("logged")

    log, call_filter = logging.getLogger("tests.shop"), CallLogFilter()
    caplog.handler.addFilter(call_filter)
    try:
        with TestClient(own) as browser:
            for path in ("/async", "/thread"):
                for request_id in ("from-a-proxy", "two words"):
                    browser.get(path, headers={"X-Request-ID": request_id})
    finally:
        caplog.handler.removeFilter(call_filter)
    ids = [vars(record)["rb_request_id"] for record in caplog.records if record.getMessage() == "logged"]
    assert ids[0::2] == ["from-a-proxy"] * 2
    assert len({*ids[1::2]}) == 2
    assert not {"", "two words"} & {*ids}


def test_the_deadline_of_the_request_ends_its_calls(handlers: Handlers) -> None:
    with TestClient(app) as browser:
        answer = browser.get("/call/hang", headers={"Request-Timeout": "0.2"})
    assert (answer.status_code, answer.json()["code"]) == (504, "timeout")
    assert handlers.cancelled.is_set()


def test_it_surrounds_the_lifespan_of_the_application(handlers: Handlers) -> None:
    seen: list[Any] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, str]]:
        running = billing._core.running
        assert running is not None
        seen.append(await running.clients["default"].remote_call("add", (1, 2)))
        yield {"color": "red"}
        client = running.clients["billing"]
        assert isinstance(client, RMQClient)
        seen.append(client.state.value)

    own = FastAPI(lifespan=lifespan)
    billing.install(own)

    @own.get("/names")
    async def names(
        first: Annotated[RMQClient, Depends(billing.client)],
        second: Annotated[RMQClient, Depends(billing.named("billing"))],
    ) -> list[str]:
        return [first.state.value, second.name, str(await second.call("add", 2, 2))]

    with TestClient(own) as browser:
        assert browser.get("/names").json() == ["ready", "billing", "4"]
        running = dict(billing._core._running)
    assert seen == [3, "ready"]
    assert all(not one.clients for one in running.values())
    with pytest.raises(ConfigurationError, match="no client 'shop'"):
        billing.named("shop")


@pytest.mark.parametrize(
    "arguments",
    [
        {"client": RMQClient.__new__(RMQClient)},
        {"timeout": 0},
        {"forward_headers": ("rb-error",)},
        {"forward_headers": "traceparent"},
        {"criticalities": ("a b",)},
        {"statuses": {"sold_out": 200}},
        {"clients": {"default": RMQClient}},
    ],
    ids=lambda value: next(iter(value)),
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Gateway(**arguments)


@pytest.mark.parametrize("library", ["fastapi", "starlette"])
def test_a_missing_package_is_named_with_the_command(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"rabibridge.contrib.{library}")
    with pytest.raises(ImportError, match=rf"pip install 'rabibridge-rabbitmq\[{library}\]'"):
        importlib.import_module(f"rabibridge.contrib.{library}")
