"""One broker, as a program: `python -m benchmarks.shards.node ADDRESS`, in a network namespace or not.

It prints its URL, and takes commands on standard input: ``kill`` and ``start``, each answered with a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from rabibridge_testing._servers.private import PrivateNode


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):  # the other side has gone
        while data := await reader.read(2**18):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _run(address: str) -> None:
    node = PrivateNode()
    await asyncio.to_thread(node.start)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(node.host, node.port)
        except OSError:  # the node is not there
            writer.transport.abort()
            return
        await asyncio.gather(_forward(reader, up_writer), _forward(up_reader, writer))

    # The node listens on the loopback interface, which belongs to the namespace.
    server = await asyncio.start_server(accept, address, 0)
    port = server.sockets[0].getsockname()[1]
    print(node.url.replace(f"{node.host}:{node.port}", f"{address}:{port}"), flush=True)
    try:
        while command := (await asyncio.to_thread(sys.stdin.readline)).strip():
            await asyncio.to_thread(node.kill if command == "kill" else node.start)
            print(command, flush=True)
    finally:
        node.stop()


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1]))
