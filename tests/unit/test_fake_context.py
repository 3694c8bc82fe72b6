"""The fake broker without pytest's fixture, in several threads, loops and scopes, and what is left open at its end."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
import unittest
import warnings
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from rabibridge import ConfigurationError, ConnectionLostError, RMQClient, RMQServer
from rabibridge_testing import FakeBroker, current_fake_broker, fake_broker_context
from tests.support import fork_server
from tests.support.fork_server import server_of_pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("clean_place")


async def ask(value: Any) -> Any:
    async with RMQClient() as client:
        return await client.call("echo", value)


class Cases(unittest.IsolatedAsyncioTestCase):
    def setUp(self) -> None:
        self.broker = self.enterContext(fake_broker_context(strict=True))

    async def test_a_call(self) -> None:
        self.broker.stub("echo", returns=1)
        assert await ask(0) == 1

    async def test_a_broker_of_its_own(self) -> None:
        assert self.broker.calls == []


def test_unittest() -> None:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Cases).run(result)
    assert (result.testsRun, result.failures, result.errors) == (2, [], [])


@given(st.integers())
def test_hypothesis(value: int) -> None:
    with fake_broker_context() as broker:
        broker.stub("echo", side_effect=lambda value: value)
        assert asyncio.run(ask(value)) == value
        broker.assert_called_once_with("echo", value)


def test_it_decorates_functions_coroutine_functions_and_classes() -> None:
    @fake_broker_context()
    async def of_a_coroutine(value: int) -> Any:
        current_fake_broker().stub("echo", returns=value)
        return await ask(0)

    @fake_broker_context()
    class Tests:
        def test_it(self) -> FakeBroker:
            return current_fake_broker()

    assert list(inspect.signature(of_a_coroutine).parameters) == ["value"]
    assert [asyncio.run(of_a_coroutine(one)) for one in (1, 2)] == [1, 2]
    assert Tests().test_it() is not Tests().test_it()
    with pytest.raises(LookupError, match="fake_broker_context"):
        current_fake_broker()


async def test_contexts_nest_and_share_nothing() -> None:
    with fake_broker_context() as outer:
        outer.stub("echo", returns="outer")
        async with RMQClient() as client:
            with fake_broker_context() as inner:
                inner.stub("echo", returns="inner")
                assert await ask(0) == "inner"
            assert await client.call("echo", 0) == "outer"
        assert (len(outer.calls), len(inner.calls)) == (1, 1)


def test_controls_work_from_the_thread_of_the_test(fake_broker: FakeBroker) -> None:
    async def echo(value: Any) -> Any:
        return value

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_debug(True)
        async with RMQClient() as app.state.client:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def index() -> Any:
        return await app.state.client.remote_call("echo", (1,), timeout=100)

    fake_broker.add_service(echo)
    with TestClient(app) as first:
        fake_broker.lose_connection(restore=False)
        timer = threading.Timer(0.1, fake_broker.restore)
        timer.start()
        assert first.get("/").json() == 1
        timer.join()
        with TestClient(app) as second:  # at once, on a loop of its own, as two test clients of one application are
            assert second.get("/").json() == 1


async def test_a_server_of_the_test_beside_an_application_in_another_thread(fake_broker: FakeBroker) -> None:
    server = RMQServer()

    async def echo(value: Any) -> Any:
        return value, threading.get_ident()

    server.add_service(echo)
    async with server.serving():
        assert await asyncio.to_thread(asyncio.run, ask(1)) == [1, threading.get_ident()]


async def test_several_loops_at_once(fake_broker: FakeBroker) -> None:
    fake_broker.stub("echo", side_effect=lambda value: value)
    async with RMQClient() as client:
        threads = [asyncio.to_thread(asyncio.run, ask(number)) for number in range(4)]
        assert await asyncio.gather(*threads, client.call("echo", 4)) == [0, 1, 2, 3, 4]


def test_what_is_left_open_on_a_loop_that_lives_on() -> None:
    loop = asyncio.new_event_loop()
    cancelled = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def begin(broker: FakeBroker) -> tuple[RMQClient, RMQServer, asyncio.Future[Any], asyncio.Task[None]]:
        client, server = await RMQClient(name="left client").connect(), RMQServer(name="left server")
        server.add_service(hang, name="other")
        await server.connect()
        serving = asyncio.create_task(server.run_serve())
        call = asyncio.ensure_future(client.call("hang"))
        await broker.wait_for_call("hang")
        await asyncio.sleep(0.01)
        return client, server, call, serving

    async def end(client: RMQClient, server: RMQServer, call: asyncio.Future[Any], serving: asyncio.Task[None]) -> None:
        with pytest.raises(ConnectionLostError, match="the test that its fake_broker belongs to is over"):
            await call
        await asyncio.wait_for(cancelled.wait(), 30)
        await asyncio.wait_for(asyncio.gather(serving, return_exceptions=True), 30)
        await client.close()
        await server.close()

    with warnings.catch_warnings(record=True) as caught, fake_broker_context() as broker:
        warnings.simplefilter("always")
        broker.add_service(hang)
        begun = loop.run_until_complete(begin(broker))
    (warning,) = [str(one.message) for one in caught if one.category is ResourceWarning]
    for what in ("left client is still connected", "left server is still connected", "'hang' is still running"):
        assert what in warning
    loop.run_until_complete(end(*begun))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


_STRICT = """
import asyncio

