"""Services in child processes: what can be one, how they start, change and end."""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core import register_call
from rabibridge_core._services.limits import usable_cpus
from rabibridge_core.errors import InvalidArgumentsError, RegistrationError, RemoteExecutionError
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_testing import MemoryBroker
from tests.support.waiting import soon, until
from tests.unit import process_functions as functions
from tests.unit.process_support import gone, served

if TYPE_CHECKING:
    from pathlib import Path

    from rabibridge_testing import FakeBroker

posix = pytest.mark.skipif(sys.platform == "win32", reason="child processes of services need POSIX")


def nested() -> Any:
    def inner() -> None: ...

    return inner


def in_main() -> None: ...


in_main.__module__ = "__main__"


@posix
@pytest.mark.parametrize(
    ("func", "why"),
    [
        (lambda: None, "it is a lambda"),
        (nested(), "it is defined inside another function"),
        (in_main, "it is defined in the program itself.*move it to a module"),
        (functions.hidden, "it is not what tests.unit.process_functions.square stands for.*on top of all decorators"),
        (functions.Tools().bound, "it is a method of an object"),
        (functools.partial(functions.square, 1), "no function that a child process could import"),
        (functions.wants_lifespan, "wants what the lifespan of the server yields.*scope='process'"),
    ],
)
def test_what_a_child_cannot_run_is_refused_when_it_is_added(func: Any, why: str) -> None:
    server = RpcServer(transport=MemoryBroker().transport())
    with pytest.raises(RegistrationError, match=f"(?s){why}"):
        server.add_service(func, executor="process", name="refused")


async def asynchronous() -> None: ...


def generates() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("func", "limits", "why"),
    [
        (asynchronous, {"executor": "thread"}, "an async function runs on the event loop"),
        (functions.square, {"executor": "fibre"}, "executor is 'fibre'; it must be 'loop', 'thread' or 'process'"),
        (functions.square, {"max_calls_per_child": 3}, "max_calls_per_child= needs executor='process'"),
        (functions.square, {"executor": "process", "max_calls_per_child": 0}, "max_calls_per_child is 0"),
        (generates, {"executor": "process"}, "generator function"),
    ],
)
def test_limits_that_contradict_each_other(func: Any, limits: dict[str, Any], why: str) -> None:
    with pytest.raises(RegistrationError, match=why):
        register_call(**limits)(func)


@posix
def test_the_number_of_children_is_that_of_the_cpus_unless_given() -> None:
    server = RpcServer(transport=MemoryBroker().transport())
    assert server.add_service(functions.square, executor="process").concurrency == usable_cpus()
    assert server.add_service(functions.marked_function).concurrency == 1


async def test_a_short_function_runs_on_the_event_loop() -> None:
    loop_thread = threading.get_ident()

    def where(number: int = 1) -> list[int]:
        return [number, threading.get_ident()]

    def stops() -> None:
        raise ValueError("stopped")

    async def coroutine() -> None: ...

    def returns_a_coroutine() -> Any:
        return coroutine()

    async with served(where, stops, returns_a_coroutine, executor="loop") as (_, client):
        assert await client.remote_call("where", (2,), ftype="sync") == [2, loop_thread]
        with pytest.raises(InvalidArgumentsError):
            await client.remote_call("where", (1, 2, 3), ftype="sync")
        with pytest.raises(RemoteExecutionError, match="stopped"):
            await client.remote_call("stops", ftype="sync")
        with pytest.raises(RemoteExecutionError, match="returned a coroutine"):
            await client.remote_call("returns_a_coroutine", ftype="sync")
    async with served(where, executor="loop", validate=True) as (_, client):
        assert await client.remote_call("where", ("3",), ftype="sync") == [3, loop_thread]


