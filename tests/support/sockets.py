"""A socket for tests without a network: what is written to it is kept, what it brings is said by the test."""

from __future__ import annotations

import asyncio
from typing import Any

from rabibridge._connection.multiplexer import Multiplexer


class RecordedSocket(asyncio.Transport):
    """Keeps every write by itself, and whether it was aborted."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.aborted = False

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        """Nothing is read here anyway."""


def tapped_socket() -> tuple[Multiplexer, RecordedSocket, asyncio.StreamReader]:
    """Return a tap over a recorded socket and the reader to which it passes on what no lane takes."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    tap, socket = Multiplexer(reader, loop), RecordedSocket()
    tap.connection_made(socket)
    return tap, socket, reader


async def passed_on(reader: asyncio.StreamReader) -> bytes:
    """Return what the tap has passed on since the last time."""
    await asyncio.sleep(0)
    reader.feed_data(b"\0")  # so that there is something to read
    return (await reader.read(2**24))[:-1]
