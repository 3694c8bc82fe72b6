"""Versions without classes of criticality call services that have them, and serve callers that name one."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

import pika  # type: ignore[import-untyped]  # it ships no types

from rabibridge import RMQClient, RMQServer
from tests.interop.test_peer_calls_us import outcome
from tests.interop.test_previous import line, previous, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.interop.conftest import Peers

__all__ = ["previous"]

CLASSES = {"interactive": 100, "batch": 100}


async def add(left: int, right: int, *, times: int = 1) -> int:
    return (left + right) * times


async def test_the_version_before_serves_callers_that_name_a_class(
    previous: Path,
    vhost_url: str,
    unique_name: Callable[[str], str],
) -> None:
    config = {"url": vhost_url, "prefix": unique_name("previous") + "_", "any": "any"}
    async with running(previous, "serves.py", config) as worker, RMQClient(url=vhost_url) as client:
        assert "ready" in await line(worker)
        batch = client.options(criticality="batch", timeout=60)
        for view in (batch.options(kind="async"), batch.options(kind="any")):
            assert [await view.call(config["prefix"] + "add", number, 1) for number in range(3)] == [1, 2, 3]


async def test_workers_with_and_without_classes_share_a_service(
    previous: Path,
    vhost_url: str,
    unique_name: Callable[[str], str],
) -> None:
    config = {"url": vhost_url, "prefix": unique_name("previous") + "_", "any": "any"}
    server = RMQServer(url=vhost_url)
    limits = {"interactive": 1000, "batch": 10}  # the first bound is that of the version before
    server.add_service(add, name=config["prefix"] + "add", timeout=60, classes=limits)
    async with running(previous, "serves.py", config) as worker, server.serving(), RMQClient(url=vhost_url) as client:
        assert "ready" in await line(worker)
        view = client.options(timeout=60)
        for named in (view, view.options(criticality="batch"), view.options(criticality="interactive")):
            assert [await named.call(config["prefix"] + "add", number, 1) for number in range(6)] == list(range(1, 7))


async def test_0_1_2_reaches_the_first_class(peers: Peers, url: str, service_name: str) -> None:
    server = RMQServer(url=url)
    server.add_service(add, name=service_name, classes=CLASSES)
    try:
        async with server.serving():
            peer = await asyncio.to_thread(peers.client, "msgpack")
            assert (await outcome(peer, service_name, 1, 2, times=3))["result"] == 9
    finally:
        with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
            connection.channel().queue_delete(f"rpc_async_{service_name}:batch")


async def test_0_1_2_serves_callers_that_name_a_class(peers: Peers, client: RMQClient, service_name: str) -> None:
    await asyncio.to_thread(peers.server, service_name)
    batch = client.options(criticality="batch", timeout=30, kind="async")
    assert [await batch.call(service_name, "echo", number) for number in range(3)] == [0, 1, 2]
