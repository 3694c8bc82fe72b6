"""Does the same for many services at a time, and sorts out how that has ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence

    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["mendable", "refusals", "side_by_side", "together", "unknown_service"]

_log = get_logger(__name__)
_PROGRESS_INTERVAL = 2.0
"""Interval in seconds at which the log says how many operations have ended."""
_NAMES_SHOWN = 10


async def side_by_side(done: str, operations: Sequence[Coroutine[Any, Any, None]]) -> list[BaseException | None]:
    """Run one operation for each service; return what each has raised.

    Args:
        done: what has been done to a service when its operation has ended, for the log: ``"started"``.
        operations: one for each service.
    """
    tasks = [asyncio.ensure_future(operation) for operation in operations]
    pending = set(tasks)
    try:
        while pending:
            _, pending = await asyncio.wait(pending, timeout=_PROGRESS_INTERVAL)
            if pending:
                _log.info(
                    "%d of %d services are %s", len(tasks) - len(pending), len(tasks), done,
                    extra=log_fields("server.progress", count=len(tasks) - len(pending)),
                )  # fmt: skip
    except asyncio.CancelledError:
        for task in pending:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    return [task.exception() for task in tasks]


def refusals(ends: Iterable[BaseException | None]) -> list[ConfigurationError]:
    """Return the errors that say that the broker refuses a service; raise any other error."""
    refused: list[ConfigurationError] = []
    for end in ends:
        if isinstance(end, ConfigurationError):
            refused.append(end)
        elif end is not None:
            raise end
    return refused


def together(errors: Sequence[ConfigurationError]) -> ConfigurationError:
    """Return the first of the errors, with notes about the others."""
    for other in errors[1:]:
        errors[0].add_note(f"Another queue was refused, too: {other}")
    return errors[0]


def unknown_service(name: str, services: Iterable[ServiceSchema]) -> ConfigurationError:
    """Return the error for a name that no service of a server has."""
    known = ", ".join(sorted(schema.name for schema in services)[:_NAMES_SHOWN])
    return ConfigurationError(f"this server has no service {name!r}; it has {known or 'none'}")


def mendable(error: ConfigurationError) -> ConfigurationError:
    """Return an error that its user can mend from its text: without the traceback of what happened inside.

    That is logged at DEBUG. A program that does not catch the error ends with its own frames and one sentence.
    """
    _log.debug(
        "the broker refuses the services", exc_info=error, extra=log_fields("server.services_refused", error=error)
    )
    error.__cause__ = None
    error.__suppress_context__ = True
    return error.with_traceback(None)
