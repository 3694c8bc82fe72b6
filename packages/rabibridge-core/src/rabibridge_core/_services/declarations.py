"""``@declare_call``, which lets a mere signature stand for a service that another program serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.marks import mark

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.errors import ServiceError

__all__ = ["declare_call"]

P = ParamSpec("P")
R = TypeVar("R")


@overload
def declare_call(func: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def declare_call(
    *, name: str | None = None, raises: tuple[type[ServiceError], ...] = ()
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def declare_call(func: Any = None, /, *, name: str | None = None, raises: tuple[type[ServiceError], ...] = ()) -> Any:
    """Mark a function as the declaration of a service that another program serves.

    Give it to ``client.call``, ``client.stream``, ``client.notify`` and the like, in the place of the function that is
    served. Its body never runs; its signature says the arguments and the result to type checkers, and results are
    converted by its annotations. A service that gives its results one by one is declared as a ``def`` that returns
    ``AsyncIterator[T]``. A server does not offer it: ``load_services`` passes it by.

    ``rabibridge stubs`` writes modules of such declarations.

    Example::

        @declare_call(name="shop.total", raises=(OutOfStock,))
        async def total(prices: list[float]) -> float:
            raise NotImplementedError

        price = await client.call(total, [1.5, 2.0])

    Args:
        func: the function.
        name: the name of the service. ``None`` (the default): that of the function.
        raises: the errors that the service raises on purpose: they arrive as these classes.

    Raises:
        RegistrationError: the name is none of a service, or what is decorated cannot be marked.
    """
    limits = ServiceLimits(raises=raises)

    def decorate(func: Callable[P, R]) -> Callable[P, R]:
        mark(func, name, limits, declares=True)
        return func

    return decorate if func is None else decorate(func)
