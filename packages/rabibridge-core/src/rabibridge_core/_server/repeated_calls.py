"""Answers requests whose idempotency key another request has, or had: with the reply to that one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._server.deduplication import DeduplicationCache, SharedExecution, digest_of
from rabibridge_core._server.following import follow
from rabibridge_core._server.streaming import has_key_of_its_own

if TYPE_CHECKING:
    from rabibridge_core._protocol.payloads import StoredReply
    from rabibridge_core._server.active_request import ActiveRequest, ProcessorOwner

__all__ = ["RepeatedCalls"]


class RepeatedCalls:
    """Lets one handler run for each idempotency key of a service."""

    __slots__ = ("_cache", "_streams")

    def __init__(self, cache: DeduplicationCache[ActiveRequest], *, streams: bool) -> None:
        """Keep the keys in ``cache``; ``streams``: whether the service has streams or uploads."""
        self._cache, self._streams = cache, streams

    async def reply_of_another(self, active: ActiveRequest, key: str, owner: ProcessorOwner) -> StoredReply | None:
        """Return the reply to another request with this key; ``None``: the handler must run.

        Args:
            active: the request.
            key: its key.
            owner: stops a request that nobody waits for.
        """
        if self._streams and not has_key_of_its_own(active.request):
            return None
        user, digest = active.request.user, digest_of(active.request)
        while (found := self._cache.find(user, key, digest)) is not None:
            reply = await follow(active, found, owner) if isinstance(found, SharedExecution) else found
            if reply is not None:
                return reply
        active.execution = self._cache.begin(user, key, digest, active)
        return None

    def end(self, active: ActiveRequest) -> None:
        """Called when a request is settled, or will not run: end its execution, if it leads one."""
        if (execution := active.execution) is not None:
            active.execution = None
            self._cache.end(execution)
