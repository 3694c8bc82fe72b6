"""Stubs of generator functions for synchronous clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, Self, TypeVar

from rabibridge_core._api.sync_streams import make_sync_stream
from rabibridge_core._client.options import chosen_options
from rabibridge_core._client.stream_targets import HasStreamTarget, stream_target_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from rabibridge_core._api.sync_call_base import SyncCallBase
    from rabibridge_core._api.sync_streams import SyncStream
    from rabibridge_core._client.options import OptionArguments
    from rabibridge_core._client.targets import CallTarget

__all__ = ["SyncStreamStub", "make_sync_stream_stub"]

P = ParamSpec("P")
R = TypeVar("R")


def make_sync_stream_stub(
    calls: SyncCallBase, func: Callable[..., Any], *, name: str | None, validate: bool, options: OptionArguments
) -> SyncStreamStub[..., Any]:
    """Return a stub of a generator function; ``client.stub`` describes the arguments.

    Raises:
        TypeError: an option is unknown.
        ConfigurationError: no service can have the name, or an option has a wrong type or value.
        RegistrationError: the annotation of the items names something that is not found, or cannot be used.
    """
    target = stream_target_of(func, name)
    function = func._func if isinstance(func, SyncStreamStub) else func
    target = target if validate else target._replace(adapt=None)
    return SyncStreamStub(calls._view(chosen_options(options)), function, target)


class SyncStreamStub(HasStreamTarget, Generic[P, R]):
    """A generator function on a server, with the signature of the function; made by ``client.stub``.

    ``for item in stub(1, 2)`` reads its items as those of ``client.stream``, with the options of the stub. It is
    immutable, may be shared by all threads, and works after a fork. It cannot be pickled: make one by ``client.stub``.
    """

    __slots__ = ("__weakref__", "_calls", "_func")

    def __init__(self, calls: SyncCallBase, func: Callable[P, Any], target: CallTarget) -> None:
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

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> SyncStream[R]:
        """Return a stream of the items of the function, as ``client.stream`` does."""
        return make_sync_stream(self._calls, self, self._target, args, kwargs)

    def options(self, **options: Unpack[OptionArguments]) -> SyncStreamStub[P, R]:
        """Return a stub with further options, as in ``report.options(idle_timeout=5)(2024)``.

        Args:
            **options: as in ``client.options``; they are added to those of this stub.

        Raises:
            TypeError: an option is unknown.
            ConfigurationError: an option has a wrong type or value.
        """
        return SyncStreamStub(self._calls._view(chosen_options(options)), self._func, self._target)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be pickled: make it by client.stub() in the other process")
