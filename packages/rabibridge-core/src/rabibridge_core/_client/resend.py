"""Sends calls again: idempotent calls that were pending when the connection was lost, and refused ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.plugins.observing import report

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rabibridge_core._client.idempotency import IdempotencyKeys
    from rabibridge_core._client.pending import PendingCall
    from rabibridge_core.transport import Caller

__all__ = ["ResendQueue"]

_BATCH = 256
"""Number of calls sent before the socket and other tasks get their turn."""


class ResendQueue:
    """Sends calls again, in order, as soon as the caller accepts requests.

    Meanwhile they stay in the table of pending calls, with their future and their deadline: a reply to the first
    attempt, the deadline or a cancellation ends them, and a call that has ended is not sent again.
    """

    def __init__(self, pending: Mapping[bytes, PendingCall], keys: IdempotencyKeys, name: str) -> None:
        """Start empty.

        Args:
            pending: the table of pending calls.
            keys: tell which calls may be sent again after a lost connection.
            name: client name, used as the name of the task.
        """
        self._pending = pending
        self._keys = keys
        self._name = name
        self._calls: dict[bytes, PendingCall] = {}
        self.caller: Caller | None = None
        """What calls were sent again with last."""
        self._task: asyncio.Task[None] | None = None

    def __contains__(self, call: PendingCall) -> bool:
        """Tell whether the call waits to be sent again."""
        return self._calls.get(call.request.correlation_id) is call

    def take(self, call: PendingCall, error: ConnectionLostError, *, accepted: bool) -> bool:
        """Queue a call whose connection was lost; return whether it may be sent again.

        Args:
            call: the call.
            error: why the connection was lost.
            accepted: whether the broker had confirmed the request.
        """
        if call not in self:
            request = self._keys.for_resending(call.request)
            if request is None:
                return False
            call.request = request
            call.lost = call.lost_by(error, accepted=accepted)
            self._calls[request.correlation_id] = call
            if call.observed is not None:
                report(call.observed.lost, error)
        return True

    def again(self, call: PendingCall, caller: Caller) -> None:
        """Queue a call that was refused."""
        self._calls[call.request.correlation_id] = call
        self.start(caller)

    def start(self, caller: Caller) -> None:
        """Start sending, unless that is running already or the queue is empty."""
        self.caller = caller
        if self._calls and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run(caller), name=f"{self._name}-resend")

    async def close(self) -> None:
        """Drop all calls."""
        self._calls.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, caller: Caller) -> None:
        while self._calls:
            try:
                await caller.writable()
            except Exception as error:  # noqa: BLE001 - whatever it is, no call may wait forever
                self._give_up(error)
                return
            for correlation_id in list(self._calls)[:_BATCH]:
                if caller.paused:
                    break
                self._send(caller, self._calls.pop(correlation_id))
            await asyncio.sleep(0)

    def _send(self, caller: Caller, call: PendingCall) -> None:
        request, time_left = call.request, None
        if call.ends_at is not None:
            time_left = call.ends_at - call.future.get_loop().time()
            if time_left <= 0:
                return  # its deadline is about to fire
        if call.future.done() or self._pending.get(request.correlation_id) is not call:
            return
        if call.observed is not None:
            report(call.observed.sent_again, request.correlation_id)
        try:
            call.send_again(caller, time_left)
        except ConnectionLostError as error:
            if caller.paused:  # lost again before it was sent
                self._calls[request.correlation_id] = call
            else:
                call.end(error)
        except Exception as error:  # noqa: BLE001 - it is the outcome of this call
            call.end(error)

    def _give_up(self, error: Exception) -> None:
        calls, self._calls = self._calls, {}
        for call in calls.values():
            if not call.future.done():
                call.end(error)
