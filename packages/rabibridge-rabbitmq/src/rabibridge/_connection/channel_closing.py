"""Closes a channel of aiormq by exactly one ``channel.close``, even if whoever closes it is cancelled.

aiormq sends a second one if its own ``close`` is cancelled, or is not answered within a heartbeat interval (a broker
that has an alarm reads nothing). By then the broker may have closed the channel. For a method on a channel that it does
not know, it closes the connection, and every call on it is lost.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiormq.exceptions import AMQPError, ChannelClosed
from pamqp import commands as spec

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel

__all__ = ["close_channel"]

_log = get_logger(__name__)
_REPLY_SUCCESS = 200
_WAITED = 10.0
"""After how many seconds without an answer nobody waits for it any longer; the number of the channel stays in use."""
_closing: set[asyncio.Task[None]] = set()


async def close_channel(channel: AbstractChannel) -> None:
    """Close a channel, and wait until the broker has closed it; cancelling ends only the waiting."""
    if channel.is_closed:
        return
    closing = asyncio.create_task(_close(channel), name="rabibridge channel close")
    _closing.add(closing)
    closing.add_done_callback(_closing.discard)
    await asyncio.wait((closing,), timeout=_WAITED)


async def _close(channel: Any) -> None:
    try:
        await channel.rpc(spec.Channel.Close(reply_code=_REPLY_SUCCESS, class_id=0, method_id=0))
    except ChannelClosed:
        return
    except (AMQPError, ConnectionError, RuntimeError) as error:
        _log.debug("a channel has closed already: %s", error, extra=log_fields("channel.closed", error=error))
    await channel.close()  # nothing is sent: this ends what still waits for the channel
