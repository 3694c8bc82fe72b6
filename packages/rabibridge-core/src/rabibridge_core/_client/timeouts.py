"""How much time a call gets, and the error when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._observability.call_context import inherited_time
from rabibridge_core.errors import CallTimeoutError, ConfigurationError

if TYPE_CHECKING:
    from rabibridge_core._client.pending import PendingCall

__all__ = ["TIMEOUT_MAX", "normalize_timeout", "overdue", "timed_out", "within_inherited"]

TIMEOUT_MAX = 2.0**32 / 1000
"""What is more than this many seconds, 49 days, is taken for no limit."""


class _Inherited(float):
    """A timeout that is what was left to the call that is being answered."""


def within_inherited(timeout: float | None) -> float | None:
    """Return the smaller one of ``timeout`` and of what is left to the call that is being answered here."""
    inherited = inherited_time()
    if inherited is None or (timeout is not None and not timeout > inherited):
        return timeout
    return _Inherited(inherited)


def normalize_timeout(timeout: float) -> float | None:
    """Judge a timeout that is not simply some time: infinity and centuries are no limit, zero and less have passed.

    Raises:
        ConfigurationError: it is not a number.
    """
    if timeout >= TIMEOUT_MAX:
        return None
    if timeout <= 0:
        return timeout
    raise ConfigurationError(f"timeout is {timeout!r}: it is seconds, or None for no limit but the configured one")


def timed_out(
    func_name: str, correlation_id: bytes, timeout: float | None, why: str, *, sent: bool
) -> CallTimeoutError:
    """Return the error of a call whose time is over.

    Args:
        func_name: what was called.
        correlation_id: the id of the call; empty if it has none yet.
        timeout: the time that it was given, in seconds.
        why: what it was waiting for, as a clause; empty where there is nothing to say.
        sent: whether it was sent, so that it may have run.
    """
    seconds = float(timeout or 0.0)
    what = "no reply" if sent else "it could not be sent"
    left = ", what was left to the call that is being answered here" if isinstance(timeout, _Inherited) else ""
    return CallTimeoutError(
        f"call of {func_name!r} timed out: {what} within {seconds:g} s{left}{': ' if why else ''}{why}",
        func_name=func_name,
        correlation_id=correlation_id.decode(),
        timeout=seconds,
        executed=None if sent else False,
    )


def overdue(call: PendingCall, *, waits: bool, why_paused: str) -> CallTimeoutError:
    """Return the error of a call that was sent and whose time is over.

    Args:
        call: the call.
        waits: whether it waits to be sent again, after a lost connection or a refusal.
        why_paused: why nothing can be sent now, as a clause; empty if it can.
    """
    why = ""
    if waits:
        first = "it was refused" if call.lost is None else "the connection was lost"
        why = f"{first} and it could not be sent again{': ' if why_paused else ''}{why_paused}"
    sent = call.lost is not None or not waits  # a call that was only ever refused has not run
    return timed_out(call.func_name, call.request.correlation_id, call.timeout, why, sent=sent)