@posix
async def test_a_module_that_a_child_cannot_import_is_one_error_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "only_once.py"
    file.write_text("def works() -> int:\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_once  # type: ignore[import-not-found] # pyright: ignore

    server = RpcServer(transport=MemoryBroker().transport())
    server.add_service(only_once.works, executor="process", fetch_size=2)
    file.write_text("raise LookupError('not in a child')\n")
    caplog.set_level(logging.CRITICAL)
    async with server:
        with pytest.raises(RegistrationError, match="a child process cannot serve: LookupError: not in a child"):
            await soon(server.run_serve(signals=False))


@posix
async def test_the_service_is_not_ready_before_its_children_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_module.py").write_text(
        "import os, pathlib, time\n"
        "while os.path.basename(__import__('sys').argv[0]) and not pathlib.Path(__file__).with_name('go').exists():\n"
        "    if os.getppid() == int(os.environ.get('SLOW_PARENT', '0')): time.sleep(0.05)\n"
        "    else: break\n"
        "def works() -> int:\n    return 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import slow_module  # type: ignore[import-not-found] # pyright: ignore

    monkeypatch.setenv("SLOW_PARENT", str(__import__("os").getpid()))
    server = RpcServer(transport=MemoryBroker().transport())
    server.add_service(slow_module.works, executor="process", fetch_size=1)
    async with server:
        running = asyncio.create_task(server.run_serve(signals=False))
        await until(lambda: any("its child processes are starting" in each for each in server.health().reasons))
        (tmp_path / "go").touch()
        await soon(server.wait_serving())
        assert server.health().ok
        server.stop()
        await soon(running)


@posix
async def test_a_server_that_is_stopped_while_its_children_start_leaves_none() -> None:
    server = RpcServer(transport=MemoryBroker().transport())
    server.add_service(functions.pid, executor="process", fetch_size=2)
    async with server:
        running = asyncio.create_task(server.run_serve(signals=False))
        await until(lambda: any("its child processes are starting" in each for each in server.health().reasons))
        server.stop()
        await soon(running)


@posix
async def test_limits_change_while_it_serves() -> None:
    async with served(functions.pid) as (server, client):
        before = await client.call(functions.pid)
        await server.update_service("pid", fetch_size=2)
        await server.wait_serving("pid")
        after = {await client.call(functions.pid) for _ in range(2)}
        assert before not in after
        await gone(before)
        await server.update_service("pid", validate=True)
        again = await client.call(functions.pid)
        assert again not in after
        await gone(*after)
        await server.remove_service("pid")
        await gone(again)


@posix
async def test_a_plugin_folder_is_loaded_and_reloaded_in_children(fake_broker: FakeBroker, tmp_path: Path) -> None:
    (tmp_path / "_helper.py").write_text("suffix = 'of a helper'\n")

    def write(result: str) -> None:
        (tmp_path / "one.py").write_text(
            "import os\nfrom rabibridge_core import register_call\nfrom _helper import suffix\n"
            "@register_call(executor='process', fetch_size=1)\n"
            f"def one():\n    return [{result!r}, suffix, os.getpid()]\n"
        )

    write("old")
    server = RpcServer()
    server.load_plugins(tmp_path)
    async with server, RpcClient() as client:
        running = asyncio.create_task(server.run_serve(reload=True, signals=False))
        await until(lambda: bool(server.health()) or running.done())
        result, suffix, pid = await soon(client.remote_call("one", ftype="sync"))
        assert [result, suffix] == ["old", "of a helper"]
        write("new")

        async def reloaded() -> bool:
            return bool((await client.remote_call("one", ftype="sync"))[0] == "new")

        async with asyncio.timeout(60):
            while not await reloaded():  # noqa: ASYNC110 - a reload gives no notice
                await asyncio.sleep(0.05)
        await gone(pid)
        server.stop()
        await soon(running)


@posix
async def test_the_fake_broker_runs_it_in_a_child_too(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(functions.square, executor="process", fetch_size=1)
    async with RpcClient() as client:
        assert await soon(client.call(functions.square, 3)) == 9


@posix
async def test_a_serializer_that_cannot_be_pickled_is_refused() -> None:
    class Local:
        name, content_type, trusted_only = "local", "application/x-local", False

        def dumps(self, value: object) -> bytes:
            return repr(value).encode()

        def loads(self, data: bytes | bytearray | memoryview) -> Any:
            raise NotImplementedError

    server = RpcServer(transport=MemoryBroker().transport(), serializer=Local())
    server.add_service(functions.square, executor="process")
    async with server:
        with pytest.raises(RegistrationError, match="needs serializers that can be pickled"):
            await soon(server.run_serve(signals=False))
