"""The attempts of one call: at which brokers it was, and where it may go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._client.shard_link import first_of
from rabibridge_core._client.timeouts import TIMEOUT_MAX, call_timeout_error, seconds_of, within_inherited
from rabibridge_core.errors import CallError, CircuitOpenError, ConnectionLostError, NoRouteError, QueueFullError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rabibridge_core._client.client import Client
    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.shard_link import ShardLink
    from rabibridge_core._client.shards import Shard, ShardSet

__all__ = ["Attempts"]

_GONE = "It was sent before, and may have run then"


class Attempts:
    """Where one call was, and where it may go."""

    def __init__(
        self,
        shards: ShardSet,
        links: Mapping[str, ShardLink],
        key: str | None,
        func_name: str,
        options: AnyOptions,
        call_timeout: float | None,
    ) -> None:
        """Begin before the first attempt.

        Args:
            shards: the brokers.
            links: the connections to them, by name.
            key: what the call belongs to; ``None``: nothing.
            func_name: what it calls.
            options: how.
            call_timeout: its timeout if the options say none, in seconds; ``None``: no limit.
        """
        self._shards, self._links, self._key = shards, links, key
        self._func_name, self._options = func_name, options
        self._tried: list[Shard] = []
        self._full = self._late = False  # whether a queue was full, and whether something has taken time
        self._lost: ConnectionLostError | None = None
        self._loop = asyncio.get_running_loop()
        given = options[1]
        timeout = call_timeout if given is None else seconds_of(given)
        timeout = within_inherited(timeout) if options[5] else timeout
        self._timeout = timeout
        self._ends_at = None if timeout is None or timeout >= TIMEOUT_MAX else self.now + timeout

    @property
    def now(self) -> float:
        """The time of the event loop."""
        return self._loop.time()

    @property
    def _twice(self) -> bool:
        """Whether its caller has said that running it twice does no harm."""
        return self._options[2] or self._options[3] is not None

    def next_shard(self) -> Shard | None:
        """Return where it goes now; ``None``: no broker can be reached."""
        if self._key is None:
            return self._shards.any_of(self._func_name, self._tried, self.now)
        links, order = self._links, self._shards.of_key(self._key)
        if not self._twice:
            return order[0] if links[order[0].name].decided else None
        return next((shard for shard in order if shard not in self._tried and links[shard.name].open), None)

    def options_for(self, engine: Client) -> AnyOptions:
        """Return the options of the next attempt: with one key for all, and with the time that is left."""
        kind, timeout, idempotent, key, persistent, inherit, retry, headers = self._options
        if idempotent and key is None:
            key = engine.calls.idempotency.new()
            self._options = kind, timeout, idempotent, key, persistent, inherit, retry, headers
        if self._late and self._ends_at is not None:
            timeout = self._ends_at - self.now
        if retry is not None and self._key is None and not self._full and self._others(engine):
            retry = None  # another broker is asked before this one is asked again
        return kind, timeout, idempotent, key, persistent, inherit, retry, headers

    def _others(self, engine: Client) -> bool:
        return any(link.open for link in self._links.values() if link.engine is not engine)

    def goes_on(self, shard: Shard, engine: Client, error: CallError | ConnectionLostError) -> bool:
        """Tell whether a call that has ended with ``error`` goes to another broker."""
        if isinstance(error, QueueFullError | CircuitOpenError):
            shard.refused(self._func_name, error.retry_after, self.now)
        elif isinstance(error, NoRouteError):
            shard.absent(self._func_name, self.now)
        elif not isinstance(error, ConnectionLostError):
            return False
        self._tried.append(shard)
        self._late = True
        if self._ends_at is not None and self._ends_at <= self.now:
            return False
        if isinstance(error, ConnectionLostError):
            return self._after_loss(engine, error)
        refused = isinstance(error, QueueFullError | CircuitOpenError)
        if self._key is not None or (self._full and refused):
            return False
        self._full = self._full or refused
        return self.next_shard() is not None

    def _after_loss(self, engine: Client, error: ConnectionLostError) -> bool:
        if error.executed is False:
            return self._key is None or self._twice
        keys = engine.calls.idempotency
        if not self._twice and engine.preparation.route(self._func_name, (), {}, self._options) not in keys.routes:
            return False
        self._lost = error
        return True

    async def wait(self) -> Shard:
        """Wait until a broker can be reached, and return it.

        Raises:
            CallTimeoutError: none could be, in time.
            ConnectionLostError: the client is closed.
            ConfigurationError: all of them refuse it.
        """
        self._tried.clear()
        self._late = True
        links = dict(self._links)
        if self._key is not None and not self._twice:
            owner = self._shards.of_key(self._key)[0].name
            links = {owner: links[owner]}
        try:
            async with asyncio.timeout_at(self._ends_at):
                while (shard := self.next_shard()) is None:
                    await first_of([link.writable for link in links.values()])
        except TimeoutError:
            why = "; ".join(f"{name}: {link.engine.transport.last_error}" for name, link in links.items())
            error = call_timeout_error(self._func_name, b"", self._timeout, why, sent=False)
            self.explain(error)
            raise error from None
        return shard

    def explain(self, error: CallError | ConnectionLostError) -> None:
        """Correct an error that says that the call did not run, if an earlier attempt may have run."""
        if self._lost is not None and self._lost is not error:
            if error.executed is False:
                error.executed = None
            error.add_note(f"{_GONE}: {self._lost}")
