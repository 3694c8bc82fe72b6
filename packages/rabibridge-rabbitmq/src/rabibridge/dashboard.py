"""The dashboard as an ASGI application, to mount in one of your own or to serve by itself.

``pip install 'rabibridge-rabbitmq[dashboard]'``. The command ``rabibridge dashboard`` serves it alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge._dashboard.access import LOOPBACK_HOSTS, AccessGuard
from rabibridge._dashboard.application import routes
from rabibridge._dashboard.collector import Collector
from rabibridge._dashboard.dead_letters import Letters
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Receive, Scope, Send

    from rabibridge.mq import RMQClient

__all__ = ["Dashboard"]

MIN_TOKEN = 16
"""Characters that a token must have at least."""


class Dashboard:
    """One page that shows services, workers, errors and dead letters while they change.

    It is read-only unless ``allow_actions`` is set. Nothing is asked of the workers while no page is open, except for
    some minutes after the last one has closed.

    Args:
        client: a client of the broker to look at, which the dashboard neither connects nor closes; ``None``: one of its
            own, with the settings of the environment, connected with the first request.
        token: what a visitor must know, at least 16 characters; ``None``: nothing, which is allowed for loopback names
            only.
        hosts: the host names under which it may be reached, without ports. A request that names another is refused,
            because a page of another site may have pointed its own name at this machine.
        allow_actions: whether visitors may requeue dead letters.
        behind_login: states that the application around it lets in only who may see it, so that no token is needed.
        interval: seconds between two looks at the workers.

    Raises:
        ConfigurationError: it would be open to other machines without a token, or the token is too short.
    """

    def __init__(
        self,
        *,
        client: RMQClient | None = None,
        token: str | None = None,
        hosts: Sequence[str] = LOOPBACK_HOSTS,
        allow_actions: bool = False,
        behind_login: bool = False,
        interval: float = 1.0,
    ) -> None:
        if isinstance(hosts, str):
            raise ConfigurationError(f"hosts must be a list of host names, such as [{hosts!r}]; got a text")
        if token is not None and len(token) < MIN_TOKEN:
            raise ConfigurationError(f"the token of the dashboard must have at least {MIN_TOKEN} characters")
        others = sorted({host.lower() for host in hosts}.difference(LOOPBACK_HOSTS))
        if others and token is None and not behind_login:
            raise ConfigurationError(
                f"the dashboard would answer for {', '.join(others)} without a token: pass token=, or "
                "behind_login=True if the application around it lets nobody else in"
            )
        self._collector = Collector(client, interval, allow_actions=allow_actions)
        self._app = AccessGuard(
            routes(self._collector, Letters(self._collector.settings), allow_actions=allow_actions),
            hosts=hosts,
            token=token,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as an ASGI application."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        await self._app(scope, receive, send)

    def end_streams(self) -> None:
        """End the streams of all open pages: without that, a server that stops waits until they are closed."""
        self._collector.publisher.closed.set()

    async def close(self) -> None:
        """Stop looking at the workers, and close the client that the dashboard has made for itself.

        A server that runs the dashboard alone does that at its end. Where it is mounted, call it at the end of the
        lifespan of the application around it. Closing twice has no effect.
        """
        self.end_streams()
        await self._collector.close()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})
