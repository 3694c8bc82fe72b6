"""What happens to a thread in the middle of a synchronous stream or upload: it ends at once, and is never complete."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import Progress, StreamError, current_call
from rabibridge.sync import Client
from rabibridge_core._hosting import loop_thread
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator

    from rabibridge_testing import FakeBroker

pytestmark = [
    pytest.mark.usefixtures("clean_place"),
    pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="threads cannot be signalled here"),
]


class Interruption(BaseException):
    """What a test runner raises."""


class Functions:
    """Functions that end only when they are cancelled."""

    def __init__(self) -> None:
        self.waits, self.ended = threading.Event(), threading.Event()

    async def fed(self, items: AsyncIterator[int]) -> AsyncIterator[int]:
        await anext(items)
        async for item in self.silent():
            yield item

    async def silent(self) -> AsyncIterator[int]:
        try:
            yield 1
            self.waits.set()
            current_call().progress(0.5)
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def reading(self, items: AsyncIterator[int]) -> int:
        try:
            current_call().progress(0.5)
            async for _ in items:
                self.waits.set()
            await asyncio.Event().wait()
            return 0
        finally:
            self.ended.set()


@pytest.fixture
def functions(fake_broker: FakeBroker) -> Functions:
    functions = Functions()
    fake_broker.add_service(functions.silent, name="silent")
    fake_broker.add_service(functions.reading, name="reading")
    fake_broker.add_service(functions.fed, name="fed")
    return functions


@pytest.fixture
def client(fake_broker: FakeBroker) -> Iterator[Client]:
    with Client() as client:
        yield client
        assert client.pending == 0


@pytest.fixture
def interrupt_when() -> Iterator[Callable[[threading.Event, BaseException], None]]:
    """Raise an exception in the main thread, by a signal handler, when it waits and something has happened."""
    before = signal.getsignal(signal.SIGUSR1)

    def interrupt_when(event: threading.Event, error: BaseException) -> None:
        def raise_it(number: int, frame: object) -> None:
            raise error

        def send() -> None:
            main = threading.main_thread().ident or 0
            event.wait(PATIENCE)
            while sys._current_frames()[main].f_globals["__name__"] != loop_thread.__name__:  # until it waits
                time.sleep(0.01)
            signal.pthread_kill(main, signal.SIGUSR1)

        signal.signal(signal.SIGUSR1, raise_it)
        threading.Thread(target=send).start()

    yield interrupt_when
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("kind", [Interruption, SystemExit, TimeoutError])
@pytest.mark.parametrize("how", ["plain", "fed", "reporting"])
def test_a_stream_that_was_interrupted_is_never_complete(
    client: Client, functions: Functions, interrupt_when: Callable[..., None], kind: type[BaseException], how: str
) -> None:
    error = kind(3)  # made here: it keeps the frames that it passes, and with them all that belongs to the stream
    view = client.options(timeout=PATIENCE, on_progress=(lambda _: None) if how == "reporting" else None)
    stream = view.stream("fed", iter([1, 2])) if how == "fed" else view.stream("silent")
    assert next(stream) == 1
    interrupt_when(functions.waits, error)
    with pytest.raises(kind) as raised:
        next(stream)
    assert raised.value is error
    assert client.pending == 0
    assert functions.ended.wait(PATIENCE)
    for _ in range(2):
        with pytest.raises(StreamError, match="an exception interrupted the thread") as ended:
            next(stream)
        assert ended.value.received == 1


@pytest.mark.parametrize("reporting", [False, True])
def test_an_upload_that_is_interrupted_closes_its_iterator(
    client: Client, functions: Functions, interrupt_when: Callable[..., None], reporting: bool
) -> None:
    closed = threading.Event()

    def numbers() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            closed.set()

    interrupt_when(functions.waits, Interruption())
    with pytest.raises(Interruption):
        client.options(timeout=PATIENCE, on_progress=(lambda _: None) if reporting else None).call("reading", numbers())
    assert client.pending == 0
    assert closed.is_set()
    assert functions.ended.wait(PATIENCE)


def test_what_the_thread_does_for_a_stream_is_interrupted(client: Client, functions: Functions) -> None:
    def drawn() -> Iterator[int]:
        yield 1
        raise Interruption

    with pytest.raises(Interruption):
        client.options(timeout=PATIENCE).call("reading", drawn())
    assert functions.ended.wait(PATIENCE)
    functions.ended.clear()

    def listen(_: Progress) -> None:
        raise Interruption

    view = client.options(timeout=PATIENCE, on_progress=listen)
    with pytest.raises(Interruption):
        view.call("reading", iter([1]))
    assert functions.ended.wait(PATIENCE)
    functions.ended.clear()
    stream = view.stream("silent")
    with pytest.raises(Interruption):
        list(stream)
    assert functions.ended.wait(PATIENCE)
    with pytest.raises(StreamError, match="an exception interrupted the thread"):
        next(stream)


def test_a_check_of_an_item_is_interrupted(fake_broker: FakeBroker, client: Client) -> None:
    async def items() -> AsyncIterator[int]:
        for number in range(5):
            yield number

    fake_broker.add_service(items)
    stream = client.options(timeout=PATIENCE).stream("items")
    raising = [Interruption()]

    def adapt(item: Any) -> Any:
        if item == 2 and raising:
            raise raising.pop()
        return item

    stream._adapt = adapt  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(Interruption):
        next(stream)
    with pytest.raises(StreamError) as ended:  # the item 2 is lost, which must not go unnoticed
        next(stream)
    assert ended.value.received == 2


def test_an_exception_set_by_another_thread_ends_a_stream(client: Client, functions: Functions) -> None:
    raised = threading.Event()

    def work() -> None:
        try:
            list(client.options(timeout=PATIENCE).stream("silent"))
        except Interruption:
            raised.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert functions.waits.wait(PATIENCE)
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Interruption))
    assert raised.wait(PATIENCE)
    assert functions.ended.wait(PATIENCE)
    thread.join(PATIENCE)


def test_a_generator_that_reads_a_stream_is_closed(client: Client, functions: Functions) -> None:
    def lines() -> Generator[str]:
        for item in client.options(timeout=PATIENCE).stream("silent"):
            yield f"{item}"

    reading = lines()
    assert next(reading) == "1"
    reading.close()
    assert functions.ended.wait(PATIENCE)


def test_a_blocked_loop_holds_up_an_interruption_for_a_second_at_most(
    client: Client, functions: Functions, interrupt_when: Callable[..., None], fake_broker: FakeBroker
) -> None:
    blocking, go_on = threading.Event(), threading.Event()

    async def block() -> None:
        blocking.set()
        go_on.wait(2 * PATIENCE)

    fake_broker.add_service(block)
    stream = client.options(timeout=2 * PATIENCE).stream("fed", iter([1]))
    assert next(stream) == 1
    calling = threading.Thread(target=lambda: functions.waits.wait(PATIENCE) and client.call("block"))
    calling.start()
    interrupt_when(blocking, Interruption())
    with pytest.raises(Interruption):
        next(stream)
    assert not functions.ended.is_set()
    go_on.set()
    assert functions.ended.wait(PATIENCE)
    calling.join(PATIENCE)
