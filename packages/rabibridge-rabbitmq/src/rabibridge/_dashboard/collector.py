"""Looks at the workers again and again while somebody watches; keeps the newest state and the points of the plots."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from rabibridge._dashboard.event_stream import Publisher
from rabibridge._dashboard.history import History
from rabibridge._dashboard.snapshot import plotted, state_of
from rabibridge.mq import RMQClient
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import RabiBridgeError
from rabibridge_core.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.settings import Settings

__all__ = ["Collector"]

_log = get_logger("rabibridge.dashboard")
_LINGER = 600.0
"""Seconds for which it goes on looking after the last page has closed, so that a page opened again has its plots."""


class Collector:
    """The state of all services and workers.

    Args:
        client: the client to ask with; ``None``: one of its own, connected when it is first needed.
        interval: seconds between two looks.
        allow_actions: whether the page may offer actions.
    """

    def __init__(self, client: RMQClient | None, interval: float, *, allow_actions: bool) -> None:
        self.publisher = Publisher()
        self._given = client
        self._own: RMQClient | None = None
        self._interval = interval
        self._allow_actions = allow_actions
        self._history = History()
        self._watchers = 0
        self._looking: asyncio.Task[None] | None = None
        self._unwatched_since = 0.0
        self._errors: dict[str, tuple[float, int]] = {}
        self._problem = ""

    def everything(self) -> dict[str, Any]:
        """Return the newest state and the points of the plots."""
        return {"state": self.publisher.latest, "history": self._history.to_json()}

    def watch(self) -> Callable[[], None]:
        """Keep the state up to date until the function that this returns is called."""
        self._watchers += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

        def gone() -> None:
            self._watchers -= 1
            self._unwatched_since = time.monotonic()

        return gone

    def settings(self) -> Settings:
        """Return the settings of the client that asks.

        Raises:
            ConfigurationError: there are none, or they are wrong.
        """
        client = self._given or self._own
        return client.settings if client is not None else load_settings()

    async def close(self) -> None:
        """Stop, and close the client that it has made. Closing twice has no effect."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        own, self._own = self._own, None
        if own is not None:
            await own.close()

    async def _look(self) -> None:
        while self._watchers or time.monotonic() - self._unwatched_since < _LINGER:
            began = time.monotonic()
            try:
                state = await self._state()
            except RabiBridgeError as error:
                state = self._without_answer(error)
            except Exception as error:  # noqa: BLE001 - the page says so, and the next look may succeed
                _log.exception(
                    "the dashboard could not look at the workers; it tries again",
                    extra=log_fields("dashboard.look_failed"),
                )
                state = self._without_answer(error)
            self._history.add(state["time"], plotted(state))
            self.publisher.publish(state)
            await asyncio.sleep(max(0.0, self._interval - (time.monotonic() - began)))

    async def _state(self) -> dict[str, Any]:
        client = await self._client()
        now = time.time()
        workers, services = await asyncio.gather(client.workers(), client.services())
        broker = ", ".join(str(endpoint) for endpoint in client.settings.endpoints)
        state = state_of(workers, services, time=now, broker=broker, allow_actions=self._allow_actions)
        self._failing(state)
        self._problem = ""
        return state

    async def _client(self) -> RMQClient:
        if self._given is not None:
            return self._given
        if self._own is None:
            client = RMQClient(name="rabibridge dashboard")
            await client.connect()
            self._own = client
        return self._own

    def _failing(self, state: dict[str, Any]) -> None:
        """Turn the number of errors so far into a rate: what was added since the look before."""
        before, self._errors = self._errors, {}
        for service in state["services"]:
            name, errors = service["id"], service["errors"]
            self._errors[name] = (state["time"], errors)
            if name in before:
                passed, added = state["time"] - before[name][0], errors - before[name][1]
                service["failing"] = added / passed if passed > 0 and added >= 0 else 0.0

    def _without_answer(self, error: Exception) -> dict[str, Any]:
        problem = f"{type(error).__name__}: {error}"
        if problem != self._problem:
            _log.warning("the dashboard has no answer: %s", problem, extra=log_fields("dashboard.no_answer"))
            self._problem = problem
        return {
            "time": time.time(),
            "broker": "",
            "problem": problem[:500],
            "actions": self._allow_actions,
            "services": [],
            "workers": [],
            "errors": [],
            "notes": [],
        }
