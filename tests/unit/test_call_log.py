"""Which call a log line belongs to."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import CallLogFilter, ConfigurationError, RMQClient, request_scope
from rabibridge_core import current_call
from rabibridge_core._observability import call_log
from rabibridge_core._reporting.json_log import JsonLogFormatter
from rabibridge_core._reporting.log_fields import log_fields
from tests.unit import process_functions as functions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import FrameType

    from rabibridge_testing import FakeBroker

log = logging.getLogger("tests.call_log")


class Lines(logging.Handler):
    """Keeps the records that pass a CallLogFilter."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.addFilter(CallLogFilter())

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def of(self, text: str) -> tuple[Any, ...]:
        (record,) = [one for one in self.records if one.getMessage() == text]
        return tuple(vars(record)[name] for name in call_log.CALL_FIELDS)


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, level = Lines(), logging.root.level
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.INFO)
    yield handler
    logging.root.removeHandler(handler)
    logging.root.setLevel(level)


async def test_lines_of_a_handler_name_their_call(fake_broker: FakeBroker, lines: Lines) -> None:
    ids: dict[str, str] = {}

    async def loop() -> None:
        ids["loop"] = current_call().id
        log.info("in async")
        await asyncio.gather(asyncio.to_thread(log.info, "in to_thread"), asyncio.create_task(nested()))

    async def nested() -> None:
        log.info("in a task")

    def thread() -> None:
        ids["thread"] = current_call().id
        log.info("in a thread")
        bound = threading.Thread(target=current_call().bind(partial(log.info, "in a thread of its own")))
        bound.start()
        bound.join()

    async def items() -> AsyncIterator[int]:
        log.info("before a yield")
        yield 1
        log.info("after a yield")

    def sync_items() -> Iterator[int]:
        log.info("in a sync generator")
        yield 1

    async def shout() -> None:
        log.info("in a broadcast")

    for function in (loop, thread, items, sync_items, shout):
        fake_broker.add_service(function)
    async with RMQClient() as client:
        await client.call(loop)
        await client.call(thread)
        async for _ in client.stream(items):
            log.info("read by the caller")
        async for _ in client.stream(sync_items):
            pass
        async for _ in client.broadcast("shout"):
            pass
    log.info("outside")
    for text in ("in async", "in to_thread", "in a task"):
        assert lines.of(text) == ("loop", ids["loop"], 1, "")
    for text in ("in a thread", "in a thread of its own"):
        assert lines.of(text) == ("thread", ids["thread"], 1, "")
    assert lines.of("before a yield")[:2] == lines.of("after a yield")[:2]
    assert [lines.of(text)[0] for text in ("before a yield", "in a sync generator", "in a broadcast")] == [
        "items", "sync_items", "shout",
    ]  # fmt: skip
    assert lines.of("read by the caller") == lines.of("outside") == ("", "", 0, "")


async def test_lines_of_a_request_have_its_id(fake_broker: FakeBroker, lines: Lines) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"

    async def inner() -> str:
        with request_scope(request_id="inner"):
            log.info("in a handler")
            with request_scope():
                log.info("in a nested block")
        return current_call().id

    fake_broker.add_service(inner)
    async with RMQClient() as client:
        with request_scope(request_id="web-1"):
            call_id = await client.call(inner)
            await asyncio.create_task(asyncio.to_thread(log.info, "in a task of the request"))
    with request_scope(headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}):
        log.info("of a trace")
    with request_scope():
        log.info("first of its own")
        log.info("second of its own")
    for text in ("in a handler", "in a nested block"):
        assert lines.of(text) == ("inner", call_id, 1, "inner")
    assert lines.of("in a task of the request") == ("", "", 0, "web-1")
    assert lines.of("of a trace")[3] == trace
    assert lines.of("first of its own")[3] == lines.of("second of its own")[3] != ""
    for wrong in ("", "two words", "a\nb", "é", "x" * 129):
        with pytest.raises(ConfigurationError, match="request_id"), request_scope(request_id=wrong):
            pass


@pytest.mark.skipif(sys.platform == "win32", reason="child processes of services need POSIX")
async def test_lines_of_child_processes_name_their_call(fake_broker: FakeBroker, lines: Lines) -> None:
    fake_broker.add_service(functions.logs_its_call, executor="process")
    async with RMQClient() as client:
        call_id = await client.call(functions.logs_its_call)
    record = next(one for one in lines.records if one.getMessage() == "in a child")
    assert (record.rb_service, record.rb_call_id) == ("logs_its_call", call_id)  # type: ignore[attr-defined]
    told = json.loads(JsonLogFormatter().format(record))
    assert (told["order"], told["rb_call_id"], told["odd"]) == (7, call_id, "{1}")


