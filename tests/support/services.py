"""What hostile tests share: a function to serve, and waiting for a list to grow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Sized


def new_echo() -> Callable[..., Any]:
    """Return a function that returns what it gets; a new one each time, because a service's name is its function's."""

    async def echo(value: Any = None) -> Any:
        return value

    return echo


async def grown(things: Sized, size: int) -> int:
    """Wait until there are more than ``size`` things; return how many."""
    await until(lambda: len(things) > size)
    return len(things)
