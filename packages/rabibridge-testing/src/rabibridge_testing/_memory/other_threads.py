"""Lets a test change the in-memory broker while its event loop runs in another thread, as with a synchronous client."""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_testing._memory.router import Router

    BrokerT = TypeVar("BrokerT", bound=Router[Any])

__all__ = ["on_the_loop"]

P = ParamSpec("P")
T = TypeVar("T")


def on_the_loop(method: Callable[Concatenate[BrokerT, P], T]) -> Callable[Concatenate[BrokerT, P], T]:
    """Run a method of a broker on the event loop of its transports, if that runs in another thread, and wait for it."""

    @functools.wraps(method)
    def run(broker: BrokerT, /, *args: P.args, **kwargs: P.kwargs) -> T:
        loop = next((transport.loop for transport in broker.transports if transport.loop.is_running()), None)
        if loop is None or asyncio._get_running_loop() is loop:
            return method(broker, *args, **kwargs)
        done: Future[T] = Future()

        def work() -> None:
            try:
                done.set_result(method(broker, *args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
                done.set_exception(error)

        loop.call_soon_threadsafe(work)
        return done.result()

    return run
