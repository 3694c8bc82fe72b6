"""Errors as HTTP responses: every class has a status, and no response holds a text of an error."""

from __future__ import annotations

import re
from typing import Any

import pytest

import rabibridge
import rabibridge_core.errors
from rabibridge import (
    CallTimeoutError,
    ConnectionLostError,
    ContentRejectedError,
    NoRouteError,
    QueueFullError,
    RabiBridgeError,
    RemoteExecutionError,
    ServiceError,
    StreamError,
)
from rabibridge._gateway.statuses import STATUSES, answer_for
from rabibridge.contrib.problems import problem_of
from rabibridge.errors import NoRouteError as NoRouteOfRabbitMQ
from rabibridge.errors import QueueFullError as QueueFullOfRabbitMQ
from tests.docs.blocks import ROOT

CLASSES: set[type[RabiBridgeError]] = {
    cls
    for module in (rabibridge, rabibridge_core.errors)
    for name in module.__all__
    if isinstance(cls := getattr(module, name), type) and issubclass(cls, RabiBridgeError)
}
SECRET = "amqp://user:hunter2@host"


class SoldOut(ServiceError, code="gateway.sold_out"):
    item: str
    left: int = 0


def test_every_public_class_of_errors_has_a_row() -> None:
    assert {cls.__name__ for cls in CLASSES - STATUSES.keys()} == set()


def test_the_page_has_the_same_table() -> None:
    page = (ROOT / "docs/gateways.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d{3})", page, re.MULTILINE))
    assert rows == {cls.__name__: str(answer.status) for cls, answer in STATUSES.items() if cls is not RabiBridgeError}


@pytest.mark.parametrize("cls", sorted(CLASSES - {ServiceError}, key=str), ids=str)
def test_no_text_of_an_error_reaches_the_browser(cls: type[RabiBridgeError]) -> None:
    error = cls(SECRET)
    problem = problem_of(error)
    assert b"hunter2" not in problem.encode()
    assert problem.body["status"] == problem.status
    assert problem.body["title"]
    assert problem.headers["content-type"] == "application/problem+json"
    assert "hunter2" in problem_of(error, details=True).body["detail"]


def test_a_remote_traceback_stays_inside() -> None:
    error = RemoteExecutionError(SECRET, error_type="x.Y", error_message=SECRET, remote_traceback=f"File {SECRET}")
    assert b"hunter2" not in problem_of(error).encode()
    assert b"File" not in problem_of(error, details=True).encode()


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (QueueFullOfRabbitMQ("full"), 503, "queue_full"),
        (NoRouteOfRabbitMQ("none"), 502, "no_route"),
        (NoRouteError("none"), 502, "no_route"),
        (CallTimeoutError("late"), 504, "timeout"),
        (ConnectionLostError("closed", executed=False), 503, "unavailable"),
        (ConnectionLostError("lost"), 502, "connection_lost"),
        (ContentRejectedError("large", executed=False), 413, "too_large"),
        (ContentRejectedError("reply"), 502, "content_rejected"),
        (SoldOut("tea"), 500, "failed"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_statuses(error: RabiBridgeError, status: int, code: str) -> None:
    problem = problem_of(error)
    assert (problem.status, problem.body["code"]) == (status, code)
    assert ("retry-after" in problem.headers) == (status == 503)


def test_retry_after_is_rounded_up_and_never_0() -> None:
    assert problem_of(QueueFullError("full", retry_after=2.1)).headers["retry-after"] == "3"
    assert problem_of(QueueFullError("full", retry_after=0.0)).headers["retry-after"] == "1"
    assert problem_of(QueueFullError("full")).body["retry_after"] == 1


@pytest.mark.parametrize("statuses", [{SoldOut: 409}, {"gateway.sold_out": 409}], ids=["class", "code"])
@pytest.mark.parametrize(
    "error",
    [
        SoldOut("tea", left=2),
        RemoteExecutionError("x", error_message="sold out", code="gateway.sold_out", fields={"item": "tea", "left": 2}),
    ],
    ids=["declared here", "not declared here"],
)
def test_declared_errors_are_told_with_their_fields(statuses: Any, error: RabiBridgeError) -> None:
    problem = problem_of(error, statuses)
    assert (problem.status, problem.body["code"]) == (409, "gateway.sold_out")
    assert problem.body["fields"] == {"item": "tea", "left": 2}


def test_a_class_stands_for_its_subclasses() -> None:
    class Special(SoldOut, code="gateway.special"):
        pass

    assert problem_of(Special("tea"), {SoldOut: 410}).status == 410


def test_what_a_stream_had_given_is_told() -> None:
    assert problem_of(StreamError("broken", received=7)).body["received"] == 7
    assert answer_for(StreamError("broken")).status == 502
