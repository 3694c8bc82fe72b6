"""The interface of the contenders for streams."""

from __future__ import annotations

import functools
import importlib
import random
from collections.abc import AsyncIterator  # noqa: TC003 - the annotation of items() is read when a program runs
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


class StreamClient(Protocol):
    """A connected client."""

    def stream(self, count: int, size: int) -> AsyncIterator[Any]:
        """Read a stream of so many items of so many bytes."""
        ...

    async def call(self, value: Any) -> Any:
        """Call the service ``echo`` with one argument."""
        ...


class StreamContender(Protocol):
    """The functions of a contender's module."""

    def serve(self, url: str) -> AbstractAsyncContextManager[None]:
        """Serve the stream and ``echo`` while the context is open."""
        ...

    def client(self, url: str) -> AbstractAsyncContextManager[StreamClient]:
        """Connect while the context is open."""
        ...


async def items(count: int, size: int) -> AsyncIterator[bytes]:
    """Yield so many items of so many bytes that cannot be compressed: the stream of all contenders."""
    item = _item(size)
    for _ in range(count):
        yield item


@functools.cache
def _item(size: int) -> bytes:
    return random.Random(0).randbytes(size)


def load(name: str) -> StreamContender:
    """Import a contender; its library must be installed where this runs."""
    return cast("StreamContender", importlib.import_module(f"benchmarks.contenders.{name}"))