import pytest

from rabibridge_core.rpc import RpcClient


async def calls(*names):
    async with RpcClient() as client:
        for name in names:
            await client.try_remote_call(name)


@pytest.mark.fake_broker(strict=True)
def test_one(fake_broker):
    fake_broker.stub("add", returns=1)
    asyncio.run(calls("ad", "add"))


@pytest.mark.fake_broker(strict=True)
def test_two(fake_broker):
    fake_broker.stub("add", returns=1)
    asyncio.run(calls("add"))


@pytest.mark.fake_broker(strict=True)
def test_three(fake_broker):
    fake_broker.stub("add", returns=1)
    raise KeyError("of the body")


def test_four(fake_broker):
    fake_broker.stub("add", returns=1)
"""


def run_pytest(folder: Path, ini: str, *options: str) -> str:
    (folder / "pytest.ini").write_text(f"[pytest]\nfilterwarnings = error\n{ini}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "RABIBRIDGE"))}
    less = [
        word
        for name in ("asyncio", "benchmark", "cacheprovider", "faker", "hypothesispytest", "xdist")
        for word in ("-p", f"no:{name}")
    ]
    command = ["-m", "pytest", "-q", *less, *options]
    done = fork_server.run(server_of_pytest, command, cwd=folder, env=environment, text=True, timeout=250)
    return f"{done.stdout}{done.stderr}"


def test_strict_mode_of_the_fixture(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(_STRICT)
    printed = run_pytest(tmp_path, "")
    assert "2 failed, 2 passed" in printed, printed
    assert "did you mean 'add'?" in printed
    assert "the stub of 'add' was not called" not in printed
    printed = run_pytest(tmp_path, "rabibridge_strict = true\n", "-k", "four")
    assert "1 failed" in printed, printed
    assert "the stub of 'add' was not called" in printed


_SESSION = """
import asyncio

import pytest

from rabibridge_core.rpc import RpcClient

@pytest.fixture(scope="session")
def runner(fake_broker):
    with asyncio.Runner() as runner:
        client = runner.run(RpcClient().connect())
        yield runner, client
        runner.run(client.close())


@pytest.mark.parametrize("number", range(2))
def test_it(runner, fake_broker, number):
    fake_broker.reset()
    fake_broker.stub("add", returns=number)
    assert runner[0].run(runner[1].call("add")) == number
    assert len(fake_broker.calls) == 1
"""


def test_a_session_scope(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(_SESSION)
    printed = run_pytest(tmp_path, "rabibridge_scope = session\n")
    assert "2 passed" in printed, printed
    assert "use one of function" in run_pytest(tmp_path, "rabibridge_scope = nonsense\n")


async def test_a_client_on_a_second_loop_says_so(fake_broker: FakeBroker) -> None:
    fake_broker.stub("echo", returns=1)
    async with RMQClient() as client:
        with pytest.raises(ConfigurationError, match="was connected on another event loop"):
            await asyncio.to_thread(asyncio.run, use(client))


async def use(client: RMQClient) -> Any:
    return await client.call("echo", 1)
