"""A socket for tests without a network: it records what is written; the test supplies what it receives."""

from __future__ import annotations

import asyncio
from typing import Any

from rabibridge._connection.multiplexer import Multiplexer


class RecordedSocket(asyncio.Transport):
    """Records each write, and whether it was aborted."""

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
        """Do nothing: nothing is read from this socket."""


def multiplexed_socket() -> tuple[Multiplexer, RecordedSocket, asyncio.StreamReader]:
    """Return a multiplexer on a recorded socket, and the reader that gets the frames that no fast channel takes."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    multiplexer, socket = Multiplexer(reader, loop), RecordedSocket()
    multiplexer.connection_made(socket)
    return multiplexer, socket, reader


async def forwarded(reader: asyncio.StreamReader) -> bytes:
    """Return what the multiplexer has forwarded to aiormq since the last call."""
    await asyncio.sleep(0)
    reader.feed_data(b"\0")  # so that there is something to read
    return (await reader.read(2**24))[:-1]
