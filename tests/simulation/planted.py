"""Known mistakes, planted into the real engines while a block runs, to see that the simulator finds them."""

from __future__ import annotations

import inspect
import textwrap
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MISTAKES", "Mistake", "planted"]


class Mistake(NamedTuple):
    """A change of one method of the engines.

    Attributes:
        module: its module within ``package``.
        owner: its class.
        method: its name.
        old: a text in its source.
        new: what stands there instead.
        package: ``rabibridge_core``, or that of the transport.
    """

    module: str
    owner: str
    method: str
    old: str
    new: str
    package: str = "rabibridge_core"


MISTAKES: dict[str, Mistake] = {
    "a cancelled request is not settled": Mistake(
        "_server.settlement", "RequestSettler", "settle_stopped", "request.discard()", "pass"
    ),
    "a request that is given back is dropped": Mistake(
        "_server.settlement", "RequestSettler", "settle_stopped", "request.reject(requeue=True)", "request.discard()"
    ),
    "a call that waits for room is not woken": Mistake(
        "_client.admission", "AdmissionLimiter", "admit", "turn.set_result(None)", "pass"
    ),
    "a place is given back twice": Mistake(
        "_client.admission", "AdmissionLimiter", "leave", "self._entered -= 1", "self._entered -= 2"
    ),
    "fetch_size is one more": Mistake(
        "_server.concurrency", "ConcurrencyLimiter", "acquire", "self._running < self.limit",
        "self._running <= self.limit",
    ),
    "a place of a service is not given back": Mistake(
        "_server.concurrency", "ConcurrencyLimiter", "release", "self._running -= 1", "pass"
    ),
    "the workers are not told of a cancelled call": Mistake(
        "_client.call_table", "CallTable", "abandon", "self.cancel(call)", "pass"
    ),
    "a call stays in the table": Mistake("_client.client", "Client", "call", "del pending[correlation_id]", "pass"),
    "deadlines are not disarmed at the end": Mistake(
        "_concurrency.deadlines", "DeadlineWheel", "clear", "timer.cancel()", "pass"
    ),
    "a maintenance goes on after the end": Mistake(
        "_server.service", "ServiceRunner", "stop", "self._maintenance.cancel()", "pass"
    ),
    "calls that are not idempotent are sent again": Mistake(
        "_client.idempotency", "IdempotencyKeys", "for_resending", "return None", "headers = {}"
    ),
    "the deadline of a call is ignored": Mistake(
        "_client.call_table", "CallTable", "_expired", "call is None or call.future.done()", "True"
    ),
    "a reply is taken twice": Mistake(
        "_client.call_table", "CallTable", "replied", "(future := call.future).done()",
        "(future := call.future) is None",
    ),
    "a lost call waits for its timeout": Mistake(
        "_client.call_table", "CallTable", "lost", "call.end(error, accepted=accepted)",
        "self.pending[correlation_id] = call",
    ),
    "a key does not keep a call from running again": Mistake(
        "_server.deduplication", "DeduplicationCache", "find", "if found is None:", "if True:"
    ),
    "the credit of a stream is one too much": Mistake(
        "_client.stream_state", "StreamState", "take", "self._consumed += 1", "self._consumed += 2"
    ),
    "a stream does not notice that an item is missing": Mistake(
        "_client.stream_state", "StreamState", "check_next", "index == self.next_index", "index is not None"
    ),
    "a confirm counts as the reply": Mistake(
        "_client.call_table", "CallTable", "confirmed", "call.future.set_result(_CONFIRMED)",
        "(call.future.set_result(_CONFIRMED), call.future.set_result(_CONFIRMED))",
    ),
    "a cancelled call goes on": Mistake(
        "_client.admission", "AdmissionLimiter", "enter", "raise\n", "return\n"
    ),
    "a broadcast asks again before it was accepted": Mistake(
        "_client.broadcasting", "_Sending", "proceed", "state.accepted and self._look is None\n",
        "self._look is None\n",
    ),
    "a stream that has run says that it did not": Mistake(
        "_client.stream_request", "StreamRequests", "wait", "self._request is not None", "False"
    ),
    "an upload has its time twice": Mistake("_client.client", "Client", "call", "holds_upload(args, kwargs)", "False"),
    "requests that outlast their connection do not count": Mistake(
        "_server.service", "ServiceRunner", "lost", "self._limit_here()", "pass"
    ),
    "a broadcast that was cancelled before it arrived runs": Mistake(
        "_server.broadcasts", "BroadcastLane", "__init__", "if cancelled_calls is None else cancelled_calls",
        "if True else None",
    ),
    "a call that was cancelled before it arrived runs": Mistake(
        "_server.service", "ServiceRunner", "cancelled", "self._cancelled_calls.add_call(caller, correlation_id, user)",
        "pass",
    ),
    "the clocks of a worker and its caller are set, and its calls are late": Mistake(
        "_server.caller_clocks", "CallerClocks", "_judge_late", "clock.was_set_too(age, time_left, now)", "False"
    ),
    "a function that is stopped by run_timeout gives back its place at once": Mistake(
        "_server.service", "ServiceRunner", "stop_request", "self._limit_here()", "pass"
    ),
    "run_timeout does not stop a function": Mistake(
        "_server.run_limit", "LimitedExecutor", "_over", "self._overran(active, error)", "pass"
    ),
    "a result is sent although run_timeout was over": Mistake(
        "_server.run_limit", "LimitedExecutor", "_over", "self._overran(active, error)", "self._errors.clear()"
    ),
    "fetch_size=\"auto\" runs more than its most": Mistake(
        "_server.adaptive_service", "AdaptiveServiceRunner", "request_finished", "limit = adaptive.limit",
        "limit = adaptive.limit + 4",
    ),
    "fetch_size=\"auto\" does not start what waits": Mistake(
        "_server.adaptive_service", "AdaptiveServiceRunner", "received", "self._enqueue(active, self._starts)", "pass"
    ),
    "a second copy stays in the table": Mistake(
        "_client.hedged_call", "_Copies", "end", "del calls.pending[correlation_id]", "pass"
    ),
}  # fmt: skip


@contextmanager
def planted(mistake: Mistake) -> Iterator[None]:
    """Let the engines make a mistake in the block."""
    module = import_module(f"{mistake.package}.{mistake.module}")
    owner: Any = getattr(module, mistake.owner)
    method = vars(owner)[mistake.method]
    source = textwrap.dedent(inspect.getsource(method)).replace("super()", f"super({mistake.owner}, self)")
    if mistake.old not in source:
        raise LookupError(f"{mistake.owner}.{mistake.method} does not hold {mistake.old!r} any more")
    scope: dict[str, Any] = {}
    code = compile("from __future__ import annotations\n" + source.replace(mistake.old, mistake.new), __file__, "exec")
    exec(code, vars(module) | {"__name__": module.__name__}, scope)
    changed = scope[mistake.method]
    # Its globals must be those of its module, where the simulator replaces some.
    changed = type(method)(changed.__code__, vars(module), method.__name__, method.__defaults__)
    changed.__kwdefaults__ = method.__kwdefaults__
    setattr(owner, mistake.method, changed)
    try:
        yield
    finally:
        setattr(owner, mistake.method, method)
