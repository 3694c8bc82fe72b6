"""What comes back from a call that fails on the worker; the worker goes on, whatever it was."""

from __future__ import annotations

import asyncio
import os
import pickle
from textwrap import indent
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import ConnectionLostError, RemoteExecutionError
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge import RMQClient
    from tests.rabbitmq.support import Stage


class OwnError(Exception):
    """An error that only the worker knows."""


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Final(BaseException):
    """Not an Exception."""


async def _failure(client: RMQClient, name: str, *args: Any) -> RemoteExecutionError:
    with pytest.raises(RemoteExecutionError) as failure:
        await soon(client.remote_call(name, args, ftype="any"))
    return failure.value


async def test_type_message_and_traceback_of_what_was_raised(stage: Stage) -> None:
    def deeper() -> None:
        raise OwnError("went wrong", 42)

    async def fail() -> None:
        deeper()

    def fail_in_a_thread() -> None:
        deeper()

    names = stage.register(fail), stage.register(fail_in_a_thread)
    await stage.server(fail, fail_in_a_thread)
    client = await stage.client()
    for name in names:
        error = await _failure(client, name)
        assert type(error) is RemoteExecutionError
        assert error.error_type == f"{OwnError.__module__}.OwnError"
        assert error.error_message == "('went wrong', 42)"
        assert error.func_name == name
        assert error.executed is True
        assert name in str(error)
        assert "went wrong" in str(error)
        lines = error.remote_traceback.splitlines()
        assert lines[0] == "Traceback (most recent call last):"
        # It begins at the function: nothing of the library stands before it.
        assert f'File "{__file__}"' in lines[1]
        assert ", in fail" in lines[1]
        assert "rabibridge" not in error.remote_traceback.replace(str(OwnError.__module__), "").replace(__file__, "")
        assert lines[-1].endswith("OwnError: ('went wrong', 42)")
        assert indent(error.remote_traceback.rstrip(), "  ") in "\n".join(error.__notes__)


async def test_the_cause_travels_in_the_traceback(stage: Stage) -> None:
    async def fail() -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise OwnError("second") from error

    name = await stage.serve(fail)
    error = await _failure(await stage.client(), name)
    assert "KeyError: 'first'" in error.remote_traceback
    assert "direct cause" in error.remote_traceback


async def test_the_error_can_be_pickled(stage: Stage) -> None:
    async def fail() -> None:
        raise OwnError("text")

    name = await stage.serve(fail)
    error = await _failure(await stage.client(), name)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)


@pytest.mark.parametrize(
    ("raised", "error_type"),
    [
        (SystemExit(3), "builtins.SystemExit"),
        (KeyboardInterrupt(), "builtins.KeyboardInterrupt"),
        (Final("over"), f"{__name__}.Final"),
        (asyncio.CancelledError("on a whim"), "asyncio.exceptions.CancelledError"),
        (StopIteration(5), "builtins.StopIteration"),
        (StopAsyncIteration(), "builtins.StopAsyncIteration"),
        (GeneratorExit(), "builtins.GeneratorExit"),
        (TimeoutError(), "builtins.TimeoutError"),
        (ConnectionLostError("of a client in the handler"), "rabibridge_core.errors.ConnectionLostError"),
        (RemoteExecutionError("of a call in the handler"), "rabibridge_core.errors.RemoteExecutionError"),
        (UnprintableError(), f"{__name__}.UnprintableError"),
        (OwnError("\udcff lone surrogate"), f"{__name__}.OwnError"),
        (OwnError("long " * 100_000), f"{__name__}.OwnError"),
        (ExceptionGroup("many", [ValueError("one"), OwnError("two")]), "builtins.ExceptionGroup"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_whatever_is_raised_the_caller_is_told_and_the_worker_goes_on(
    stage: Stage, kind: str, raised: BaseException, error_type: str
) -> None:
    async def fail(now: bool) -> str:
        if now:
            raise raised
        return "still here"

    def fail_in_a_thread(now: bool) -> str:
        if now:
            raise raised
        return "still here"

    name = await stage.serve(fail if kind == "async" else fail_in_a_thread, fetch_size=1)
    client = await stage.client()
    for _ in range(2):
        error = await _failure(client, name, True)
        if isinstance(raised, StopIteration):  # a coroutine cannot raise it: Python makes a RuntimeError of it
            assert "StopIteration: 5" in error.remote_traceback
            error_type = "builtins.RuntimeError"
        assert error.error_type == error_type
        assert error.executed is True
        assert len(error.remote_traceback) < 100_000
        assert await soon(client.remote_call(name, (False,), ftype="any")) == "still here"


class Opaque:
    """Nothing that a serializer knows."""


class Hostile:
    """Fails when it is looked at."""

    def __repr__(self) -> str:
        raise RuntimeError("do not look at me")


@pytest.mark.parametrize(
    "make", [Opaque, Hostile, lambda: range(2), lambda: {1: "one"}], ids=["object", "hostile", "range", "int as a key"]
)
async def test_a_result_that_cannot_be_serialized(stage: Stage, make: Callable[[], object]) -> None:
    async def give(opaque: bool) -> object:
        return make() if opaque else "fine"

    name = await stage.serve(give, fetch_size=1)
    client = await stage.client()
    error = await _failure(client, name, True)
    assert error.executed is True
    assert "SerializationError" in error.error_type
    assert await soon(client.remote_call(name, (False,))) == "fine"


async def test_a_result_that_contains_itself(stage: Stage) -> None:
    async def knot(tied: bool) -> object:
        rope: list[object] = []
        if tied:
            rope.append(rope)
        return rope

    name = await stage.serve(knot, fetch_size=1)
    client = await stage.client()
    error = await _failure(client, name, True)
    assert "SerializationError" in error.error_type
    assert await soon(client.remote_call(name, (False,))) == []


async def test_a_result_that_is_too_large(stage: Stage) -> None:
    async def give(size: int) -> bytes:
        return os.urandom(size)

    name = await stage.serve(give, fetch_size=1)
    client = await stage.client()
    error = await _failure(client, name, 9 * 2**20)
    assert error.executed is True
    assert "ContentRejectedError" in error.error_type
    assert "max_body" in error.error_message
    assert len(await soon(client.remote_call(name, (10,)))) == 10


async def test_arguments_that_cannot_be_serialized_are_not_sent(stage: Stage) -> None:
    from rabibridge import SerializationError

    async def echo(value: object) -> object:
        return value

    name = await stage.serve(echo)
    client = await stage.client()
    with pytest.raises(SerializationError):
        await soon(client.remote_call(name, (Opaque(),)))
    assert client.pending == 0
    assert await soon(client.remote_call(name, (1,))) == 1
