"""The lifespan of a server, as users give it."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeAlias

from rabibridge_core._services.providers import key_of
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from rabibridge_core._server.process_scope import Overrides

__all__ = ["Lifespan", "check_lifespan", "entered_with"]

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[object]] | Callable[[Any], AsyncIterator[object]]


def check_lifespan(lifespan: Lifespan | None) -> Lifespan | None:
    """Return ``lifespan``.

    Raises:
        ConfigurationError: it is no function.
    """
    if lifespan is not None and not callable(lifespan):
        raise ConfigurationError(
            f"the argument lifespan= is {repr(lifespan)[:80]}; it must be a function that takes the server and returns "
            "an async context manager, or None"
        )
    return lifespan


def entered_with(
    server: object, lifespan: Lifespan | None, overrides: Overrides
) -> AbstractAsyncContextManager[object]:
    """Return the context manager that surrounds the serving of ``server``.

    Raises:
        ConfigurationError: the lifespan returns something else.
    """
    if lifespan is None:
        return contextlib.nullcontext()
    function: Any = overrides.get(key_of(lifespan), lifespan)
    if inspect.isasyncgenfunction(function):
        function = contextlib.asynccontextmanager(function)
    manager = function(server)
    if not (hasattr(manager, "__aenter__") and hasattr(manager, "__aexit__")):
        raise ConfigurationError(
            f"the lifespan {function!r} returned {repr(manager)[:80]}; it must return an async context manager: "
            "decorate it with contextlib.asynccontextmanager"
        )
    return manager  # type: ignore[no-any-return]
