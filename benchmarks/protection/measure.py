"""Measures calls over RabbitMQ without and with each kind of protection, in turns.

Each way has a server in a process of its own, and a client in this process. The clients take turns with the same calls,
so that whatever else the machine does strikes all alike.
"""

from __future__ import annotations

import asyncio
import base64
import multiprocessing
import secrets
import time
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rabibridge import RMQClient, RMQServer
from rabibridge_core.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from rabibridge_core.settings import Settings

__all__ = ["SIZES", "WAYS", "Turn", "measure"]

IN_FLIGHT = 64
SIZES = {16: 2_000, 65_536: 250}
"""Calls of a turn, by the size of the argument and of the result in bytes. They are random, and so not compressed."""
_SIGNED: dict[str, object] = {"identify": False, "require_signature": True}
WAYS: dict[str, dict[str, object]] = {
    "plain": {"identify": False},
    "user named (the default)": {"identify": True},
    "HMAC-SHA256": {**_SIGNED, "signing_key_id": "hmac-sha256"},
    "Ed25519": {**_SIGNED, "signing_key_id": "ed25519"},
    "HMAC-SHA256, AES-256-GCM": {
        **_SIGNED, "signing_key_id": "hmac-sha256", "encryption_key_id": "aes-256-gcm", "require_encryption": True,
    },
}  # fmt: skip
"""What is compared: settings of client and server."""


@dataclass(frozen=True)
class Turn:
    """One turn: seconds for a call, and processor seconds of client and server for a call."""

    elapsed: float
    client: float
    server: float


def _keys() -> str:
    algorithms = ("hmac-sha256", "ed25519", "aes-256-gcm")
    return ";".join(f"{name} {name} {base64.b64encode(secrets.token_bytes(32)).decode()}" for name in algorithms)


def _settings(url: str, way: str, ring: str) -> Settings:
    options = dict(WAYS[way])
    if "signing_key_id" in options:
        options["signing_keys"] = ring
    return load_settings(url=url, options=options)


def _name(way: str) -> str:
    return f"echo_{list(WAYS).index(way)}"


async def echo(value: bytes) -> bytes:
    """Return its argument."""
    return value


def _serve(url: str, way: str, ring: str, ready: Connection) -> None:
    async def run() -> None:
        server = RMQServer(settings=_settings(url, way, ring))
        server.add_service(echo, name=_name(way), fetch_size=2 * IN_FLIGHT)
        async with server.serving():
            ready.send(True)
            await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def _servers(url: str, ring: str) -> Iterator[dict[str, int]]:
    """Serve each way; yield the process ids."""
    processes: list[multiprocessing.Process] = []
    found: dict[str, int] = {}
    try:
        for way in WAYS:
            ours, theirs = multiprocessing.Pipe()
            process = multiprocessing.Process(target=_serve, args=(url, way, ring, theirs), daemon=True)
            process.start()
            processes.append(process)
            theirs.close()
            ours.recv()
            assert process.pid is not None
            found[way] = process.pid
        yield found
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(fields[0]) / 1e9


async def _turn(client: RMQClient, way: str, server: int, value: bytes, calls: int) -> Turn:
    async def caller(count: int) -> None:
        for _ in range(count):
            await client.remote_call(_name(way), (value,), timeout=60)

    each = max(calls // IN_FLIGHT, 1)
    count = each * IN_FLIGHT
    began, used, served = time.perf_counter(), time.process_time(), _processor_time(server)
    await asyncio.gather(*(caller(each) for _ in range(IN_FLIGHT)))
    return Turn(
        (time.perf_counter() - began) / count,
        (time.process_time() - used) / count,
        (_processor_time(server) - served) / count,
    )


async def _measure(url: str, ring: str, servers: dict[str, int], turns: int) -> dict[int, dict[str, list[Turn]]]:
    found: dict[int, dict[str, list[Turn]]] = {}
    async with AsyncExitStack() as stack:
        clients = {way: await stack.enter_async_context(RMQClient(settings=_settings(url, way, ring))) for way in WAYS}
        for size, calls in SIZES.items():
            value = secrets.token_bytes(size)
            for way, client in clients.items():
                await _turn(client, way, servers[way], value, calls)  # warms up
            of_size: dict[str, list[Turn]] = {way: [] for way in WAYS}
            for number in range(turns):
                for way in WAYS if number % 2 else reversed(WAYS):
                    of_size[way].append(await _turn(clients[way], way, servers[way], value, calls))
            found[size] = of_size
    return found


def measure(url: str, turns: int) -> dict[int, dict[str, list[Turn]]]:
    """Return the turns of each way, by the size of the argument."""
    ring = _keys()
    with _servers(url, ring) as servers:
        return asyncio.run(_measure(url, ring, servers, turns))
