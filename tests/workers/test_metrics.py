"""``--metrics-port``: one port for all workers, whose numbers add up whatever happens to the workers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from typing import TYPE_CHECKING

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from rabibridge import RMQClient
from tests.support.http import get
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.workers.support import Program, Supervised

_RECYCLES = int(os.environ.get("METRICS_RECYCLES", "4"))
_OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


async def _port(running: Supervised) -> int:
    await running.logged("metrics: http://127.0.0.1:")
    found = re.search(r"metrics: http://127\.0\.0\.1:(\d+)/metrics", running.log)
    assert found
    return int(found[1])


async def _samples(port: int) -> dict[tuple[str, str, str], float]:
    """Return the value of each sample by name, service, and outcome, state or the like."""
    status, text = await get(port, "/metrics", _OPENMETRICS)
    assert status == 200, text
    found = {}
    for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call]
        for sample in family.samples:
            labels = dict(sample.labels)
            service = labels.pop("service", "")
            if "le" not in labels:
                found[sample.name, service, ",".join(labels.values())] = sample.value
    return found


async def test_the_metrics_of_four_workers_add_up_although_one_is_killed(program: Program, client: RMQClient) -> None:
    with program.command("services.py", "--workers", "4", "--metrics-port", "0") as running:
        port = await _port(running)
        await running.serves(4)
        pids = await soon(asyncio.gather(*(client.remote_call("pid", (0.01,), timeout=60) for _ in range(2000))))
        assert len(set(pids)) > 1
        held = [asyncio.create_task(client.remote_call("hold", (str(n),), timeout=90)) for n in range(16)]
        await until(lambda: len(list(program.folder.glob("*.began"))) == 16)
        victim = max(running.workers, key=pids.count)
        os.kill(victim, signal.SIGKILL)
        await running.logged("another one is started")
        (program.folder / "release").touch()
        assert victim not in await soon(asyncio.gather(*held))
        samples = await _samples(port)
        assert samples["rabibridge_server_calls_total", "pid", "succeeded"] == 2000
        assert samples["rabibridge_server_call_duration_seconds_count", "pid", ""] == 2000
        assert samples["rabibridge_server_calls_total", "hold", "succeeded"] == 16
        assert samples["rabibridge_server_redelivered_calls_total", "hold", ""] >= 1
        assert sum(value for (name, *_), value in samples.items() if name == "rabibridge_server_calls_total") == 2016
        await running.logged(" serves\n")
        await _until_sample(port, ("rabibridge_workers", "", "ready"), 4)
        samples = await _samples(port)
        assert samples["rabibridge_worker_ends_total", "", "killed"] == 1
        assert samples["rabibridge_worker_starts_total", "", ""] == 5
        await _until_sample(port, ("rabibridge_server_calls_in_hand", "hold", ""), 0)
        await _until_sample(port, ("rabibridge_server_live_workers", "pid", ""), 4)


async def _until_sample(port: int, key: tuple[str, str, str], value: float) -> None:
    async with asyncio.timeout(60):
        while (await _samples(port)).get(key) != value:  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.2)


async def test_scrapes_go_well_and_nothing_falls_or_grows_while_workers_are_recycled(
    program: Program, client: RMQClient
) -> None:
    """``make soak-metrics`` runs it with 1,000 recycles."""
    options = ("--workers", "2", "--metrics-port", "0", "--max-calls-per-worker", "20")
    with program.command("services.py", *options) as running:
        port = await _port(running)
        await running.serves(2)
        calls, over, times = 0, asyncio.Event(), list[float]()
        loop = asyncio.get_running_loop()
        before: dict[tuple[str, str, str], float] = {}

        async def scrape() -> None:
            """Scrape 100 times a second, or half of the time where the machine is too slow for that."""
            while not over.is_set():
                began = loop.time()
                status, text = await get(port, "/metrics")
                times.append(loop.time() - began)
                assert status == 200, text
                await asyncio.sleep(max(0.01 - times[-1], times[-1]))

        async def compare() -> None:
            nonlocal before
            while not over.is_set():
                now = await _samples(port)
                fallen = {key: value for key, value in before.items() if key[0].endswith("_total") and now[key] < value}
                assert not fallen
                before = now
                await asyncio.sleep(0.5)

        async def watch() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(scrape())
                group.create_task(compare())

        scraping = asyncio.create_task(watch())
        began, descriptors = loop.time(), 0
        while running.log.count(" is replaced: ") < _RECYCLES and not scraping.done():
            await soon(asyncio.gather(*(client.remote_call("pid", timeout=60) for _ in range(20))))
            calls += 20
            if calls == 60:
                descriptors = len(os.listdir(f"/proc/{running.pid}/fd"))
        over.set()
        await scraping
        print(f"{len(times)} scrapes in {loop.time() - began:.0f} s, {running.log.count(' is replaced: ')} recycles")
        samples = await _samples(port)
        assert samples["rabibridge_server_calls_total", "pid", "succeeded"] == calls
        assert samples["rabibridge_worker_ends_total", "", "asked"] >= _RECYCLES - 1
        assert samples["rabibridge_server_live_workers", "pid", ""] <= 4  # two, and those that follow them
        assert len(os.listdir(f"/proc/{running.pid}/fd")) <= descriptors + 8
        quarter = max(1, len(times) // 4)
        first, last = sorted(times[:quarter])[quarter // 2], sorted(times[-quarter:])[quarter // 2]
        print(f"median time of a scrape: {first * 1000:.1f} ms in the first quarter, {last * 1000:.1f} ms in the last")
        assert last < 5 * first + 0.05, (first, last)
        assert not [name for name in os.listdir(program.folder) if "metric" in name]


async def test_probes_follow_the_workers(program: Program) -> None:
    with program.command("services.py", "--workers", "2", "--metrics-port", "0") as running:
        port = await _port(running)
        status, text = await get(port, "/readyz")
        assert (status, json.loads(text)["ok"]) in ((503, False), (200, True))  # whether they serve already
        await running.serves(2)
        assert (await get(port, "/healthz"))[0] == 200
        async with asyncio.timeout(60):
            while (await get(port, "/readyz"))[0] != 200:  # noqa: ASYNC110 - another process does it
                await asyncio.sleep(0.1)
        async with RMQClient(url=program.url) as own:
            held = asyncio.create_task(own.remote_call("hold", ("probe",), timeout=90))
            await until((program.folder / "probe.began").exists)
            running.send(signal.SIGTERM)
            async with asyncio.timeout(60):
                while (await get(port, "/readyz"))[0] != 503:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.05)
            assert "the workers are stopping" in (await get(port, "/readyz"))[1]
            assert (await get(port, "/healthz"))[0] == 200
            (program.folder / "release").touch()
            await soon(held)
        assert await running.ended() == 0


async def test_a_server_without_workers_serves_its_metrics_and_health(program: Program, client: RMQClient) -> None:
    with program.command("services.py", "--metrics-port", "0") as running:
        port = await _port(running)
        async with asyncio.timeout(60):
            while (await get(port, "/readyz"))[0] != 200:  # noqa: ASYNC110 - another process does it
                await asyncio.sleep(0.1)
        for _ in range(7):
            assert await soon(client.remote_call("pid", timeout=60)) == running.pid
        samples = await _samples(port)
        assert samples["rabibridge_server_calls_total", "pid", "succeeded"] == 7
        assert samples["rabibridge_connections", "", "server,ready"] == 1
        async with asyncio.timeout(60):
            while ("rabibridge_loop_lag_seconds", "", "") not in await _samples(port):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.1)
        blocked = asyncio.create_task(client.remote_call("block", timeout=90))
        await until((program.folder / "block.began").exists)
        status, text = await get(port, "/readyz")
        assert (status, json.loads(text)["reasons"]) == (503, ["the event loop has not reacted within 1 s"])
        assert (await get(port, "/healthz"))[0] == 200
        (program.folder / "unblock").touch()
        await soon(blocked)
        running.send(signal.SIGTERM)
        assert await running.ended() == 0, running.log


async def test_a_port_that_is_taken_and_a_missing_distribution_are_said_at_once(
    program: Program, tmp_path: Path
) -> None:
    with program.command("services.py", "--metrics-port", "0") as first:
        port = await _port(first)
        with program.command("services.py", "--workers", "2", "--metrics-port", str(port)) as second:
            assert await second.ended() == 3
            assert f"metrics cannot be served on 127.0.0.1, port {port}" in second.log
    (tmp_path / "prometheus_client.py").write_text("raise ModuleNotFoundError(name='prometheus_client')\n")
    variables = {"PYTHONPATH": str(tmp_path)}
    with program.command("services.py", "--metrics-port", "0", variables=variables) as running:
        assert await running.ended() == 3
        assert "install rabibridge-rabbitmq[prometheus]" in running.log


async def test_a_name_that_points_to_the_loopback_address_gets_nothing(program: Program) -> None:
    hosts = {"127.0.0.1:1": 200, "localhost": 200, "[::1]:1": 200, "evil.test": 421, "": 421}
    with program.command("services.py", "--workers", "1", "--metrics-port", "0") as running:
        port = await _port(running)
        for host, status in hosts.items():
            for path in ("/metrics", "/healthz"):
                found, text = await get(port, path, {"Host": host})
                assert found == status, (host, text)
