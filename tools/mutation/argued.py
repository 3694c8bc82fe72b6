"""Mutants that nothing can notice, or that need not be noticed, and why."""

from __future__ import annotations

__all__ = ["ARGUED"]

ARGUED: dict[str, str] = {
    "_client.call_table:CallTable.abandon: return -> pass": (
        "what follows changes errors that say whether a call ran; a cancellation only gets a note"
    ),
    "_client.call_table:CallTable.start: self.ids = correlation_ids() -> pass": (
        "the first ids are as random; only forked processes need others, and tests/rabbitmq/test_processes.py has those"
    ),
    "_client.pending:RetryState.__init__: 0.0 -> 1.0": "it is read only with a backlog, and set together with it",
    "_client.resend:ResendQueue.close: self._calls.clear() -> pass": (
        "a call that is sent again is looked for in the table first, which is empty then"
    ),
    "_client.resend:ResendQueue.close: await asyncio.gather(self._task, return_exceptions=True) -> pass": (
        "the task is cancelled, and ends one turn of the loop later"
    ),
    "_server.cancelled_calls:CancelledCalls.add_call: len(self._calls) > MAX_CALLS -> len(self._calls) >= MAX_CALLS": (
        "it remembers one call less; nobody counts on the last of so many"
    ),
    "_server.settlement:RequestSettler._report: self.failures.raised(active, error, message_of(error) or remark) -> pass": (  # noqa: E501 - the text of the mutant
        "a line of the log"
    ),
    "_server.settlement:RequestSettler.dead_letter_exhausted: self.failures.dead(request.correlation_id, reason) -> pass": (  # noqa: E501 - as above
        "a line of the log"
    ),
    "_concurrency.deadlines:DeadlineWheel.clear: self._timers.clear() -> pass": (
        "the timers are cancelled; the next deadline of a slot puts its own there, since the slot is gone"
    ),
}
