"""``rabibridge bench`` and ``rabibridge ping``."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import statistics
import sys
from typing import TYPE_CHECKING

import pytest

from rabibridge.cli.load import Latencies, Load
from rabibridge_core.errors import CallError

if TYPE_CHECKING:
    from tests.cli.conftest import Command


def test_ping_measures_the_connection(worker: Command) -> None:
    assert worker("ping").stdout.startswith("connected in ")
    assert json.loads(worker("ping", "--json").stdout)["seconds"] > 0
    late = worker("ping", "--timeout", "0")
    assert late.returncode == 4
    assert "no connection to amqp://" in late.stderr


def test_bench_closed_and_open(worker: Command) -> None:
    printed = worker("bench", "add", "-1", "2", "--calls", "200", "-c", "4", "--duration", "60", "--yes")
    assert printed.stdout.startswith("200 calls answered in ")
    assert "p99.9" in printed.stdout
    assert ("█" in printed.stdout) or ("#" in printed.stdout)
    open_loop = worker("bench", "add", "1", "--rate", "100", "-n", "50", "-d", "60", "--yes", "--json")
    figures = json.loads(open_loop.stdout)
    assert (figures["calls"], figures["succeeded"], figures["errors"]) == (50, 50, {})
    assert figures["seconds"] > 0.4, "50 calls at 100 a second take at least 0.49 s"
    assert 0 < figures["latency"]["min"] <= figures["latency"]["p50"] <= figures["latency"]["max"]


def test_bench_makes_no_call_without_consent(worker: Command) -> None:
    refused = worker("bench", "fail")
    assert refused.returncode == 2
    assert "makes real calls of 'fail' on amqp://" in refused.stderr
    assert "--yes" in refused.stderr


def test_bench_ends_with_the_status_of_its_calls_if_all_failed(worker: Command) -> None:
    assert worker("bench", "nobody", "-n", "3", "--yes").returncode == 6
    failed = worker("bench", "fail", "-n", "3", "--yes", "--json")
    assert (failed.returncode, json.loads(failed.stdout)["errors"]) == (1, {"RemoteExecutionError": 3})


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT")
def test_ctrl_c_prints_what_was_measured(worker: Command) -> None:
    with worker.start("bench", "add", "1", "--duration", "3600", "--yes", "--json") as process:
        while not worker("call", "add", "1", "1").stdout:
            pass  # by then the other one is connected, as a rule; if not, it has measured nothing
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert not out or json.loads(out)["interrupted"] is True


def test_percentiles_are_exact_to_two_percent() -> None:
    chance = random.Random(7)
    seconds = sorted(chance.lognormvariate(-6, 1) for _ in range(5_000))
    latencies = Latencies()
    for value in seconds:
        latencies.add(value)
    cuts = statistics.quantiles(seconds, n=100)
    for percent in (1, 50, 90, 99):
        assert latencies.percentile(percent) == pytest.approx(cuts[percent - 1], rel=0.03)
    assert latencies.percentile(100) == latencies.longest == seconds[-1]
    ranges = latencies.ranges(12)
    assert len(ranges) <= 12
    assert sum(count for _, _, count in ranges) == 5_000


async def test_an_open_loop_measures_from_when_a_call_was_due() -> None:
    blocked = asyncio.Lock()

    async def one_at_a_time() -> None:
        async with blocked:
            await asyncio.sleep(0.05)

    load = Load(one_at_a_time, duration=60, calls=10)
    await load.open(1000)
    assert load.latencies.count == 10
    assert load.latencies.longest > 0.4, "the last one waited behind nine others of 0.05 s"


async def test_a_closed_loop_counts_errors_by_class() -> None:
    async def fails() -> None:
        raise CallError("no")

    load = Load(fails, duration=60, calls=7)
    await load.closed(3)
    assert (load.answered, load.errors, str(load.first_error)) == (7, {"CallError": 7}, "no")
