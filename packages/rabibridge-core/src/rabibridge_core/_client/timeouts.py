"""How much time a call gets, and the error when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._concurrency.durations import as_seconds
from rabibridge_core._observability.call_context import CallScope, current_call_var, inherited_time
from rabibridge_core.errors import CallTimeoutError, ConfigurationError

if TYPE_CHECKING:
    from rabibridge_core._client.pending import PendingCall

__all__ = [
    "TIMEOUT_MAX",
    "call_timeout_error",
    "check_idle_timeout",
    "expired_call_error",
    "normalize_timeout",
    "seconds_of",
    "within_inherited",
]

TIMEOUT_MAX = 2.0**32 / 1000
"""Timeouts of this many seconds (49 days) and more count as no limit."""


class _Inherited(float):
    """A timeout that was inherited from the call being processed, or from what else calls are made for.

    Attributes:
        source: what that is, for the text of an error.
    """

    source: str


def within_inherited(timeout: float | None) -> float | None:
    """Return the smaller of ``timeout`` and the time left to the call that is being processed here."""
    inherited = inherited_time()
    if inherited is None or (timeout is not None and not timeout > inherited):
        return timeout
    limited = _Inherited(inherited)
    limited.source = (current_call_var.get() or CallScope).what
    return limited


def seconds_of(timeout: object) -> float:
    """Return a timeout in seconds, of whatever type it was given as.

    Raises:
        ConfigurationError: it is neither a number nor a timedelta.
    """
    seconds = as_seconds(timeout)
    if seconds is None:
        raise _not_a_timeout(timeout)
    return seconds


def check_idle_timeout(idle_timeout: object) -> float:
    """Return the longest wait for an item of a stream, in seconds.

    Raises:
        ConfigurationError: it is no positive time.
    """
    seconds = as_seconds(idle_timeout)
    if seconds is None or not seconds > 0:
        raise ConfigurationError(
            f"idle_timeout is {idle_timeout!r}; it must be a positive number of seconds or a timedelta, or None for no "
            "limit but the timeout"
        )
    return seconds


def _not_a_timeout(timeout: object) -> ConfigurationError:
    return ConfigurationError(
        f"timeout is {timeout!r}; it must be a number of seconds or a timedelta, or None to use the configured "
        "call_timeout"
    )


def normalize_timeout(timeout: float) -> float | None:
    """Return a timeout that is not simply a positive number of seconds: infinity and centuries become ``None``.

    Zero and negative values are returned as they are: they have passed already.

    Raises:
        ConfigurationError: it is not a number.
    """
    if timeout >= TIMEOUT_MAX:
        return None
    if timeout <= 0:
        return timeout
    raise _not_a_timeout(timeout)


def call_timeout_error(
    func_name: str, correlation_id: bytes, timeout: float | None, why: str, *, sent: bool, awaited: str = "reply"
) -> CallTimeoutError:
    """Return the error of a call whose timeout has passed.

    Args:
        func_name: the name of the service.
        correlation_id: the id of the call; empty if it has none yet.
        timeout: its timeout, in seconds.
        why: what it was waiting for, as a clause; may be empty.
        sent: whether it was sent, so that it may have run.
        awaited: what it waited for then.
    """
    seconds = float(timeout or 0.0)
    what = f"no {awaited}" if sent else "it could not be sent"
    left = f", the time left to {timeout.source}" if isinstance(timeout, _Inherited) else ""
    return CallTimeoutError(
        f"call of {func_name!r} timed out: {what} within {seconds:g} s{left}{': ' if why else ''}{why}",
        func_name=func_name,
        correlation_id=correlation_id.decode(),
        timeout=seconds,
        executed=None if sent else False,
    )


def expired_call_error(call: PendingCall, *, waits: bool, why: str) -> CallTimeoutError:
    """Return the error of a pending call whose timeout has passed.

    Args:
        call: the call.
        waits: whether it waits to be sent again, after a lost connection or a refusal.
        why: what is known about the reason, such as why nothing can be sent now, as a clause; may be empty.
    """
    if waits:
        first = "it was refused" if call.lost is None else "the connection was lost"
        why = f"{first} and it could not be sent again{': ' if why else ''}{why}"
    sent = call.lost is not None or not waits  # a call that was only ever refused has not run
    return call_timeout_error(
        call.func_name, call.request.correlation_id, call.timeout, why, sent=sent, awaited=call.awaited
    )
