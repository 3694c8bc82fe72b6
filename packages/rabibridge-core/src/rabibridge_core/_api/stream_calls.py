"""Calls of functions that give items one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from rabibridge_core._api.call_base import CallBase
from rabibridge_core._client.stream import Stream
from rabibridge_core._client.stream_opening import open_stream
from rabibridge_core._client.stream_targets import stream_target_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable

    from rabibridge_core._client.targets import CallTarget

__all__ = ["StreamCalls", "make_stream"]

P = ParamSpec("P")
R = TypeVar("R")


class StreamCalls(CallBase):
    """``stream``."""

    __slots__ = ()

    # The names of *_args and **_kwargs matter: pyright mistakes a parameter of the function for one of the same name.
    @overload
    def stream(self, func: Callable[P, AsyncIterable[R]], /, *_args: P.args, **_kwargs: P.kwargs) -> Stream[R]: ...
    @overload
    def stream(self, func: Callable[P, Iterable[R]], /, *_args: P.args, **_kwargs: P.kwargs) -> Stream[R]: ...
    @overload
    def stream(self, func: str, /, *_args: Any, **_kwargs: Any) -> Stream[Any]: ...
    def stream(self, func: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> Stream[Any]:
        """Call a generator function on one of the servers, and iterate over its items as they come.

        The call is sent when the iteration starts. Items come in order, once each; and the iteration ends when all have
        come, or with one error whose ``received`` says how many came before. A slow reader slows the function down: it
        waits in its ``yield``. Leaving the loop early stops it; :class:`Stream` says when.

        ``options(timeout=...)`` is for the whole stream, and travels with it; ``options(idle_timeout=...)`` limits the
        wait for each item. As long as it runs, a stream counts as one call of its server and of this client.

        If the connection or the server is lost, a stream of which nothing was taken starts again as an idempotent call
        does; a function that is registered with ``resumable=True`` goes on from the next item, on any server, within
        the timeout. Any other stream ends with an error.

        Example::

            async for row in client.options(timeout=60, idle_timeout=5).stream(report, 2024):
                print(row)

        Args:
            func: the generator function that is registered, which says the name and the type of the items; or a
                function of the same name and signature, annotated ``AsyncIterator[T]`` or the like, whose body does not
                matter; or the name of the service.
            *args: the positional arguments of the function.
            **kwargs: its keyword arguments.

        Returns:
            The stream. Iterating over it raises the errors of :meth:`call`, and StreamError if a message of it is
            missing or out of order, if its server was stopped, or if another one began it again.

        Raises:
            ConfigurationError: no service can have that name, an ``idempotency_key`` was chosen, or the transport
                carries no streams.
            RegistrationError: the annotation of the items names something that is not found, or cannot be used.
            TypeError: ``func`` stands for no service, or for one that returns one result.
        """
        return make_stream(self, func, stream_target_of(func), args, kwargs)


def make_stream(
    calls: CallBase, func: object, target: CallTarget, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Stream[Any]:
    """Return a stream of ``target``, which ``func`` stands for, by ``calls``.

    Raises:
        ConfigurationError: as :meth:`StreamCalls.stream`.
    """
    client, options = calls._prepare(target.kind)
    source = open_stream(client, func, target.name, args, kwargs, options, calls._given.idle_timeout)
    return Stream(source, target.name, target.adapt)
