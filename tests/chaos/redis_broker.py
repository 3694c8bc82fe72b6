"""A Redis as the chaos tests see it: databases of their own, a user with a password, and what there is now."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.settings import load_settings
from rabibridge_redis._resp.link import Link
from rabibridge_redis._session.log_in import Login, checked_settings, log_in
from rabibridge_redis.settings import RedisSettings
from tests.chaos.broker import Census
from tools.redis_server import PrivateRedis

__all__ = ["ChaosRedis"]

_DATABASES = 64
_LOOK = 0.25
_LINKS = 3
"""How many connections a client or a worker has."""


class ChaosRedis:
    """A server with a user for these tests, whose password can be looked for in the logs.

    It writes each command to its disk before it answers, so that what was accepted outlives it.
    """

    settling = RedisSettings().lease + 20.0
    """What is sent to a session is kept until its lease ends, even where its process was killed."""

    def __init__(self) -> None:
        self.user = f"chaos-{secrets.token_hex(4)}"
        self.password = f"secret-{secrets.token_hex(12)}"
        user = (self.user, "on", f">{self.password}", "~*", "&*", "+@all")
        self.node = PrivateRedis("--databases", str(_DATABASES), "--appendfsync", "always", "--user", *user)
        self._used = 0

    async def vhost(self) -> str:
        """Return the number of a database that nobody has used."""
        self._used += 1
        assert self._used < _DATABASES
        return str(self._used)

    def url(self, vhost: str, heartbeat: int | None = None) -> str:
        query = "?lease=3" if heartbeat else ""
        return f"redis://{self.user}:{self.password}@127.0.0.1:{self.node.port}/{vhost}{query}"

    async def ask(self, *commands: tuple[str, ...], vhost: str = "0") -> list[Any]:
        """Send commands on a connection of their own."""
        settings = load_settings(url=f"redis://127.0.0.1:{self.node.port}/{vhost}")
        endpoint = settings.endpoints[0]
        link = Link(_nothing, _nothing)
        login = Login(endpoint.username, endpoint.password, endpoint.virtualhost, "")
        await log_in(link, endpoint, checked_settings(settings), login)
        try:
            return [await link.ask(*command) for command in commands]
        finally:
            link.close(ConnectionLostError("asked"))

    async def kill_connections(self) -> None:
        """Close all connections of clients and workers."""
        await self.ask(("CLIENT", "KILL", "USER", self.user))

    async def census(
        self, vhost: str, *, left: int = 0, connections: int = 0, channels: int = 0, seconds: float = 0.0
    ) -> Census:
        """Count what there is, once so much waits and nothing else is under way, or after so many seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            census = await self._count(vhost)
            waiting, held = sum(census.waiting.values()), sum(census.unsettled.values())
            settled = (waiting, held, census.connections) == (left, 0, connections) or not connections
            if settled or loop.time() >= deadline:
                return census
            await asyncio.sleep(_LOOK)  # nothing tells when it is so

    async def _count(self, vhost: str) -> Census:
        clients, inboxes, keys, dead = await self.ask(
            ("CLIENT", "LIST"), ("KEYS", "rpc::i:*"), ("KEYS", "rpc::q:*:s"), ("XLEN", "rpc::dead"), vhost=vhost
        )
        ours = [line for line in clients.decode().splitlines() if f" user={self.user} " in line]
        here = [line for line in ours if f" db={vhost} " in line]
        census = Census(connections=len(here) // _LINKS, exclusive=len(inboxes))
        census.consuming["inboxes"] = len(inboxes)
        if dead:
            census.waiting["dead"] = dead
        for key in keys:
            queue = key.decode().removesuffix(":s")
            ready, consumers, pending, length = await self.ask(
                ("HGET", queue, "ready"),
                ("HVALS", f"{queue}:c"),
                ("XPENDING", f"{queue}:s", "g"),
                ("XLEN", f"{queue}:s"),
                vhost=vhost,
            )
            census.consuming[queue] = consumers.count(b"1")
            held = sum(int(number) for name, number in pending[3] or () if name != b"-")
            if held:
                census.unsettled[queue] = held
            if waits := max(int(ready), length - held):  # what is stored and neither waits nor is held is never run
                census.waiting[queue] = waits
        return census


def _nothing(_: object) -> None:
    """Drop what nobody waits for."""
