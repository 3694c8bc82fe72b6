"""The fewest permissions that a user of Redis needs, as rules of an ACL (Redis 7 or later, Valkey).

A script runs with the permissions of whoever runs it: so there are those for the commands of the scripts, too. Neither
``KEYS`` nor ``SCAN`` is among them: what is sent to a client stands in a stream whose name cannot be guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._protocol.naming import check_service_name, queue_name, routing_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["acl_rules"]

_CONNECTION = "hello auth select script|load evalsha ping cluster|keyslot cluster|myid cluster|slots"
_SESSION = (
    "xadd xread xtrim pexpire set unlink exists publish subscribe unsubscribe pubsub|numsub time hgetall hget hmget "
    "hkeys hset hdel hincrby spop zadd zrange zrem xrange xreadgroup xack xdel"
)
_SERVING = "xgroup|create xgroup|delconsumer xpending xclaim zpopmin sadd srem smembers incrby decrby info"
_OPERATING = "config|get xlen xrevrange"


def acl_rules(role: str, namespace: str, services: Sequence[str] = ()) -> list[str]:
    """Return the rules for a user.

    Args:
        role: ``caller``, ``server`` or ``operator``.
        namespace: empty: none.
        services: names of services; empty: all of the namespace.

    Raises:
        ConfigurationError: a name is none of a service.
    """
    prefix = f"rpc:{namespace}:"
    return [
        "resetkeys",
        "resetchannels",
        "nocommands",
        *(f"{rule}{prefix}{pattern}" for rule, pattern in _keys(role, services)),
        *(f"&{prefix}{pattern}" for pattern in _channels(services)),
        *(f"+{command}" for command in _commands(role).split()),
    ]


def _keys(role: str, services: Sequence[str]) -> list[tuple[str, str]]:
    """Return which keys: how they may be used, and a pattern without the prefix."""
    may_route = "%R~" if role == "caller" else "~"
    keys = [("~", "i:*"), ("~", "probe")]
    if not services:
        keys += [(may_route, "r:*"), ("~", "q:*")]
    for name in services:
        check_service_name(name)
        for is_async in (True, False):
            queue, own_keys = queue_name(name, is_async=is_async), routing_keys(name, is_async=is_async)
            keys += [("~", f"q:{queue}{end}") for end in ("", ":*")]
            keys += [(may_route, f"r:{key}{end}") for key in own_keys for end in ("", ":*")]
    if role != "caller":
        keys += [("~", "dead"), ("~", "dead:bytes")]
    return list(dict.fromkeys(keys))


def _channels(services: Sequence[str]) -> list[str]:
    channels = ["s:*"]
    if not services:
        return [*channels, "b*", "x*"]
    for name in services:
        for key in dict.fromkeys((*routing_keys(name, is_async=True), *routing_keys(name, is_async=False))):
            channels += [f"{kind}*:{key}{end}" for kind in "bx" for end in ("", ":*")]
    return [*channels, "b*:control"]


def _commands(role: str) -> str:
    commands = f"{_CONNECTION} {_SESSION}"
    if role != "caller":
        commands += f" {_SERVING}"
    return f"{commands} {_OPERATING}" if role == "operator" else commands
