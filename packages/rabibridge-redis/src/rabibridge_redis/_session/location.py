"""Finds the server that accepts calls: the primary that Sentinels name, or the node of a cluster that has our keys.

A namespace is in one slot of a cluster, as its keys have a common hash tag; so all of its scripts run on one node.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import hiredis

from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_core.settings import Secret
from rabibridge_redis._resp.link import Link
from rabibridge_redis._session.log_in import Login, log_in

if TYPE_CHECKING:
    from typing import Any

    from rabibridge_core.settings import Endpoint
    from rabibridge_redis._session.log_in import Server
    from rabibridge_redis.settings import RedisSettings

__all__ = ["check_role", "is_sentinel", "owner_of", "primary_of"]

_SENTINEL = "+sentinel"


def is_sentinel(endpoint: Endpoint) -> bool:
    """Tell whether an endpoint is a Sentinel."""
    return endpoint.scheme.endswith(_SENTINEL)


async def primary_of(endpoint: Endpoint, own: RedisSettings) -> Endpoint:
    """Return the primary that a Sentinel names, with the log-in of ``endpoint``.

    Raises:
        ConnectionLostError: the Sentinel cannot be reached.
        ConfigurationError: it refuses, is none, or does not know the service.
    """
    link = Link(_nothing, _nothing)
    try:
        login = Login(own.sentinel_username or "", own.sentinel_password or Secret(""), "", "")
        server = await log_in(link, endpoint, own, login)
        if server.mode != "sentinel":
            raise ConfigurationError(
                f"{endpoint} is a Redis server, not a Sentinel: use the port of a Sentinel, 26379 as a rule, or "
                f"{endpoint.scheme.removesuffix(_SENTINEL)}://"
            )
        found = await link.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", own.sentinel_service)
    except hiredis.ReplyError as error:
        raise ConfigurationError(f"{endpoint} refuses to tell the primary: {error}") from error
    finally:
        link.close(ConnectionLostError("the Sentinel was asked"))
    if found is None:
        raise ConfigurationError(
            f"the Sentinel {endpoint} knows no service {own.sentinel_service!r}: set sentinel_service to the name that "
            "`sentinel monitor` has in its sentinel.conf"
        )
    scheme = endpoint.scheme.removesuffix(_SENTINEL)
    return replace(endpoint, host=found[0].decode(), port=int(found[1]), scheme=scheme)


def check_role(endpoint: Endpoint, server: Server) -> None:
    """Check that a server accepts calls.

    Raises:
        ConnectionLostError: it is a replica: after a failover, another one is the primary.
        ConfigurationError: it is a Sentinel, and the URL says that it is not.
    """
    if server.mode == "sentinel":
        raise ConfigurationError(f"{endpoint} is a Sentinel: use {endpoint.scheme}{_SENTINEL}://")
    if server.mode != "cluster" and server.role != "master":
        raise ConnectionLostError(
            f"{endpoint} is a replica, which accepts no calls: give the primary, or redis+sentinel://", executed=False
        )


async def owner_of(link: Link, endpoint: Endpoint, key: str) -> Endpoint | None:
    """Return the node of a cluster that has a key; ``None``: it is the one that is asked.

    Raises:
        ConnectionLostError: no node has the key now, or the link is lost.
        ReplyError: the server refuses.
    """
    slot = await link.ask("CLUSTER", "KEYSLOT", key)
    own_id = await link.ask("CLUSTER", "MYID")
    for first, last, node, *_ in await link.ask("CLUSTER", "SLOTS"):
        if first <= slot <= last:
            return None if node[2] == own_id else _endpoint(endpoint, node)
    raise ConnectionLostError(f"no node of the cluster of {endpoint} has the slot {slot} now", executed=False)


def _endpoint(endpoint: Endpoint, node: list[Any]) -> Endpoint:
    host = node[0].decode() if node[0] else endpoint.host
    return replace(endpoint, host=host if host != "?" else endpoint.host, port=int(node[1]))


def _nothing(_: object) -> None:
    """Drop what nobody waits for."""
