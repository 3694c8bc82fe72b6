"""Workers are replaced while calls come in, and none of these fails."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.support.waiting import soon, until, until_true
from tests.workers.support import SERVICES, alive
from tools.reload_load import reload_under_load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge import RMQClient
    from tests.workers.support import Program, Supervised

_CALLERS = 16


@asynccontextmanager
async def _load(client: RMQClient) -> AsyncIterator[set[int]]:
    """Have calls under way all through a block, and fail if one fails; give the processes that have answered."""
    answered: set[int] = set()
    stopped = False

    async def call() -> None:
        while not stopped:
            answered.add(await client.remote_call("pid", (0.05,), timeout=60))

    async with asyncio.TaskGroup() as callers:
        for _ in range(_CALLERS):
            callers.create_task(call())
        yield answered
        stopped = True


async def _serves_version(client: RMQClient, version: int) -> None:
    async def look() -> bool:
        return bool(await client.remote_call("version", timeout=60) == version)

    await until_true(look)


def _write(program: Program, version: int) -> None:
    # Python takes a file for unchanged if neither its size nor the second of its time differs.
    changed = SERVICES.replace("VERSION = 1", f"VERSION = {version}")
    (program.folder / "services.py").write_text(changed + "#" * version + "\n")


async def test_no_call_fails_while_workers_are_replaced(program: Program, client: RMQClient) -> None:
    with program.command("services.py", "--workers", "2") as running:
        await running.serves(2)
        async with _load(client) as answered:
            before = running.workers
            await _hup(running)
            assert not before & running.workers
            after = set(running.workers)
            await until(lambda: before | after <= answered)
            # In the middle of a reload: some more, and other numbers of workers. Then the second reload follows.
            started = running.log.count(" serves\n")
            reloads = running.log.count(": reloaded\n")
            for number in (signal.SIGHUP, signal.SIGTTIN, *[signal.SIGHUP] * 8, signal.SIGTTOU):
                running.send(number)
            await running.logged("SIGTTIN: ")  # two of them that wait are one to the system
            running.send(signal.SIGTTIN)
            await running.logged(": reloaded\n", reloads + 1)
            await until(lambda: len(running.workers) == 3)
            assert not after & running.workers
            assert running.log.count(" serves\n") - started <= 2 * 3
        # A file that cannot be loaded: the workers of before continue, and the next attempt succeeds.
        before = running.workers
        (program.folder / "services.py").write_text("1 / 0\n")
        running.send(signal.SIGHUP)
        await running.logged("the reload has stopped, and the workers of before continue")
        assert "ZeroDivisionError" in running.log
        assert running.workers == before
        _write(program, 2)
        running.send(signal.SIGHUP)
        await _serves_version(client, 2)
        running.send(signal.SIGHUP)
        running.send(signal.SIGTERM)
        assert await running.ended() == 0


async def test_calls_at_a_fixed_rate_are_answered_while_workers_are_replaced(program: Program) -> None:
    """``make reload-load``, in small."""
    outcome = await reload_under_load(program, rate=50, workers=1, reloads=1)
    assert not outcome.failures, outcome
    assert len(outcome.latencies) == outcome.offered > 0
    assert len(outcome.workers) == 2


async def _hup(running: Supervised) -> None:
    count = running.log.count(": reloaded\n")
    running.send(signal.SIGHUP)
    await running.logged(": reloaded\n", count + 1)


async def test_one_that_never_becomes_ready_leaves_the_old_ones(program: Program, client: RMQClient) -> None:
    with program.command("services.py", "--workers", "1", "--start-timeout", "20") as running:
        await running.serves(1)
        (worker,) = running.workers
        (program.folder / "services.py").write_text(
            f"import os, time\nif os.getppid() == {running.pid}:\n    open('slow.began', 'w')\n    time.sleep(3600)\n"
        )
        running.send(signal.SIGHUP)
        await until((program.folder / "slow.began").exists)
        (slow,) = running.workers - {worker}
        await running.logged("a new worker cannot start: it is not ready after 20 s")
        assert running.workers == {worker}
        assert not alive(slow)
        assert await soon(client.remote_call("pid", timeout=60)) == worker
        _write(program, 2)
        await _hup(running)
        await _serves_version(client, 2)


async def test_a_worker_that_ignores_its_end_is_killed_in_a_reload(program: Program, client: RMQClient) -> None:
    with program.command("services.py", "--workers", "1", "--drain-timeout", "0") as running:
        await running.serves(1)
        await client.notify("cling")
        await until((program.folder / "cling.began").exists)
        before = running.workers
        await _hup(running)
        assert not any(map(alive, before))
        assert len(running.workers) == 1


async def test_the_folder_behind_a_link_is_read_anew(program: Program, client: RMQClient) -> None:
    for version in (1, 2):
        folder = program.folder / f"release-{version}"
        folder.mkdir()
        (folder / "services.py").write_text(SERVICES.replace("VERSION = 1", f"VERSION = {version}") + "#" * version)
    (program.folder / "services.py").unlink()
    current = program.folder / "current"
    current.symlink_to("release-1")
    with (
        program.command("services", "--workers", "1", "--app-dir", "current") as by_option,
        program.python(
            "-c", "import os, sys; os.chdir('current'); os.environ['PWD'] = sys.argv[1]; os.execv(sys.executable, "
            "[sys.executable, '-m', 'rabibridge', 'run', 'services.py', '--workers', '1'])", str(current.absolute()),
        ) as by_folder,
    ):  # fmt: skip
        await asyncio.gather(by_option.serves(1), by_folder.serves(1))
        assert await soon(client.remote_call("version", timeout=60)) == 1
        new = program.folder / "new"
        new.symlink_to("release-2")
        new.replace(current)
        await asyncio.gather(_hup(by_option), _hup(by_folder))
        assert {await soon(client.remote_call("version", timeout=60)) for _ in range(8)} == {2}


async def test_changed_files_are_served(program: Program, client: RMQClient) -> None:
    package = program.folder / "shop"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("from shop.inner.number import NUMBER\n")
    (package / "inner" / "number.py").write_text("NUMBER = 1\n")
    (package / "orders.py").write_text(
        "from rabibridge import register_call\nfrom shop import NUMBER\n\n\n"
        "@register_call\nasync def number():\n    return NUMBER\n"
    )
    plugins = program.folder / "plugins"
    plugins.mkdir()
    (plugins / "other.py").write_text(
        "from rabibridge import register_call\n\n\n@register_call\nasync def other():\n    return 1\n"
    )
    with program.command("shop.orders", "services.py", "plugins", "--reload") as running:
        await running.serves(1)
        _write(program, 2)
        await _serves_version(client, 2)
        (package / "inner" / "number.py").write_text("NUMBER = 2  # changed\n")

        async def has_changed() -> bool:
            return bool(await client.remote_call("number", timeout=60) == 2)

        await until_true(has_changed)
        (plugins / "other.py").write_text((plugins / "other.py").read_text().replace("return 1", "return 2  # changed"))

        async def other_has_changed() -> bool:
            return bool(await client.remote_call("other", timeout=60) == 2)

        await until_true(other_has_changed)
        for number in range(200):  # as a checkout does it
            (package / f"file_{number}.py").touch()
        reloads = running.log.count("changed files: ")
        await running.logged("changed files: ", reloads + 1)
        assert len(running.workers) in (1, 2)


async def test_workers_are_recycled_one_at_a_time(program: Program, client: RMQClient) -> None:
    with program.command("services.py", "--workers", "3", "--max-calls-per-worker", "50") as running:
        await running.serves(3)
        first = running.workers
        serving = set(first)
        fewest = 3
        async with _load(client) as answered:
            while first & serving:
                serving = running.workers
                fewest = min(fewest, len(serving))
                await asyncio.sleep(0.02)
        assert fewest == 3
        assert first <= answered
        assert "is replaced: it has answered" in running.log
        running.send(signal.SIGTERM)
        assert await running.ended() == 0


async def test_a_worker_that_uses_much_memory_is_recycled(program: Program, client: RMQClient) -> None:
    with program.command("services.py", "--workers", "1", "--max-memory-per-worker", "256MB") as running:
        await running.serves(1)
        before = running.workers
        await soon(client.remote_call("grow", (256,), timeout=60))
        await running.logged("is replaced: it uses")
        await until(lambda: len(running.workers) == 1 and not before & running.workers)
    with program.command("services.py", "--workers", "1", "--max-memory-per-worker", "1MB") as running:
        await running.logged("a new worker uses")
