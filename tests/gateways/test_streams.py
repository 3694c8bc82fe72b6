"""Streams of services in browsers: as server-sent events and over WebSockets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from rabibridge import (
    QueueFullError,
    current_call,
)
from tests.gateways.conftest import events_of

if TYPE_CHECKING:
    from rabibridge_testing import FakeBroker
    from tests.gateways.conftest import Handlers

from tests.gateways.application import app


def test_streams_as_events(handlers: Handlers) -> None:
    with TestClient(app) as browser:
        answer = browser.get("/events/count/3")
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "retry: 2000\n" in answer.text
        assert events_of(answer.text) == [
            ("message", "1", 0),
            ("message", "2", 1),
            ("message", "3", 2),
            ("end", "end", {"received": 3}),
        ]
        assert browser.get("/events/count/3", headers={"Last-Event-ID": "end"}).status_code == 204


def test_a_stream_goes_on_behind_the_last_event_that_the_browser_has(handlers: Handlers) -> None:
    with TestClient(app) as browser:
        answer = browser.get("/events/rows/4", headers={"Last-Event-ID": "2"})
        assert events_of(answer.text) == [("message", "3", 2), ("message", "4", 3), ("end", "end", {"received": 2})]
        refused = browser.get("/events/count/4", headers={"Last-Event-ID": "2"})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_arguments")


def test_a_failure_after_the_first_item_is_an_event_and_before_it_a_status(
    handlers: Handlers, fake_broker: FakeBroker
) -> None:
    with TestClient(app) as browser:
        *items, (name, last, problem) = events_of(browser.get("/events/breaks/2").text)
        assert [data for _, _, data in items] == [0, 1]
        assert (name, last) == ("error", "end")
        assert (problem["status"], problem["received"]) == (500, 2)
        assert "hunter2" not in str(problem)
        assert browser.get("/events/breaks/0").status_code == 500
        with fake_broker.refuse("count", QueueFullError):
            assert browser.get("/events/count/3").status_code == 503


def test_progress_and_result_as_events(fake_broker: FakeBroker) -> None:
    async def work() -> str:
        current_call().progress(0.5, "half")
        await asyncio.sleep(0.2)
        return "done"

    fake_broker.add_service(work)
    with TestClient(app) as browser:
        found = events_of(browser.get("/progress").text)
    assert ("progress", "", {"fraction": 0.5, "text": "half"}) in found
    assert found[-2:] == [("result", "", "done"), ("end", "end", {"received": len(found) - 1})]


def test_streams_as_websocket(handlers: Handlers, fake_broker: FakeBroker) -> None:
    with TestClient(app) as browser:
        with browser.websocket_connect("/socket/count/2") as channel:
            assert [channel.receive_json(), channel.receive_json()] == [0, 1]
            with pytest.raises(WebSocketDisconnect) as closed:
                channel.receive_json()
        assert closed.value.code == 1000
        with browser.websocket_connect("/socket/breaks/1") as channel:
            assert channel.receive_json() == 0
            with pytest.raises(WebSocketDisconnect) as closed:
                channel.receive_json()
        assert (closed.value.code, closed.value.reason) == (4500, "failed")
        with (
            fake_broker.refuse("count", QueueFullError),
            browser.websocket_connect("/socket/count/2") as channel,
            pytest.raises(WebSocketDisconnect) as closed,
        ):
            channel.receive_json()
        assert (closed.value.code, closed.value.reason) == (4503, "queue_full")


def test_an_upload_by_websocket(handlers: Handlers) -> None:
    with TestClient(app) as browser, browser.websocket_connect("/doubled") as channel:
        for number in range(3):
            channel.send_text(str(number))
        channel.send_text("")
        assert [channel.receive_json() for _ in range(3)] == [0, 2, 4]
        with pytest.raises(WebSocketDisconnect) as closed:
            channel.receive_json()
    assert closed.value.code == 1000
