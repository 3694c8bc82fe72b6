"""``Depends``: marks parameters of functions that the server fills in, and callers do not give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from rabibridge_core.errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

__all__ = ["Dependency", "Depends"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Dependency:
    """What :func:`Depends` returns: the provider of a parameter; ``None``: what the lifespan yields."""

    provider: Callable[..., Any] | None
    scope: Literal["call", "process"]
    use_cache: bool
    cleanup_timeout: float

    def __repr__(self) -> str:
        """Show what the parameter depends on, as it appears in signatures."""
        return f"Depends({getattr(self.provider, '__name__', '') if self.provider is not None else ''})"


@overload
def Depends(*, use_cache: bool = ...) -> Any: ...
@overload
def Depends(
    provider: Callable[..., AbstractAsyncContextManager[T]],
    *,
    scope: Literal["call", "process"] = ...,
    use_cache: bool = ...,
    cleanup_timeout: float = ...,
) -> T: ...
@overload
def Depends(
    provider: Callable[..., AbstractContextManager[T]],
    *,
    scope: Literal["call", "process"] = ...,
    use_cache: bool = ...,
    cleanup_timeout: float = ...,
) -> T: ...
@overload
def Depends(
    provider: Callable[..., AsyncIterator[T]],
    *,
    scope: Literal["call", "process"] = ...,
    use_cache: bool = ...,
    cleanup_timeout: float = ...,
) -> T: ...
@overload
def Depends(
    provider: Callable[..., Iterator[T]],
    *,
    scope: Literal["call", "process"] = ...,
    use_cache: bool = ...,
    cleanup_timeout: float = ...,
) -> T: ...
@overload
def Depends(
    provider: Callable[..., Awaitable[T]],
    *,
    scope: Literal["call", "process"] = ...,
    use_cache: bool = ...,
    cleanup_timeout: float = ...,
) -> T: ...
@overload
def Depends(
    provider: Callable[..., T],
    *,
    scope: Literal["call", "process"] = ...,
    use_cache: bool = ...,
    cleanup_timeout: float = ...,
) -> T: ...
def Depends(  # noqa: N802 - the name that such a function has in FastAPI, FastDepends and FastStream
    provider: Callable[..., Any] | None = None,
    *,
    scope: Literal["call", "process"] = "call",
    use_cache: bool = True,
    cleanup_timeout: float = 10.0,
) -> Any:
    """Mark a parameter of a function as one that the server fills in.

    Write ``db: Session = Depends(session)`` or ``db: Annotated[Session, Depends(session)]``. Callers do not give such
    parameters; a caller that does gets InvalidArgumentsError. They come last, or after a ``*``. docs/server.md
    describes providers.

    Args:
        provider: an ``async def`` function or any other one, which runs in a thread; or a generator function of either
            kind, which yields one value and cleans up after the ``yield``. Its own parameters may be marked, too.
            ``None`` (the default): what the lifespan of the server yields, found by the annotation of the parameter.
        scope: ``"call"`` (the default): made for each call that needs it, and cleaned up before the reply is sent.
            ``"process"``: made once for each server, before its service receives calls, and cleaned up after the last
            call.
        use_cache: make one value for each call, even if several parameters need it; ``False``: one for each parameter.
        cleanup_timeout: how long the cleanup may take, in seconds. After that it is cancelled, and the call ends with
            an error.

    Raises:
        RegistrationError: an argument is wrong.
    """
    if provider is not None and not callable(provider):
        raise RegistrationError(f"Depends({provider!r}): a provider must be callable")
    if scope not in ("call", "process"):
        raise RegistrationError(f"Depends(scope={scope!r}): it must be 'call' or 'process'")
    if not isinstance(cleanup_timeout, int | float) or not cleanup_timeout > 0:
        raise RegistrationError(f"Depends(cleanup_timeout={cleanup_timeout!r}): it must be a number of seconds above 0")
    return Dependency(provider, scope, use_cache, cleanup_timeout)
