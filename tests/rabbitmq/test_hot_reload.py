"""run_serve(reload=True): services change in place, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._hosting.plugin_folder import PluginFolder
from tests.rabbitmq.support import ctl, until_call_gives, vhost_of
from tests.support.waiting import PATIENCE, soon, until, until_true

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rabibridge import RMQClient, RMQServer
    from tests.rabbitmq.support import Stage
    from tools.broker import Broker

_HEAD = "from rabibridge import register_call\n"
_ALONE = "HOT_RELOADS" in os.environ  # as in `make soak-transport`: other tests of a process keep memory of their own
_RELOADS = int(os.environ.get("HOT_RELOADS", "60"))


def _service(name: str, result: object, decorator: str = "register_call") -> str:
    return f"{_HEAD}@{decorator}\nasync def {name}():\n    return {result!r}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir()
    return folder


async def _reloading(stage: Stage, folder: Path) -> tuple[RMQServer, RMQClient]:
    server = stage.new_server()
    server.load_plugins(folder)
    await soon(server.connect())
    stage.start(server, reload=True)
    return server, await stage.client()


async def test_files_that_are_changed_added_and_removed(
    stage: Stage, folder: Path, unique_name: Callable[[str], str]
) -> None:
    one, other = unique_name("one"), unique_name("other")
    (folder / "one.py").write_text(_service(one, 1))
    server, client = await _reloading(stage, folder)
    assert await soon(client.remote_call(one)) == 1
    (folder / "one.py").write_text(_service(one, 2))
    await until_call_gives(client, one, 2)
    (folder / "other.py").write_text(_service(other, "new"))
    await until_call_gives(client, other, "new")
    assert await soon(client.remote_call(one)) == 2
    (folder / "one.py").unlink()
    await until(lambda: [schema.name for schema in server.services] == [other])
    assert await soon(client.remote_call(other)) == "new"
    (folder / "one.py").write_text(_service(one, "back"))
    await until_call_gives(client, one, "back")


async def test_a_file_with_an_error_leaves_its_services_running(
    stage: Stage, folder: Path, unique_name: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    name, marker = unique_name("one"), unique_name("marker")
    (folder / "one.py").write_text(_service(name, 1))
    _, client = await _reloading(stage, folder)
    assert await soon(client.remote_call(name)) == 1
    for number, broken in enumerate(
        ("def f(:\n", _service(name, 2) + "1 / 0\n", _service(name, 3, "register_call(0.5)"))
    ):
        caplog.clear()
        (folder / "one.py").write_text(broken)
        await until(lambda: any("one.py" in record.getMessage() for record in caplog.records))
        (record,) = [record for record in caplog.records if "one.py" in record.getMessage()]
        assert record.levelno == logging.ERROR
        assert name in record.getMessage()  # it says what goes on running
        (folder / "marker.py").write_text(_service(marker, number))
        await until_call_gives(client, marker, number)  # the folder is still watched
        assert await soon(client.remote_call(name)) == 1
    (folder / "one.py").write_text(_service(name, "mended"))
    await until_call_gives(client, name, "mended")


async def test_a_file_that_is_renamed_keeps_its_service(
    stage: Stage, folder: Path, unique_name: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    name = unique_name("one")
    (folder / "one.py").write_text(_service(name, "same"))
    server, client = await _reloading(stage, folder)
    assert await soon(client.remote_call(name)) == "same"
    with caplog.at_level(logging.INFO, "rabibridge_core._hosting"):
        (folder / "one.py").rename(folder / "other.py")
        await until(lambda: any("other.py, services: " in record.getMessage() for record in caplog.records))
    assert await soon(client.remote_call(name)) == "same"
    assert [schema.name for schema in server.services] == [name]


async def test_a_name_that_another_file_has(
    stage: Stage, folder: Path, unique_name: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    name, marker = unique_name("one"), unique_name("marker")
    (folder / "one.py").write_text(_service(name, "first"))
    server, client = await _reloading(stage, folder)
    (folder / "other.py").write_text(_service(name, "second"))
    await until(lambda: any("is ignored" in record.getMessage() for record in caplog.records))
    assert await soon(client.remote_call(name)) == "first"
    (folder / "other.py").unlink()
    (folder / "marker.py").write_text(_service(marker, 1))
    await until_call_gives(client, marker, 1)
    assert sorted(schema.name for schema in server.services) == sorted([name, marker])
    assert await soon(client.remote_call(name, timeout=PATIENCE / 2)) == "first"


async def test_a_helper_that_changes(stage: Stage, folder: Path, unique_name: Callable[[str], str]) -> None:
    name, helper = unique_name("one"), unique_name("_helper")
    (folder / f"{helper}.py").write_text("N = 1\n")
    (folder / "one.py").write_text(
        f"from {helper} import N\n{_HEAD}@register_call\nasync def {name}():\n    return N\n"
    )
    _, client = await _reloading(stage, folder)
    assert await soon(client.remote_call(name)) == 1
    (folder / f"{helper}.py").write_text("N = 2\n")
    await until_call_gives(client, name, 2)


async def test_limits_that_change(
    stage: Stage, folder: Path, unique_name: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    name = unique_name("one")
    (folder / "one.py").write_text(_service(name, 1, "register_call(queue_size=5, fetch_size=1)"))
    server, client = await _reloading(stage, folder)
    assert await soon(client.remote_call(name)) == 1
    (folder / "one.py").write_text(_service(name, 2, "register_call(queue_size=5, fetch_size=2)"))
    await until_call_gives(client, name, 2)
    (folder / "one.py").write_text(_service(name, 3, "register_call(queue_size=6)"))
    await until(lambda: any("re_register" in record.getMessage() for record in caplog.records))
    assert await soon(client.remote_call(name)) == 2  # what cannot be declared leaves the old one running
    (folder / "one.py").write_text(_service(name, 4, "register_call(queue_size=6, re_register=True)"))
    await until_call_gives(client, name, 4)
    assert [schema.queue_size for schema in server.services] == [6]


async def test_a_function_that_changes_its_kind(stage: Stage, folder: Path, unique_name: Callable[[str], str]) -> None:
    name = unique_name("one")
    (folder / "one.py").write_text(_service(name, 1))
    _, client = await _reloading(stage, folder)
    assert await soon(client.remote_call(name, ftype="async")) == 1
    (folder / "one.py").write_text(_service(name, 2).replace("async def", "def"))
    await until_call_gives(client, name, 2, ftype="sync")


async def test_calls_in_flight_finish_with_the_old_function(
    stage: Stage, folder: Path, unique_name: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    name, file = unique_name("one"), folder / "one.py"
    waits = f"""{_HEAD}import asyncio