async def test_other_fields_can_be_added(monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
    monkeypatch.setattr(call_log, "_further", [])
    call_log.add_log_fields(lambda: {"trace_id": "4bf9"})
    log.info("traced")
    assert lines.records[-1].trace_id == "4bf9"  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", [float("nan"), {(1, 2): object}, [{"deep": [1, 2.5, None, True]}], "\udcff\x1b"])
def test_no_value_of_a_program_costs_its_line_of_json(value: object) -> None:
    record = log.makeRecord("shop", logging.INFO, __file__, 1, "text", (), None, "f", {"value": value})
    line = JsonLogFormatter().format(record)
    assert line.isascii()
    assert "value" in json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_nothing_is_written_before_the_program_says_where() -> None:
    program = (
        "import logging, rabibridge, rabibridge.mq, rabibridge_redis.plugin, rabibridge_telemetry.plugin\n"
        "allowed = {'rabibridge', *('rabibridge_' + n for n in ('core', 'redis', 'telemetry', 'testing'))}\n"
        "for name in allowed:\n"
        "    assert [type(h) for h in logging.getLogger(name).handlers] == [logging.NullHandler], name\n"
        "names = [n for n, l in logging.root.manager.loggerDict.items() if getattr(l, 'handlers', ())]\n"
        "assert not logging.root.handlers and set(names) <= allowed, names\n"
        "logging.getLogger('rabibridge_core._client').error('unheard')\n"
        "import asyncio\n"
        "async def serve():\n"
        "    async with rabibridge.RMQServer(url='memory://log'): pass\n"
        "asyncio.run(serve())\n"
        "logging.getLogger('rabibridge_core._server').error('heard')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "heard\n")


async def test_calls_that_succeed_create_no_record(fake_broker: FakeBroker) -> None:
    async def add(a: int, b: int) -> int:
        return a + b

    def product(a: int, b: int) -> int:
        return a * b

    fake_broker.add_service(add)
    fake_broker.add_service(product)
    made: list[str] = []
    factory, level = logging.getLogRecordFactory(), logging.root.level

    def counting(*arguments: Any, **words: Any) -> logging.LogRecord:
        record = factory(*arguments, **words)
        if record.name.startswith("rabibridge"):
            made.append(record.getMessage())
        return record

    async with RMQClient() as client:
        await client.call(add, 1, 2)
        logging.setLogRecordFactory(counting)
        logging.root.setLevel(logging.INFO)
        try:
            for number in range(200):
                assert await client.call(add, number, 1) == number + 1
                assert await client.call(product, number, 2) == number * 2
        finally:
            logging.setLogRecordFactory(factory)
            logging.root.setLevel(level)
    assert made == []


async def test_calls_that_succeed_do_not_enter_the_code_of_logging(fake_broker: FakeBroker) -> None:
    """With logging off: nothing is asked of a logger, formatted or allocated there, by client and worker."""

    async def add(a: int, b: int) -> int:
        return a + b

    fake_broker.add_service(add)
    entered: set[str] = set()

    def profile(frame: FrameType, event: str, argument: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and (name == logging.__file__ or f"{os.sep}_reporting{os.sep}" in name):
            entered.add(f"{name}:{frame.f_code.co_name}")

    async with RMQClient() as client:
        await client.call(add, 1, 2)
        sys.setprofile(profile)
        try:
            for number in range(100):
                assert await client.call(add, number, 1) == number + 1
        finally:
            sys.setprofile(None)
    assert entered == set()


async def test_a_failing_handler_is_one_line_with_its_call(
    fake_broker: FakeBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails() -> None:
        raise LookupError("nothing")

    fake_broker.add_service(fails)
    async with RMQClient() as client:
        results = await asyncio.gather(*(client.call(fails) for _ in range(300)), return_exceptions=True)
    assert len(results) == 300
    raised = [one for one in caplog.records if getattr(one, "rb_event", "") == "call.raised"]
    assert len(raised) <= 2  # the line, and perhaps a count
    (first, *_) = raised
    told = vars(first)
    assert (told["rb_service"], told["rb_error"], told["rb_attempt"]) == ("fails", "builtins.LookupError", 1)
    assert told["rb_call_id"]
    assert told["rb_duration"] >= 0


def test_fields_hold_no_text_that_could_forge_a_line() -> None:
    fields = log_fields("x.y", service="a\nb\x1b[2J", queue=b"\xff\n", call_id="x" * 5_000, error=ValueError("secret"))
    assert all("\n" not in str(value) and "\x1b" not in str(value) for value in fields.values())
    assert len(str(fields["rb_call_id"])) == 1_000
    assert "secret" not in str(fields)
