"""Connects a client to one of several brokers, however long that takes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._concurrency.backoff import Backoff
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from rabibridge_core._api.client import RpcClient
    from rabibridge_core._client.shard_link import ShardLink

__all__ = ["reach"]

_log = get_logger(__name__)
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0
"""Between two attempts, in seconds. Each may itself take ``connect_timeout``."""


async def reach(owner: str, name: str, client: RpcClient, link: ShardLink) -> None:
    """Connect to a broker, again and again, until it is reached or refuses for good.

    Args:
        owner: the name of the client of all brokers, for the log.
        name: the name of the broker.
        client: the client of the broker.
        link: is told what came out.
    """
    backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT)
    while True:
        try:
            await client.connect()
        except ConnectionLostError as error:
            link.failed(error)
            _log.warning(
                "%s: the broker %s cannot be reached, trying again: %s", owner, name, error,
                extra=log_fields("client.shard_unreachable", instance=owner, error=error),
            )  # fmt: skip
        except ConfigurationError as error:
            link.end(error)
            _log.error(
                "%s: the broker %s refuses, it is not tried again: %s", owner, name, error,
                extra=log_fields("client.shard_refused", instance=owner, error=error),
            )  # fmt: skip
            return
        else:
            link.reached()
            return
        await asyncio.sleep(backoff.next())
