"""How a handler runs: on the loop or in a thread, validated or not."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._server.active_request import ActiveRequest
from rabibridge_core._server.exceptions import ArgumentsRefusedError, TooLateError
from rabibridge_core._server.executors import HandlerExecutor
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import RegistrationError
from tests.unit.scripted_requests import ScriptedRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 90.0


def call() -> ActiveRequest:
    return ActiveRequest("service", ScriptedRequest())


@pytest.fixture
def made() -> Iterator[list[HandlerExecutor]]:
    handlers: list[HandlerExecutor] = []
    yield handlers
    for handler in handlers:
        handler.close(drop_waiting=True)


@pytest.fixture
def handler(made: list[HandlerExecutor]) -> Callable[..., HandlerExecutor]:
    def make(func: Callable[..., Any], **options: Any) -> HandlerExecutor:
        made.append(HandlerExecutor(ServiceSchema.of(func, ServiceLimits(**options))))
        return made[-1]

    return make


async def test_a_coroutine_function_runs_on_the_loop(handler: Callable[..., HandlerExecutor]) -> None:
    async def where(first: int, *, second: int = 2) -> tuple[int, int, int]:
        return first, second, threading.get_ident()

    assert await handler(where).run((1,), {"second": 3}, call()) == (1, 3, threading.get_ident())


async def test_another_function_runs_in_a_thread_of_its_service(handler: Callable[..., HandlerExecutor]) -> None:
    def where() -> tuple[int, str]:
        return threading.get_ident(), threading.current_thread().name

    ident, name = await handler(where).run((), {}, call())
    assert ident != threading.get_ident()
    assert "where" in name


async def test_as_many_threads_as_fetch_size(handler: Callable[..., HandlerExecutor]) -> None:
    together = threading.Barrier(4, timeout=PATIENCE)
    runs = handler(lambda_named("meet", together.wait), fetch_size=4)
    assert sorted(await asyncio.gather(*(runs.run((), {}, call()) for _ in range(8)))) == [0, 0, 1, 1, 2, 2, 3, 3]


def lambda_named(name: str, inner: Callable[[], Any]) -> Callable[[], Any]:
    def function() -> Any:
        return inner()

    function.__name__ = name
    return function


async def test_context_variables_reach_the_thread(handler: Callable[..., HandlerExecutor]) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    def read() -> str:
        before = variable.get()
        variable.set("changed")
        return before

    runs = handler(read)
    variable.set("set")
    assert await runs.run((), {}, call()) == "set"
    assert variable.get() == "set"  # what a handler sets stays in its call


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2), {}), ((1,), {"number": 1}), ((1,), {"other": 1})], ids=str
)
@pytest.mark.parametrize("validate", [False, True])
async def test_arguments_that_do_not_fit(
    handler: Callable[..., HandlerExecutor], args: tuple[Any, ...], kwargs: dict[str, Any], validate: bool
) -> None:
    async def one(number: int) -> None:
        raise AssertionError("it ran")

    def one_in_a_thread(number: int) -> None:
        raise AssertionError("it ran")

    for function in (one, one_in_a_thread):
        with pytest.raises(ArgumentsRefusedError) as refused:
            await handler(function, validate=validate).run(args, kwargs, call())
        assert refused.value.__cause__ is not None


async def test_a_type_error_of_the_function_is_its_own(handler: Callable[..., HandlerExecutor]) -> None:
    def inner(number: int) -> int:
        return number

    async def calls_wrongly() -> Any:
        return inner()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]

    def calls_wrongly_in_a_thread() -> Any:
        return inner()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]

    for function in (calls_wrongly, calls_wrongly_in_a_thread):
        with pytest.raises(TypeError, match="inner"):
            await handler(function).run((), {}, call())


async def test_validation_converts(handler: Callable[..., HandlerExecutor]) -> None:
    async def types(number: int, text: str = "t", *rest: float, flag: bool = False, **more: int) -> list[Any]:
        return [number, text, rest, flag, more]

    runs = handler(types, validate=True)
    assert await runs.run(("5", "x", "1.5"), {"flag": "yes", "other": "7"}, call()) == [
        5,
        "x",
        (1.5,),
        True,
        {"other": 7},
    ]
    assert await runs.run((5,), {}, call()) == [5, "t", (), False, {}]


async def test_the_result_is_not_validated(handler: Callable[..., HandlerExecutor]) -> None:
    async def lies() -> int:
        return "no number"  # type: ignore[return-value] # pyright: ignore[reportReturnType]

    assert await handler(lies, validate=True).run((), {}, call()) == "no number"


@pytest.mark.parametrize("name", ["schema", "capture", "function"])
def test_an_annotation_never_finds_a_name_of_ours(name: str) -> None:
    names: dict[str, Any] = {}
    exec(f"async def takes(value: {name!r}):\n    pass", names)
    takes = names["takes"]
    with pytest.raises(RegistrationError, match=name):
        HandlerExecutor(ServiceSchema.of(takes, ServiceLimits(validate=True)))


def test_nothing_of_who_prepares_a_handler_is_kept() -> None:
    class Value: ...

    async def takes(argument: int) -> None: ...

    def prepare() -> tuple[HandlerExecutor, weakref.ref[Value]]:
        value = Value()
        return HandlerExecutor(ServiceSchema.of(takes, ServiceLimits(validate=True))), weakref.ref(value)

    executor, value = prepare()
    gc.collect()
    assert value() is None
    assert executor is not None


def test_annotations_that_cannot_be_validated() -> None:
    class Opaque: ...

    async def takes(value: Opaque) -> None: ...

    takes.__annotations__ = {"value": Opaque}
    with pytest.raises(RegistrationError, match="takes"):
        HandlerExecutor(ServiceSchema.of(takes, ServiceLimits(validate=True)))


async def test_what_waited_too_long_for_a_thread_does_not_run(handler: Callable[..., HandlerExecutor]) -> None:
    ran: list[str] = []
    release, started = threading.Event(), threading.Event()

    def work(what: str) -> None:
        ran.append(what)
        started.set()
        release.wait(PATIENCE)

    runs = handler(work, fetch_size=1)
    first = asyncio.create_task(runs.run(("first",), {}, call()))
    await asyncio.to_thread(started.wait, PATIENCE)
    late_call = call()
    late_call.ends_at = monotonic()
    late = asyncio.create_task(runs.run(("late",), {}, late_call))
    await asyncio.sleep(0)  # let it be handed over
    release.set()
    await first
    with pytest.raises(TooLateError):
        await late
    assert ran == ["first"]


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt(), GeneratorExit()], ids=repr)
async def test_what_is_raised_comes_out(handler: Callable[..., HandlerExecutor], error: BaseException) -> None:
    async def fail() -> None:
        raise error

    def fail_in_a_thread() -> None:
        raise error

    for function in (fail, fail_in_a_thread):
        with pytest.raises(type(error)) as raised:
            await handler(function).run((), {}, call())
        assert raised.value is error


async def test_stop_iteration_from_a_thread(handler: Callable[..., HandlerExecutor]) -> None:
    def fail() -> None:
        raise StopIteration(1)

    with pytest.raises(RuntimeError) as raised:  # a coroutine cannot raise StopIteration
        async with asyncio.timeout(PATIENCE):
            await handler(fail).run((), {}, call())
    assert isinstance(raised.value.__cause__, StopIteration)


async def test_closing_lets_what_waits_run_or_drops_it(made: list[HandlerExecutor]) -> None:
    for drop_waiting in (False, True):
        release, started, ran = threading.Event(), threading.Event(), list[int]()

        def work(
            number: int, release: threading.Event = release, started: threading.Event = started, ran: list[int] = ran
        ) -> int:
            ran.append(number)
            started.set()
            release.wait(PATIENCE)
            return number

        handler = HandlerExecutor(ServiceSchema.of(work, ServiceLimits(fetch_size=1)))
        calls = [asyncio.create_task(handler.run((number,), {}, call())) for number in range(3)]
        await asyncio.to_thread(started.wait, PATIENCE)
        handler.close(drop_waiting=drop_waiting)
        release.set()
        async with asyncio.timeout(PATIENCE):
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        if drop_waiting:
            assert outcomes[0] == 0
            assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[1:])
            assert ran == [0]
        else:
            assert outcomes == ran == [0, 1, 2]
