"""Reports of progress of streams and uploads, for a thread that waits: it gets them itself."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from rabibridge import ConfigurationError, Progress, RemoteExecutionError, current_call
from rabibridge.sync import Client
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from rabibridge_testing import FakeBroker

pytestmark = pytest.mark.usefixtures("clean_place")


class Listener:
    """Notes the texts of the reports, and in which threads they came."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.threads: set[int] = set()
        self.reported = threading.Event()

    def __call__(self, progress: Progress) -> None:
        self.texts.append(progress.text)
        self.threads.add(threading.get_ident())
        self.reported.set()


class Stepping:
    """Functions that report, and go on when the report was heard."""

    def __init__(self) -> None:
        self.listener = Listener()

    def rows(self, count: int) -> Iterator[int]:
        current_call().progress(0.0, "begun")
        self.listener.reported.wait(PATIENCE)
        yield from range(count)
        self.listener.reported.clear()
        current_call().progress(0.5, "half")
        self.listener.reported.wait(PATIENCE)
        yield from range(count)

    def total(self, items: Iterator[int]) -> int:
        current_call().progress(0.0, "adding")
        self.listener.reported.wait(PATIENCE)
        return sum(items)

    def doubled(self, items: Iterator[int]) -> Iterator[int]:
        current_call().progress(0.0, "doubling")
        self.listener.reported.wait(PATIENCE)
        for item in items:
            yield 2 * item


@pytest.fixture
def functions(fake_broker: FakeBroker) -> Stepping:
    functions = Stepping()
    for name in ("rows", "total", "doubled"):
        fake_broker.add_service(getattr(functions, name), name=name)
    return functions


@pytest.fixture
def client(fake_broker: FakeBroker) -> Iterator[Client]:
    with Client() as client:
        yield client
        assert client.pending == 0


def test_reports_of_a_stream(functions: Stepping, client: Client) -> None:
    stream = client.options(on_progress=functions.listener, timeout=PATIENCE).stream("rows", 3)
    assert list(stream) == [0, 1, 2, 0, 1, 2]
    assert stream.received == 6
    assert list(stream) == []
    assert functions.listener.texts == ["begun", "half"]
    assert functions.listener.threads == {threading.get_ident()}


def test_reports_of_uploads(functions: Stepping, client: Client) -> None:
    listener = functions.listener
    view = client.options(on_progress=listener, timeout=PATIENCE)
    assert view.call("total", iter(range(100))) == 4950
    listener.reported.clear()
    assert list(view.stream("doubled", iter(range(2000)))) == [2 * number for number in range(2000)]
    assert listener.texts == ["adding", "doubling"]
    listener.reported.clear()

    async def numbers() -> AsyncIterator[int]:  # drawn from on the loop, while the reports come here
        yield 1
        yield 2

    assert view.call("total", numbers()) == 3
    assert listener.threads == {threading.get_ident()}


def test_what_raises_in_the_middle_of_a_stream(
    functions: Stepping, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(progress: Progress) -> None:
        functions.listener(progress)
        raise ZeroDivisionError("in the caller")

    assert len(list(client.options(on_progress=fail, timeout=PATIENCE).stream("rows", 1))) == 2
    assert caplog.text.count("ZeroDivisionError: in the caller") == 1, "the others are counted"


def test_errors_and_an_early_end(fake_broker: FakeBroker, client: Client) -> None:
    ended = threading.Event()

    async def fails() -> AsyncIterator[int]:
        current_call().progress(0.5)
        yield 1
        raise LookupError("no more")

    async def endless() -> AsyncIterator[int]:
        try:
            number = 0
            while True:
                current_call().progress(text="on the way")
                yield number
                number += 1
        finally:
            ended.set()

    fake_broker.add_service(fails)
    fake_broker.add_service(endless)
    view = client.options(on_progress=lambda _: None, timeout=PATIENCE)
    stream = view.stream(fails)
    assert next(stream) == 1
    for _ in range(2):
        with pytest.raises(RemoteExecutionError, match="no more") as caught:
            next(stream)
        assert caught.value.received == 1
    for item in view.stream(endless):
        if item == 10:
            break
    assert ended.wait(PATIENCE)


def test_an_async_function_cannot_listen(client: Client) -> None:
    async def listen(_: Progress) -> None: ...

    with pytest.raises(ConfigurationError, match="must be a function that is not async"):
        client.options(on_progress=listen)
    with pytest.raises(ConfigurationError, match="must be a function that is not async"):
        client.stub("add", on_progress=listen)
