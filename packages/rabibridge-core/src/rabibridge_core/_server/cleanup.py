"""The end of a provider's value: its cleanup, within its time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol

from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from rabibridge_core._services.providers import Provider

__all__ = ["ExitCallback", "async_cleanup", "sync_cleanup"]

_log = get_logger(__name__)
_limited = LimitedLog(_log)


class ExitCallback(Protocol):
    """What ``AsyncExitStack.push_async_exit`` takes."""

    async def __call__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> bool: ...


def async_cleanup(provider: Provider, leave: Callable[..., Awaitable[Any]]) -> ExitCallback:
    """Return what cleans up, with ``leave``, what ``provider`` has made.

    It gets the exception that ends the call. It may raise another one in its place, and cannot make it disappear: a
    call without a result is never one that has succeeded.
    """

    async def clean_up(
        exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> bool:
        limit = asyncio.timeout(provider.cleanup_timeout)
        try:
            async with limit:
                await leave(exc_type, exc, traceback)
        except TimeoutError as error:
            if not limit.expired():
                _log_if_unheard(provider, exc, error)
                raise
            late = TimeoutError(
                f"the cleanup of the provider {provider.place} took longer than cleanup_timeout="
                f"{provider.cleanup_timeout:g} s and was cancelled"
            )
            _log_if_unheard(provider, exc, late)
            raise late from error
        except Exception as error:
            _log_if_unheard(provider, exc, error)
            raise
        return False

    return clean_up


def sync_cleanup(provider: Provider, leave: Callable[..., Any]) -> Callable[..., bool]:
    """Return the same for a provider that cleans up in the thread that runs the function, and without a limit."""

    def clean_up(
        exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> bool:
        leave(exc_type, exc, traceback)
        return False

    return clean_up


def _log_if_unheard(provider: Provider, before: BaseException | None, error: BaseException) -> None:
    """Log an error of which nobody else hears: the call was stopped, and gets no reply."""
    if isinstance(before, asyncio.CancelledError) and error is not before:
        _limited.log(
            f"the cleanup of the provider {provider.place} has failed", logging.WARNING,
            "the cleanup of the provider %s has failed", provider.place,
            extra=log_fields("provider.cleanup_failed", provider=provider.place, error=error), exc_info=error,
        )  # fmt: skip
