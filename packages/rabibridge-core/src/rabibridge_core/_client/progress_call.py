"""A call that wants reports of progress. Calls that want none do not come this way, and take no step for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge_core._client.pending import PendingCall
from rabibridge_core._client.progress import ProgressReceiver
from rabibridge_core._client.stream_run import PartsFuture
from rabibridge_core._protocol.large_bodies import LargeBodyError, off_loop
from rabibridge_core._protocol.payloads import decode_reply
from rabibridge_core._protocol.progress import WANTS_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.preparation import Preparation
    from rabibridge_core._client.progress import OnProgress
    from rabibridge_core.plugins.observers import CallObserver

__all__ = ["call_with_progress"]


async def call_with_progress(
    preparation: Preparation,
    func_name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: AnyOptions,
    on_progress: OnProgress,
    observed: CallObserver | None,
) -> Any:
    """Call ``func_name(*args, **kwargs)`` like :meth:`Client.call`, and pass on the reports of its progress.

    Args:
        preparation: that of the client.
        func_name: the name of the service.
        args: its positional arguments.
        kwargs: its keyword arguments.
        options: how to call it.
        on_progress: what is called with the reports.
        observed: observes it; ``None``: nothing does.

    Raises:
        RabiBridgeError: as :meth:`Client.call`.
        TypeError: as there.
    """
    calls = preparation.client.calls
    route = preparation.route(func_name, args, kwargs, options)
    calls.silent.called(route)
    route, options = preparation.inherited(func_name, route, options)
    options, suspected = preparation.joined(func_name, options)
    timeout = preparation.timeout(options[1], preparation.call_timeout, inherit=options[5])
    prepared = await preparation.prepare(
        func_name, route, args, kwargs, options, timeout, keyed=True, observed=observed, suspected=suspected
    )
    time_left, request = prepared.time_left, prepared.request
    headers = {**(request.headers or {}), WANTS_PROGRESS: True}
    request = request._replace(timeout=time_left, headers=headers)
    correlation_id, receiver = request.correlation_id, ProgressReceiver(on_progress, func_name)
    future = PartsFuture(receiver.received, asyncio.get_running_loop())
    slot = None if time_left is None else calls.deadlines.add(correlation_id, time_left)
    call = calls.pending[correlation_id] = PendingCall(request, future, func_name, timeout, slot, observed)
    try:
        throttled = calls.refusals.backlogs or options[6] is not None
        if not throttled or calls.refusals.sends(call, options[6], prepared.caller):
            prepared.caller.send(request)
        reply = await future
        calls.silent.unanswered.discard(route)
        calls.idempotency.learn(route, reply.headers or {})
        try:
            return decode_reply(preparation.codec, reply, func_name, correlation_id)
        except LargeBodyError:
            return await off_loop(decode_reply, preparation.codec, reply, func_name, correlation_id)
    except BaseException as raised:
        calls.abandon(call, raised)
        raise
    finally:
        receiver.close()
        if calls.pending.get(correlation_id) is call:
            del calls.pending[correlation_id]
        if calls.admission.waiting:
            calls.admission.admit()
        if slot is not None:
            calls.deadlines.discard(correlation_id, slot)
        del future, call  # a frame that keeps the exception which keeps the frame is a cycle
