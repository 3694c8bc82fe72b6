"""The traceback of a remote error, and the place where the event loop is blocked, show the user's code only."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import rabibridge_core
from rabibridge_core._observability.loop_monitor import LoopMonitor
from rabibridge_core._protocol.remote_errors import EXECUTION, INVALID_ARGUMENTS
from tests.unit.scripted_requests import PATIENCE, ScriptedRequest, make_service, until

if TYPE_CHECKING:
    from collections.abc import Callable

_ENGINE = str(Path(rabibridge_core.__file__).parent)
_FRAME = re.compile(r'^  File "(?P<file>.*)", line \d+, in (?P<function>\S+)$', re.MULTILINE)


def _raise() -> None:
    raise LookupError("not there")


async def fails() -> None:
    _raise()


async def fails_later() -> None:
    await asyncio.sleep(0)
    _raise()


def fails_in_a_thread() -> None:
    _raise()


async def _failed(func: Callable[..., Any], *args: Any, **limits: Any) -> ScriptedRequest:
    service = make_service(func, **limits)
    request = ScriptedRequest(args)
    service.received(request)
    await until(lambda: request.settled)
    await service.stop(0)
    return request


def _frames(request: ScriptedRequest) -> list[tuple[str, str]]:
    """The file and function of each frame of the remote traceback, outermost first."""
    return [(match["file"], match["function"]) for match in _FRAME.finditer(request.answer[1])]


@pytest.mark.parametrize("validate", [False, True])
@pytest.mark.parametrize("func", [fails, fails_later, fails_in_a_thread])
async def test_a_remote_traceback_begins_at_the_handler(func: Callable[[], Any], validate: bool) -> None:
    request = await _failed(func, validate=validate)
    assert request.error["rb-error"] == EXECUTION
    assert _frames(request) == [(__file__, func.__name__), (__file__, "_raise")]
    assert _ENGINE not in request.answer[1]
    assert request.answer[1].rstrip().endswith("LookupError: not there")


@pytest.mark.parametrize(
    ("delivery", "headers"), [("at-least-once", {}), ("at-least-once", {"rb-key": "key"}), ("at-most-once", {})]
)
async def test_it_begins_there_however_the_request_is_processed(delivery: Any, headers: dict[str, str]) -> None:
    service = make_service(fails, delivery=delivery)
    request = ScriptedRequest(headers=headers)
    service.received(request)
    await until(lambda: request.settled)
    assert _frames(request) == [(__file__, "fails"), (__file__, "_raise")]
    await service.stop(0)


async def test_the_cause_and_the_context_of_the_error_are_kept() -> None:
    async def translates() -> None:
        try:
            _raise()
        except LookupError as error:
            raise ValueError("translated") from error

    text = (await _failed(translates)).answer[1]
    assert text.index("LookupError: not there") < text.index("direct cause") < text.index("ValueError: translated")
    assert _ENGINE not in text


async def test_an_error_without_a_frame_of_the_user_still_has_its_message() -> None:
    request = await _failed(fails, "one argument too many")
    assert request.error["rb-error"] == INVALID_ARGUMENTS
    assert "takes 0 positional arguments but 1 was given" in request.answer[1]


async def test_the_place_where_the_loop_is_blocked_ends_at_the_handler() -> None:
    texts: list[str] = []
    noticed = threading.Event()

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(record.getMessage())
            noticed.set()

    async def blocks() -> None:
        noticed.wait(PATIENCE)  # until the monitor has logged it

    service = make_service(blocks)
    handler, logger = Collect(), logging.getLogger("rabibridge_core._observability.loop_monitor")
    logger.addHandler(handler)
    monitor = LoopMonitor(lambda task: "blocks" if service.runs(task) else None, limit=0.05, pause=0.01)
    monitor.start()
    try:
        request = ScriptedRequest()
        service.received(request)
        await until(lambda: request.settled)
    finally:
        monitor.stop()
        logger.removeHandler(handler)
    place, outermost = texts[0].split(" called from ")
    assert "threading.py" in place  # the frame that blocks
    assert __file__ in outermost
    assert "<locals>.blocks" in outermost
    assert _ENGINE not in texts[0]
    await service.stop(0)
