"""Client and server on the transport: calls whose function, result or worker ends in an unusual way."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core._codec.codec import Codec
from rabibridge_core.errors import ConnectionLostError, RemoteExecutionError
from rabibridge_testing.conformance.gate import Gate
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, service, soon, until

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_testing.conformance.harness import Bench

__all__ = ["EndingConformance"]


class OutOfStockError(LookupError):
    """An error of an application."""


class _UndescribableError(Exception):
    """As classes of a parser's errors have it that take what they complain about for text."""

    def __str__(self) -> str:
        raise SystemExit("no text")

    def __repr__(self) -> str:
        raise RuntimeError("no text either")


async def _failure(client: Client, name: str, *args: Any) -> RemoteExecutionError:
    with pytest.raises(RemoteExecutionError) as failed:
        await client.call(name, args, {}, CallOptions("any", PATIENCE))
    return failed.value


def _call(client: Client, name: str, *args: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(client.call(name, args, {}, CallOptions("any", PATIENCE)))


class EndingConformance(ConformanceBase):
    """Failures that cannot be described or sent, functions that cancel themselves, and workers that are stopped."""

    async def test_the_names_of_an_exception_and_of_its_bases(self, bench: Bench) -> None:
        async def take(article: str) -> None:
            raise OutOfStockError(article)

        name = bench.name("take")
        await bench.server(service(take, name))
        error = await _failure(await bench.client(), name, "lamp")
        assert error.error_type == f"{__name__}.OutOfStockError"
        assert error.error_types == (
            error.error_type, "builtins.LookupError", "builtins.Exception", "builtins.BaseException",
        )  # fmt: skip
        assert error.error_message == "lamp"

    async def test_a_long_message_is_marked_where_it_is_cut(self, bench: Bench) -> None:
        async def talk() -> None:
            raise ValueError("x" * 2_000)

        name = bench.name("talk")
        await bench.server(service(talk, name))
        error = await _failure(await bench.client(), name)
        assert len(error.error_message) == 1_024
        assert error.error_message.endswith("x [...]")
        assert "x" * 2_000 in error.remote_traceback

    @pytest.mark.parametrize("kind", ["async", "sync"])
    async def test_an_exception_that_cannot_be_described(self, bench: Bench, kind: str) -> None:
        async def fail(really: bool) -> str:
            if really:
                raise _UndescribableError
            return "fine"

        def fail_in_a_thread(really: bool) -> str:
            if really:
                raise _UndescribableError
            return "fine"

        name = bench.name("fail")
        await bench.server(service(fail if kind == "async" else fail_in_a_thread, name, fetch_size=2))
        client = await bench.client()
        for _ in range(3):
            error = await _failure(client, name, True)
            assert error.error_type.endswith("._UndescribableError")
            assert error.executed is True
        assert await soon(_call(client, name, False)) == "fine"  # no place was lost

    async def test_a_function_that_cancels_its_own_task_runs_once(self, bench: Bench) -> None:
        runs = 0

        async def cancel() -> None:
            nonlocal runs
            runs += 1
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

        name = bench.name("cancel")
        await bench.server(service(cancel, name))
        error = await _failure(await bench.client(), name)
        assert (error.error_type, error.executed) == ("asyncio.exceptions.CancelledError", True)
        assert "from inside" in error.error_message
        assert runs == 1

    async def test_a_result_that_cannot_be_encoded(self, bench: Bench) -> None:
        async def opaque() -> object:
            return object()

        name = bench.name("opaque")
        await bench.server(service(opaque, name))
        error = await _failure(await bench.client(), name)
        assert error.error_type == "rabibridge_core.errors.SerializationError"
        assert error.executed is True

    async def test_a_request_that_the_worker_refuses_is_answered_in_less_than_a_kibibyte(self, bench: Bench) -> None:
        async def echo(what: Any) -> Any:
            return what

        name = bench.name("echo")
        await bench.server(service(echo, name), codec=Codec(serializer="json", accept=["json"]))
        client = await bench.client(codec=Codec(serializer="msgpack", accept=["json"]))
        error = await _failure(client, name, 1)
        assert error.executed is False
        assert "content type" in error.error_message
        assert "Traceback" not in error.remote_traceback
        assert len(error.remote_traceback) < 1_024

    async def test_a_failure_whose_body_the_client_may_not_read(self, bench: Bench) -> None:
        async def echo(what: Any) -> Any:
            return what

        name = bench.name("echo")
        await bench.server(service(echo, name), codec=Codec(serializer="json", accept=["json"]))
        client = await bench.client(codec=Codec(serializer="msgpack", accept=["msgpack"]))
        error = await _failure(client, name, 1)
        assert error.executed is False
        assert "'application/msgpack' is not accepted here" in error.error_message

    async def test_what_a_validator_raises_did_not_run_the_function(self, bench: Bench) -> None:
        ran: list[Any] = []

        class Odd:
            @classmethod
            def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
                def check(value: Any) -> Any:
                    raise KeyError(value)

                return {"type": "function-plain", "function": {"type": "no-info", "function": check}}

        async def checked(what: Any) -> None:
            ran.append(what)

        checked.__annotations__["what"] = Odd
        name = bench.name("checked")
        await bench.server(service(checked, name, validate=True))
        error = await _failure(await bench.client(), name, 1)
        assert (error.error_type, error.executed, ran) == ("builtins.KeyError", False, [])

    @pytest.mark.parametrize("how", ["itself", "a task", "a thread"])
    async def test_a_function_that_closes_its_own_server_is_told_that_it_cannot(self, bench: Bench, how: str) -> None:
        name = bench.name("bye")
        loop = asyncio.get_running_loop()

        async def bye() -> None:
            await (server.close() if how == "itself" else asyncio.gather(server.close()))

        def bye_from_a_thread() -> None:
            asyncio.run_coroutine_threadsafe(server.close(), loop).result(PATIENCE)

        server = await bench.server(service(bye_from_a_thread if how == "a thread" else bye, name))
        error = await _failure(await bench.client(), name)
        assert error.error_type == "rabibridge_core.errors.ConfigurationError"
        assert "stop()" in error.error_message
        assert server.health().ok

    async def test_calls_that_an_at_most_once_worker_had_not_begun_when_it_gave_up(self, bench: Bench) -> None:
        gate = Gate()
        name = bench.name("once")
        server = await bench.server(gate.service(name, fetch_size=1, delivery="at-most-once"))
        client = await bench.client()
        begun = _call(client, name, 1)
        await soon(gate.started.get())
        waiting = _call(client, name, 2)
        await until(lambda: server.active_requests == 2)
        closing = asyncio.create_task(server.services.stop())
        server.services.abort_drain()
        with pytest.raises(RemoteExecutionError, match="did not run") as refused:
            await soon(waiting)
        assert refused.value.executed is False
        with pytest.raises(ConnectionLostError) as lost:
            await soon(begun)
        assert lost.value.executed is None
        await soon(closing)

    async def test_two_stops_in_one_turn_of_the_loop_requeue_the_calls_at_once(self, bench: Bench) -> None:
        gate = Gate()
        name = bench.name("work")
        first = await bench.server(gate.service(name, "done"), start=False)
        running = asyncio.create_task(first.run())
        call = _call(await bench.client(), name, 1)
        await soon(gate.started.get())
        first.stop()
        first.stop()
        await soon(running)  # PATIENCE is also its drain_timeout: it did not wait for that
        await bench.server(gate.service(name, "done"))
        gate.opened.set()
        assert await soon(call) == "done"

    async def test_a_second_stop_requeues_calls_of_a_service_that_was_just_removed(self, bench: Bench) -> None:
        gate = Gate()
        name, other = bench.name("work"), bench.name("other")

        async def idle() -> None: ...

        first = await bench.server(gate.service(name, "done"), service(idle, other), start=False)
        running = asyncio.create_task(first.run())
        call = _call(await bench.client(), name, 1)
        await soon(gate.started.get())
        await first.change([name], [])
        assert first.active_requests == 1
        first.stop()
        await asyncio.sleep(0)
        first.stop()
        await soon(running)
        await bench.server(gate.service(name, "done"))
        gate.opened.set()
        assert await soon(call) == "done"

    async def test_a_service_that_is_added_just_before_a_stop_serves_after_the_next_start(self, bench: Bench) -> None:
        async def idle() -> None: ...

        async def echo(what: int) -> int:
            return what

        name = bench.name("echo")
        server = await bench.server(service(idle, bench.name("idle")))
        for _ in range(3):
            server.add(service(echo, name))
            await asyncio.sleep(0)
            await soon(server.services.stop())
            await soon(server.start())
        assert await soon(_call(await bench.client(), name, 5)) == 5
        await soon(server.services.stop())
        assert server.active_requests == 0
