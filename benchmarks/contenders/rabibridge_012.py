"""RabiBridge 0.1.2, through its public API as its documentation shows it.

It logs to standard output, which the benchmark needs for its answers. So it is imported while standard output is
redirected to the null device.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aio_pika
from aio_pika.exceptions import DeliveryError, PublishError

from benchmarks.contenders.base import RefusedError

# Its logger keeps this stream for the lifetime of the process.
with contextlib.redirect_stdout(Path(os.devnull).open("w")):
    from rabibridge import RMQClient, RMQServer, register_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.contenders.base import Caller, Service, Side


class _Side:
    def __init__(self, client: Any, service: Service) -> None:
        self._client = client
        self._service = service

    async def call(self, x: Any) -> Any:
        try:
            return await self._client.remote_call(self._service.name, (x,), timeout=self._service.timeout)
        except PublishError:  # nobody has declared its queue: not a refusal
            raise
        except DeliveryError as error:
            raise RefusedError from error

    def left(self) -> dict[str, int]:
        return {}


def _at(url: str) -> dict[str, Any]:
    """It accepts no URL, and supports only the default virtual host."""
    parts = urlsplit(url)
    return {"host": parts.hostname, "port": parts.port, "username": parts.username, "password": parts.password}


async def _delete_queue(url: str, name: str) -> None:
    """Delete the queue of an earlier server, which would still exist in the default virtual host."""
    async with await aio_pika.connect(urlsplit(url)._replace(path="/").geturl()) as connection:
        await (await connection.channel()).queue_delete(name)


@asynccontextmanager
async def serve(url: str, service: Service) -> AsyncIterator[Side]:
    await _delete_queue(url, f"rpc_async_{service.name}")
    server: Any = RMQServer(**_at(url))
    function: Any = register_call(queue_size=service.queue_size, fetch_size=service.fetch_size)(service.function)
    function.__module__ = "__main__"  # it serves no functions of other modules, and its add_service() breaks it
    server.load_services({service.name: function})
    async with server:
        serving = asyncio.create_task(server.run_serve())
        yield _Side(server, service)
        serving.cancel()
        await asyncio.wait([serving])


@asynccontextmanager
async def caller(url: str, service: Service) -> AsyncIterator[Caller]:
    client: Any = RMQClient(**_at(url))
    async with client:
        yield _Side(client, service)
