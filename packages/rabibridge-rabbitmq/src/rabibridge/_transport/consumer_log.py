"""What is logged about consumers that cannot be opened, or were lost: which queue, why, and when it is tried again."""

from __future__ import annotations

import logging

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError

__all__ = ["log_caller_unexpected", "log_down", "log_open_failed", "log_unanswered", "log_undeclared", "log_unexpected"]

_log = get_logger(__name__)


def log_unanswered(name: str, queue: str) -> None:
    """The broker has not answered for a while."""
    _log.warning(
        "%s: the broker does not answer for %r; the other services do not wait for it", name, queue,
        extra=log_fields("service.unanswered", instance=name, queue=queue),
    )  # fmt: skip


def log_undeclared(name: str, queue: str, error: Exception) -> None:
    """A queue could not be declared, as the broker said later."""
    _log.warning(
        "%s: %s", name, error, extra=log_fields("service.open_failed", instance=name, queue=queue, error=error)
    )


def log_open_failed(name: str, queue: str, error: Exception, delay: float, *, again: bool) -> None:
    """A consumer could not be opened; ``again``: for the same reason as before.

    It is an error if the broker refuses it; a lost channel is back soon.
    """
    level = logging.ERROR if isinstance(error, ConfigurationError) else logging.WARNING
    _log.log(
        logging.DEBUG if again else level,
        "%s: %s; trying again in %.0f s, the other services continue", name, error, delay,
        extra=log_fields("service.open_failed", instance=name, queue=queue, error=error, delay=delay),
    )  # fmt: skip


def log_unexpected(name: str, queue: str, error: Exception) -> None:
    """A consumer could not be opened because of an error of our own."""
    _log.error(
        "%s: cannot open %r", name, queue, exc_info=error,
        extra=log_fields("service.open_failed", instance=name, queue=queue, error=error),
    )  # fmt: skip


def log_caller_unexpected(name: str) -> None:
    """The channel of a caller could not be opened again because of an error of our own, which is being handled."""
    _log.exception(
        "%s: cannot reopen the channel for calls", name, extra=log_fields("channel.reopen_failed", instance=name)
    )


def log_down(name: str, queue: str, error: Exception, delay: float) -> None:
    """A consumer was lost."""
    _log.warning(
        "%s: %r is down: %s; reopening in %.2f s", name, queue, error, delay,
        extra=log_fields("service.down", instance=name, queue=queue, error=error, delay=delay),
    )  # fmt: skip
