"""Stubs of generator functions: they return streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar

from rabibridge_core._api.stream_calls import make_stream
from rabibridge_core._api.stubs import NoClient
from rabibridge_core._client.options import chosen_options
from rabibridge_core._client.stream_targets import HasStreamTarget, stream_target_of
from rabibridge_core._client.targets import CallTarget

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from rabibridge_core._api.call_base import CallBase
    from rabibridge_core._client.options import GivenOptions, OptionArguments
    from rabibridge_core._client.stream import Stream

__all__ = ["StreamStub", "make_stream_stub"]

P = ParamSpec("P")
R = TypeVar("R")


def make_stream_stub(
    calls: CallBase, func: Callable[..., Any], *, name: str | None, validate: bool, options: OptionArguments
) -> StreamStub[..., Any]:
    """Return a stub of a generator function; ``client.stub`` describes the arguments.

    Raises:
        TypeError: an option is unknown.
        ConfigurationError: no service can have the name, or an option has a wrong type or value.
        RegistrationError: the annotation of the items names something that is not found, or cannot be used.
    """
    target = stream_target_of(func, name)
    function = func._func if isinstance(func, StreamStub) else func
    return StreamStub(
        calls._view(chosen_options(options)), function, target if validate else target._replace(adapt=None)
    )


class StreamStub(HasStreamTarget, Generic[P, R]):
    """A generator function on a server, with the signature of the function; made by ``client.stub``.

    ``async for item in stub(1, 2)`` reads its items as those of ``client.stream``, with the options of the stub. It can
    be shared, copied, pickled and bound to another client as a :class:`Stub`.
    """

    __slots__ = ("__weakref__", "_calls", "_func")

    def __init__(self, calls: CallBase, func: Callable[P, Any], target: CallTarget) -> None:
        """Call ``target``, made of ``func``, by ``calls``, a view of the client; created by ``client.stub``."""
        self._calls = calls
        self._func = func
        self._target = target

    @property
    def __name__(self) -> str:
        """The name of the service."""
        return self._target.name

    @property
    def _listing(self) -> object:
        return self._func

    def __repr__(self) -> str:
        """Show the service, the client and the options."""
        return f"<{type(self).__name__} of {self._target.name!r} by {self._calls!r}>"

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Stream[R]:
        """Return a stream of the items of the function, as ``client.stream`` does.

        Raises:
            ConfigurationError: the stub was unpickled, and is not bound to a client yet; or as in ``client.stream``.
        """
        return make_stream(self._calls, self, self._target, args, kwargs)

    def options(self, **options: Unpack[OptionArguments]) -> StreamStub[P, R]:
        """Return a stub with further options, as in ``report.options(idle_timeout=5)(2024)``.

        Args:
            **options: as in ``client.options``; they are added to those of this stub.

        Raises:
            TypeError: an option is unknown.
            ConfigurationError: an option has a wrong type or value.
        """
        return StreamStub(self._calls._view(chosen_options(options)), self._func, self._target)

    def bind(self, client: CallBase) -> StreamStub[P, R]:
        """Return a stub of the same function with the same options that calls by another client.

        Args:
            client: the client, or a view of it, whose options the options of this stub are added to.
        """
        return StreamStub(client._view(self._calls._given), self._func, self._target)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        validate = self._target.adapt is not None
        return _unbound, (self._func, self._target.name, validate, self._calls._given)


def _unbound(func: Callable[..., Any], name: str, validate: bool, given: GivenOptions) -> StreamStub[..., Any]:
    target = stream_target_of(func)
    return StreamStub(NoClient(name, given), func, CallTarget(name, target.kind, target.adapt if validate else None))
