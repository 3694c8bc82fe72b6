"""What a server fills in: the lifespan around serving, and providers for the process and for each call."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core import Depends
from rabibridge_core._observability.call_context import current_call
from rabibridge_core.errors import CallTimeoutError, InvalidArgumentsError, RemoteExecutionError
from rabibridge_core.rpc import RpcServer
from rabibridge_core.settings import load_settings
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator

    from rabibridge_core.rpc import RpcClient
    from rabibridge_testing.conformance.harness import Bench

__all__ = ["ProviderConformance"]


class _Pool:
    """What the lifespan yields."""


class _Recorder:
    """A lifespan and providers of both kinds, which record what happens to them."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @asynccontextmanager
    async def lifespan(self, server: RpcServer) -> AsyncGenerator[_Pool]:
        with self._recorded("lifespan"):
            yield _Pool()

    async def shared(self, pool: _Pool = Depends()) -> AsyncIterator[str]:
        with self._recorded("process"):
            yield type(pool).__name__

    async def asynchronous(self) -> AsyncIterator[str]:
        with self._recorded("call"):
            yield current_call().service

    def synchronous(self) -> Iterator[str]:
        with self._recorded("call"):
            yield current_call().service

    @contextmanager
    def _recorded(self, what: str) -> Generator[None]:
        self.events.append(f"enter {what}")
        try:
            yield
        except BaseException as error:
            self.events.append(type(error).__name__)
            raise
        finally:
            self.events.append(f"leave {what}")


_PROVIDERS = pytest.mark.parametrize("kind", ["asynchronous", "synchronous"])


class ProviderConformance(ConformanceBase):
    """Providers are entered before the function and cleaned up before the reply, however the call ends."""

    @_PROVIDERS
    async def test_each_call_gets_values_of_its_own_and_all_share_those_of_the_process(
        self, bench: Bench, kind: str
    ) -> None:
        record, name = _Recorder(), bench.name()

        async def function(
            number: int,
            mine: str = Depends(getattr(record, kind)),
            ours: str = Depends(record.shared, scope="process"),
            *,
            pool: _Pool = Depends(),
        ) -> list[Any]:
            record.events.append(f"run {number}")
            return [number, mine, ours, type(pool).__name__]

        async with _serving(bench, function, name, record) as (server, client):
            for number in range(2):
                assert await soon(client.call(name, number)) == [number, name, "_Pool", "_Pool"]
            with pytest.raises(InvalidArgumentsError):
                await soon(client.call(name, 3, mine="a caller's"))
            assert server._server.active_requests == 0
        calls = [event for number in range(2) for event in ("enter call", f"run {number}", "leave call")]
        assert record.events == ["enter lifespan", "enter process", *calls, "leave process", "leave lifespan"]

    @_PROVIDERS
    async def test_the_reply_waits_for_the_cleanup(self, bench: Bench, kind: str) -> None:
        record, name = _Recorder(), bench.name()

        def function(value: str = Depends(getattr(record, kind))) -> None:
            raise LookupError(value)

        async with _serving(bench, function, name, record) as (_, client):
            with pytest.raises(RemoteExecutionError, match=name):
                await soon(client.call(name))
            assert record.events == ["enter lifespan", "enter call", "LookupError", "leave call"]

    @_PROVIDERS
    async def test_a_call_that_is_cancelled_is_cleaned_up(self, bench: Bench, kind: str) -> None:
        record, name, started = _Recorder(), bench.name(), asyncio.Event()

        async def function(value: str = Depends(getattr(record, kind))) -> None:
            started.set()
            await asyncio.Event().wait()

        async with _serving(bench, function, name, record) as (server, client):
            call = asyncio.ensure_future(client.call(name))
            await soon(started.wait())
            call.cancel()
            await until(lambda: server._server.active_requests == 0)
            assert record.events == ["enter lifespan", "enter call", "CancelledError", "leave call"]

    @_PROVIDERS
    async def test_a_call_whose_deadline_passes_is_cleaned_up(self, bench: Bench, kind: str) -> None:
        record, name = _Recorder(), bench.name()

        async def function(value: str = Depends(getattr(record, kind))) -> None:
            await asyncio.Event().wait()

        async with _serving(bench, function, name, record) as (server, client):
            for timeout in (0.3, 3.0, PATIENCE):  # a call that has not begun in time is not made at all
                with pytest.raises(CallTimeoutError):
                    await client.options(timeout=timeout).call(name)
                await until(lambda: server._server.active_requests == 0)
                if "enter call" in record.events:
                    break
            assert record.events == ["enter lifespan", "enter call", "CancelledError", "leave call"]

    async def test_the_lifespan_is_left_after_the_last_call(self, bench: Bench) -> None:
        record, name, started, go_on = _Recorder(), bench.name(), asyncio.Event(), asyncio.Event()

        async def function(pool: _Pool = Depends()) -> str:
            started.set()
            await go_on.wait()
            record.events.append("run")
            return type(pool).__name__

        async with _serving(bench, function, name, record) as (server, client):
            call = asyncio.ensure_future(client.call(name))
            await soon(started.wait())
            server.stop()
            go_on.set()
            assert await soon(call) == "_Pool"
        assert record.events == ["enter lifespan", "run", "leave lifespan"]


@asynccontextmanager
async def _serving(
    bench: Bench, function: Callable[..., Any], name: str, record: _Recorder
) -> AsyncGenerator[tuple[RpcServer, RpcClient]]:
    settings = load_settings(require_broker=False)
    transport = await bench.transport(connect=False)
    server = RpcServer(transport=transport, settings=settings, lifespan=record.lifespan)
    server.add_service(function, name=name)
    async with server.serving():
        yield server, await bench.rpc_client()
