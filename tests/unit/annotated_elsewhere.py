"""Functions whose annotations name what only this module knows."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from fractions import Fraction


@dataclass
class Elsewhere:
    value: int


def logged(func: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function of another module."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs)

    return wrapper


def returns_elsewhere(value: Fraction) -> Elsewhere:
    raise NotImplementedError


def takes_what_checkers_know(value: Fraction) -> None:
    raise NotImplementedError


def returns_what_checkers_know() -> list[Fraction]:
    raise NotImplementedError


def logged_task(func: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a coroutine function of another module."""

    @functools.wraps(func)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await func(*args, **kwargs)

    return wrapper


def logged_items(func: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an asynchronous generator function of another module."""

    @functools.wraps(func)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        async for item in func(*args, **kwargs):
            yield item

    return wrapper
