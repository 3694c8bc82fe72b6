"""Holds a request that may be much too late, so that it can be cancelled before it runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._server.exceptions import TooLateError

if TYPE_CHECKING:
    from rabibridge_core._server.caller_clocks import CallerClocks
    from rabibridge_core.transport import IncomingRequest

__all__ = ["hold"]

_HELD = 0.2
"""How long it is held, in seconds."""


async def hold(request: IncomingRequest, clocks: CallerClocks) -> None:
    """Wait a moment.

    Raises:
        TooLateError: requests that arrived meanwhile have shown that it is too late.
    """
    assert request.time_left is not None
    assert request.deadline is not None
    arrived = clocks.now()
    await asyncio.sleep(min(_HELD, request.time_left / 4))
    if clocks.reconsidered(request.caller, request.time_left, request.deadline, arrived) <= 0:
        raise TooLateError
