"""GET requests by raw sockets: nothing is added to their headers, and nothing is cached."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["get", "get_raw"]


async def get_raw(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str, bytes]:
    """Return status, head and body of the response of a server on this machine."""
    sent = {"Host": f"127.0.0.1:{port}", "Connection": "close", **(headers or {})}
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
    return int(head.split()[1]), head.decode(), body


async def get(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Return status and text of the response of a server on this machine."""
    status, _, body = await get_raw(port, path, headers)
    return status, body.decode()
