"""What applications of any ASGI framework need of a gateway: the end of requests whose browser has gone away.

``rabibridge.contrib.fastapi`` and ``rabibridge.contrib.starlette`` contain it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge._gateway.exchange import Exchange, exchanging

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["CancelOnDisconnect"]


class CancelOnDisconnect:
    """An ASGI middleware that cancels the task of a request when its browser goes away before the response is complete.

    The calls that the task awaits are cancelled with it, and with them the functions on their workers. Work after the
    response, such as background tasks, is left alone. Synchronous handlers run in a thread, which cannot be cancelled.

    Example::

        app = Litestar([get_sum], middleware=[CancelOnDisconnect])
    """

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        """Surround ``app``."""
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        task = asyncio.current_task()
        if scope["type"] != "http" or task is None:
            await self.app(scope, receive, send)
            return
        exchange = Exchange(receive, send, task)
        exchange.watch()
        await exchanging(exchange, self.app(scope, exchange.receive, exchange.send), task, send)
