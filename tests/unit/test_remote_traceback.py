"""``remote_traceback=``: what callers are told of exceptions on a worker, and what they are not."""

from __future__ import annotations

import json
import traceback
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from rabibridge_core import Depends, register_call
from rabibridge_core.errors import (
    InvalidArgumentsError,
    RegistrationError,
    RemoteExecutionError,
    ServiceError,
)
from tests.support.waiting import soon
from tests.unit import process_functions as functions
from tests.unit.process_support import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MARKER = "marker-7391"


class Declared(ServiceError, code="tests.declared_traceback"):
    sku: str


class Unlisted(ServiceError, code="tests.unlisted_traceback"):
    sku: str


async def chained() -> None:
    """Fail with everything that an exception can carry besides its message."""
    try:
        try:
            json.loads("[")
        except ValueError:
            raise LookupError(f"{MARKER} cause")  # noqa: B904 - its context is looked at
    except LookupError as cause:
        error = ExceptionGroup(f"the message of {MARKER.replace('-', '+')}", [OSError(f"{MARKER} of a group")])
        error.add_note(f"{MARKER} note")
        raise error from cause


async def declared() -> None:
    try:
        raise OSError(f"{MARKER} behind it")
    except OSError as cause:
        raise Declared("A-17") from cause


async def unlisted() -> None:
    raise Unlisted(f"{MARKER} field")


def everything(error: BaseException) -> str:
    """Return all that an error tells its reader."""
    return "".join(traceback.format_exception(error.with_traceback(None))) + repr(vars(error)) + repr(error)


async def failure(client: Any, name: str, kind: type[RemoteExecutionError] = RemoteExecutionError) -> Any:
    with pytest.raises(kind) as failed:
        await soon(client.remote_call(name, timeout=60))
    return failed.value


async def test_full_is_the_default() -> None:
    async with served(chained, executor="loop") as (_, client):
        told = everything(await failure(client, "chained"))
        for what in ("cause", "of a group", "note"):
            assert f"{MARKER} {what}" in told
        assert "decoder.py" in told
        assert "in chained" in told


async def test_user_leaves_out_the_frames_of_libraries_also_those_of_causes() -> None:
    async with served(chained, executor="loop", remote_traceback="user") as (_, client):
        told = everything(await failure(client, "chained"))
        assert "in chained" in told
        assert "JSONDecodeError" in told
        assert "decoder.py" not in told
        assert "rabibridge_core/_server" not in told


async def test_message_is_type_and_message_without_anything_that_is_chained() -> None:
    async with served(chained, executor="loop", remote_traceback="message") as (_, client):
        error = await failure(client, "chained")
        assert MARKER not in everything(error)
        assert error.error_type == "builtins.ExceptionGroup"
        assert error.error_message.startswith("the message of marker+7391")
        assert error.remote_traceback == f"{error.error_type}: {error.error_message}"


async def test_none_says_only_that_it_failed_and_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    async with served(chained, unlisted, executor="loop", remote_traceback="none") as (server, client):
        for name in ("chained", "unlisted"):
            error = await failure(client, name)
            assert type(error) is RemoteExecutionError
            told = everything(error)
            assert "marker" not in told
            assert "Group" not in told
            assert "tests." not in told
            assert error.code is None
            assert error.fields == {}
            assert error.executed is True
            assert "remote_traceback='none'" in str(error)
        for name in ("chained", "unlisted"):  # whoever may ask a worker is told no more
            assert "marker" not in repr(server._server.services.statistics_of(name).failures)
    assert f"{MARKER} of a group" in caplog.text
    assert f"{MARKER} field" in caplog.text


@pytest.mark.parametrize("told", ["user", "message", "none"])
async def test_listed_errors_keep_their_class_and_fields(told: str) -> None:
    async with served(declared, executor="loop", raises=(Declared,), remote_traceback=told) as (_, client):
        error = await failure(client, "declared", Declared)
        assert error == Declared("A-17")
        assert (MARKER in everything(error)) is (told == "user")


@pytest.mark.parametrize("told", ["message", "none"])
async def test_what_fails_beside_the_function_is_told_no_better(told: str) -> None:
    async def broken() -> int:
        raise OSError(f"{MARKER} of a provider")

    async def provided(value: Annotated[int, Depends(broken)]) -> int:
        return value

    async def unsendable() -> object:
        return type(MARKER.replace("-", "_"), (), {"__repr__": lambda self: MARKER})()

    async def items() -> AsyncIterator[int]:
        yield 1
        raise OSError(f"{MARKER} of a stream")

    async with served(provided, unsendable, items, executor="loop", remote_traceback=told) as (_, client):
        error = await failure(client, "provided")
        assert (MARKER in everything(error)) is (told == "message")
        assert "in broken" not in everything(error)
        error = await failure(client, "unsendable")
        assert "/" not in error.remote_traceback
        if told == "none":
            assert "marker_7391" not in everything(error)
        with pytest.raises(RemoteExecutionError) as failed:
            async with client.stream("items") as stream:
                assert [item async for item in stream] == [1]
        assert (MARKER in everything(failed.value)) is (told == "message")
        assert "in items" not in everything(failed.value)


async def test_arguments_that_do_not_fit() -> None:
    async def add(left: int) -> int:
        return left

    async with served(add, executor="loop", remote_traceback="none") as (_, client):
        error = await failure(client, "add", InvalidArgumentsError)
        assert error.executed is False
        assert "left" not in everything(error)


async def test_child_processes_tell_no_more() -> None:
    async with served(functions.end, remote_traceback="message") as (_, client):
        with pytest.raises(RemoteExecutionError) as failed:
            await soon(client.remote_call("end", ("raise",), ftype="sync"))
        assert "File" not in everything(failed.value), "the file is that of the function"
        assert failed.value.remote_traceback == f"{failed.value.error_type}: {failed.value.error_message}"


async def test_the_setting_holds_where_a_service_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_REMOTE_TRACEBACK", "message")

    @register_call(name="open", remote_traceback="full")
    async def open_() -> None:
        raise OSError("told")

    async def closed() -> None:
        raise OSError("told")

    async with served(open_, closed, executor="loop") as (_, client):
        assert "in open_" in everything(await failure(client, "open"))
        assert "in closed" not in everything(await failure(client, "closed"))


def test_another_word_is_refused() -> None:
    word: Any = "some"
    with pytest.raises(RegistrationError, match="remote_traceback is 'some'; it must be 'full', 'user', 'message' or"):

        @register_call(remote_traceback=word)
        async def never() -> None: ...


async def test_an_exception_that_cannot_be_described_shows_no_frames() -> None:
    class Evil(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    async def evil() -> None:
        raise Evil

    async with served(evil, executor="loop", remote_traceback="user") as (_, client):
        assert "Evil" in everything(await failure(client, "evil"))