started, opened = asyncio.Event(), asyncio.Event()
@register_call(fetch_size=1)
async def {name}():
    started.set()
    await opened.wait()
    return "old"
"""
    file.write_text(waits)
    server = stage.new_server()
    server.load_plugins(folder)
    (schema,) = server.services
    symbols: dict[str, Any] = schema.func_ptr.__globals__
    await soon(server.connect())
    stage.start(server, reload=True)
    client = await stage.client()
    call = asyncio.create_task(client.remote_call(name))
    await soon(symbols["started"].wait())
    with caplog.at_level(logging.INFO, "rabibridge_core._hosting"):
        file.write_text(_service(name, "new", "register_call(fetch_size=2)"))
        await until(lambda: any("loaded" in record.getMessage() for record in caplog.records))
    assert not call.done()
    symbols["opened"].set()
    assert await soon(call) == "old"
    await until_call_gives(client, name, "new")


def _threads() -> int:
    """Count threads, without those of asyncio's own pool, which stay."""
    return sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate())


async def test_many_reloads_leave_nothing_behind(
    stage: Stage,
    folder: Path,
    unique_name: Callable[[str], str],
    governed: Broker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)  # pytest keeps every record: at INFO, 8 kB of each reload
    swapped, rebuilt, threaded, checked = (unique_name(stem) for stem in ("swapped", "rebuilt", "threaded", "checked"))
    server = stage.new_server()
    client = await stage.client()

    def write(number: int) -> None:
        (folder / "plugin.py").write_text(
            _service(swapped, number)
            + f"@register_call(fetch_size={1 + number % 2})\nasync def {rebuilt}():\n    return {number}\n"
            + f"@register_call\ndef {threaded}():\n    return {number}\n"
            + f"@register_call(validate=True)\nasync def {checked}(argument: int):\n    return argument\n"
        )

    write(0)
    watched = PluginFolder(folder)
    for schema in watched.load():
        server.add_service(schema.func_ptr)
    await soon(server.connect())
    stage.start(server)

    async def reload(number: int) -> None:
        write(number)
        changes = watched.update()
        await soon(server._server.change(changes.removed, changes.services))
        assert await soon(client.remote_call(swapped)) == number
        assert await soon(client.remote_call(rebuilt)) == number
        assert await soon(client.remote_call(threaded, ftype="sync")) == number
        assert await soon(client.remote_call(checked, (str(number),))) == number

    async def counts() -> dict[str, int]:
        vhost = vhost_of(stage.url)
        channels = await ctl(governed, "list_channels", "vhost", "number")
        consumers = await ctl(governed, "list_consumers", "-p", vhost, "queue_name")
        return {
            "channels": sum(row[0] == vhost for row in channels),
            "consumers": len(consumers),
            "tasks": len(asyncio.all_tasks()),
            "modules": len(sys.modules),
            "paths": len(sys.path),
        }

    def memory() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]  # nothing, unless it is traced

    for number in range(1, 21):
        await reload(number)
    before = await counts()
    threads = _threads()

    async def as_before() -> bool:
        return all(now <= before[what] for what, now in (await counts()).items())

    if _ALONE:
        tracemalloc.start()
    try:
        for number in range(21, 41):
            await reload(number)
        await until_true(as_before)  # the channels of the last reload may still be closing, and hold memory
        least = memory()
        for number in range(41, 21 + _RELOADS):
            await reload(number)
        await until_true(as_before)
        if _ALONE:  # a module that stays is 5 kB and more, a channel 20 kB
            assert memory() <= least + 2_500 * (_RELOADS - 20)
    finally:
        tracemalloc.stop()
    await until(lambda: _threads() <= threads)
    await until_true(as_before)
