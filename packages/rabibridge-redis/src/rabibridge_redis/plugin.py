"""The plug-in that adds Redis and Valkey, for URLs that begin with redis:// or rediss://."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core.plugins import hookimpl
from rabibridge_redis.settings import REDIS

if TYPE_CHECKING:
    from rabibridge_core.operations import Operator
    from rabibridge_core.settings import Settings, TransportDeclaration
    from rabibridge_core.transport import Transport

__all__ = ["rabibridge_operator", "rabibridge_transport", "rabibridge_transport_settings"]


@hookimpl
def rabibridge_transport_settings() -> TransportDeclaration:
    """Declare how Redis is configured."""
    return REDIS


@hookimpl
def rabibridge_transport(scheme: str, settings: Settings, name: str) -> Transport | None:
    """Make the Redis transport."""
    if scheme not in REDIS.schemes:
        return None
    from rabibridge_redis._transport.transport import RedisTransport

    return RedisTransport(settings, name)


@hookimpl
def rabibridge_operator(scheme: str, settings: Settings) -> Operator | None:
    """Return what operators do on Redis."""
    if scheme not in REDIS.schemes:
        return None
    from rabibridge_redis._operations.operator import RedisOperator

    return RedisOperator(settings)
