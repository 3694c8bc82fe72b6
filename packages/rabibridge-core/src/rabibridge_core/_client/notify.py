"""Notifications: calls without a reply, which end when the broker has confirmed them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge_core._client.pending import PendingNotification
from rabibridge_core._client.preparation import limit_of
from rabibridge_core._client.timeouts import seconds_of
from rabibridge_core.plugins.observing import observe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.preparation import Preparation
    from rabibridge_core.plugins.observers import CallObserver

__all__ = ["notify"]

_LEAST = 0.001
"""The least time that a request is sent with, in seconds."""


async def notify(
    preparation: Preparation, func_name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: AnyOptions
) -> None:
    """Send ``func_name(*args, **kwargs)`` to one of the workers, and return when the broker has confirmed it.

    The ``timeout`` of the options is the deadline of the notification itself, which the broker and the worker enforce,
    and a limit for this function. Without it the notification has no deadline, and this function waits for the
    ``call_timeout`` of the client. In a handler, the time that is left to it limits this function alone.

    Until the broker has confirmed it, a notification is in the table of pending calls: it counts against
    ``max_pending``, is sent again after a refusal or a lost connection under the same conditions as a call, and ends
    with the same errors.

    Raises:
        RabiBridgeError: as :meth:`Client.call`, except for errors of the function, of which nobody is told.
    """
    observer = preparation.client.observer
    if observer is None:
        await _notify(preparation, func_name, args, kwargs, options, None)
    else:
        await observe(observer, "notify", func_name, _notify, preparation, func_name, args, kwargs, options)


async def _notify(
    preparation: Preparation,
    func_name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: AnyOptions,
    observed: CallObserver | None,
) -> None:
    calls, loop = preparation.client.calls, asyncio.get_running_loop()
    route, options = preparation.inherited(func_name, preparation.route(func_name, args, kwargs, options), options)
    given, inherit, retry = options[1], options[5], options[6]
    timeout = preparation.timeout(given, preparation.call_timeout, inherit=inherit)
    own = None if given is None else limit_of(seconds_of(given))
    expires_at = None if own is None else loop.time() + own
    prepared = await preparation.prepare(
        func_name, route, args, kwargs, options, timeout, keyed=True, observed=observed
    )
    left = None if expires_at is None else max(_LEAST, expires_at - loop.time())
    request, future = prepared.request._replace(timeout=left), loop.create_future()
    correlation_id, time_left = request.correlation_id, prepared.time_left
    slot = None if time_left is None else calls.deadlines.add(correlation_id, time_left)
    call = calls.pending[correlation_id] = PendingNotification(request, future, func_name, timeout, slot, observed)
    call.expires_at = expires_at
    try:
        if retry is not None:
            calls.refusals.watch(call, retry, prepared.caller)
        prepared.caller.notify(request)
        await future
    except BaseException as raised:
        calls.abandon(call, raised)
        raise
    finally:
        if calls.pending.get(correlation_id) is call:
            del calls.pending[correlation_id]
        if calls.admission.waiting:
            calls.admission.admit()
        if slot is not None:
            calls.deadlines.discard(correlation_id, slot)
        del future, call  # a frame that keeps the exception which keeps the frame is a cycle
