"""What becomes of a request whose idempotency key is that of one that runs here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._protocol.headers import HEDGE
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from rabibridge_core._protocol.payloads import StoredReply
    from rabibridge_core._server.active_request import ActiveRequest, ProcessorOwner
    from rabibridge_core._server.deduplication import SharedExecution

__all__ = ["follow"]

_DECLINED = Reply(b"", None, None, {HEDGE: True})


async def follow(
    active: ActiveRequest, execution: SharedExecution[ActiveRequest], owner: ProcessorOwner
) -> StoredReply | None:
    """Wait for the reply of the request that runs; ``None``: it was stopped, and has none.

    The second copy of a call is declined instead, so that its caller may try another worker. To wait would gain
    nothing, as the first copy runs here. It is not given back to its queue either: that would count as a delivery, and
    the broker may bring it here again.

    Raises:
        CancelledError: the request is stopped, or declined.
    """
    request = active.request
    if request.headers.get(HEDGE) is True and request.wants_reply:
        request.reply(_DECLINED)
        active.settled, active.stop_reason = True, "cancelled"
        raise asyncio.CancelledError
    try:
        return await execution.follow(active)
    finally:
        leader = execution.leader
        if leader.settled and not execution.has_followers and not execution.finished:
            owner.stop_request(leader, "cancelled")  # its caller does not wait, and now nobody else does
