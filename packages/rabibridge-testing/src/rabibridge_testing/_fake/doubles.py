"""Mocks of ``unittest.mock`` as services: each is served as what it stands for."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, NonCallableMock

from rabibridge_core.errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["real_function"]

_MARKED = inspect.iscoroutinefunction if sys.version_info >= (3, 14) else asyncio.iscoroutinefunction


def real_function(func: Any, name: str | None) -> tuple[Any, str | None]:
    """Return what to serve in the place of a mock, and under which name; anything else as it is.

    Args:
        func: a function, an object, a mock, or what ``create_autospec`` has made of a function.
        name: the name of the service, if one was given.

    Raises:
        RegistrationError: it is a mock without a name.
    """
    if isinstance(func, NonCallableMock) and callable(func):
        name = name or func._extract_mock_name().removeprefix("mock")
        if not name:
            raise RegistrationError(
                f"{func!r} has no name, as a mock does not know that of the function which it stands for: give it to "
                "add_service(mock, name=...)"
            )
        is_async = isinstance(func, AsyncMock)
    elif isinstance(getattr(func, "mock", None), NonCallableMock) and inspect.isfunction(func):  # create_autospec
        is_async = _MARKED(func)
        if not is_async or inspect.iscoroutinefunction(func):
            return func, name
    else:
        return func, name
    return (_awaited if is_async else _called)(func, name), name


def _awaited(mock: Callable[..., Any], name: str | None) -> Callable[..., Any]:
    async def double(*args: Any, **kwargs: Any) -> Any:
        return await mock(*args, **kwargs)

    return _like(mock, double, name)


def _called(mock: Callable[..., Any], name: str | None) -> Callable[..., Any]:
    def double(*args: Any, **kwargs: Any) -> Any:
        return mock(*args, **kwargs)

    return _like(mock, double, name)


def _like(mock: Callable[..., Any], double: Any, name: str | None) -> Callable[..., Any]:
    double.__name__ = double.__qualname__ = name or mock.__name__
    signature = getattr(mock, "_spec_signature", None) or (
        inspect.signature(mock) if inspect.isfunction(mock) else None
    )
    if signature is not None:
        double.__signature__ = signature
    functools.update_wrapper(double, mock, assigned=(), updated=()) if inspect.isfunction(mock) else None
    return double  # type: ignore[no-any-return]
