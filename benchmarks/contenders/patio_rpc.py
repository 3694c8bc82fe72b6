"""patio-rabbitmq as its documentation shows it, with its asyncio executor; it encodes with pickle."""

# pyright: reportMissingImports=false
from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from patio import AsyncExecutor, NullExecutor, Registry
from patio_rabbitmq import RabbitMQBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.contenders.base import Caller, Service, Side

_PROJECT = "benchmarks"


class _Side:
    def __init__(self, broker: Any, service: Service) -> None:
        self._broker = broker
        self._service = service

    async def call(self, x: Any) -> Any:
        return await self._broker.call(self._service.name, x, timeout=self._service.timeout)

    def left(self) -> dict[str, int]:
        return {}


@asynccontextmanager
async def serve(url: str, service: Service) -> AsyncIterator[Side]:
    registry: Any = Registry(project=_PROJECT, auto_naming=False)
    registry[service.name] = service.function
    # The broker prefetches as many requests as the executor runs at a time.
    async with (
        AsyncExecutor(registry, max_workers=service.fetch_size) as executor,
        RabbitMQBroker(executor, amqp_url=url) as broker,
    ):
        yield _Side(broker, service)


@asynccontextmanager
async def caller(url: str, service: Service) -> AsyncIterator[Caller]:
    async with NullExecutor(Registry(project=_PROJECT)) as executor, RabbitMQBroker(executor, amqp_url=url) as broker:
        yield _Side(broker, service)
