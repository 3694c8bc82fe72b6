"""Stubs and proxies of a synchronous client: remote functions that block their thread until they have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, Self, TypeVar, cast

from rabibridge_core._api.proxies import ServiceProxy
from rabibridge_core._client.options import chosen_options
from rabibridge_core._client.targets import CallTarget, HasTarget, target_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from rabibridge_core._api.sync_call_base import SyncCallBase
    from rabibridge_core._client.options import OptionArguments

__all__ = ["SyncServiceProxy", "SyncStub", "make_sync_stub"]

P = ParamSpec("P")
R = TypeVar("R")


def make_sync_stub(
    calls: SyncCallBase, func: Callable[..., Any] | str, *, name: str | None, validate: bool, options: OptionArguments
) -> SyncStub[..., Any]:
    """Return a stub of a function; ``client.stub`` describes the arguments.

    Raises:
        TypeError: ``func`` stands for no service, or an option is unknown.
        ConfigurationError: no service can have the name, or an option has a wrong type or value.
        RegistrationError: the annotation of the result names something that is not found, or cannot be used.
    """
    target = target_of(func, name)
    if isinstance(func, SyncStub):
        func = func._func
    return SyncStub(calls._view(chosen_options(options)), func, target if validate else target._replace(adapt=None))


class SyncStub(HasTarget, Generic[P, R]):
    """A function on a server, as a callable with the signature of the function; made by ``client.stub``.

    ``stub(1, 2)`` calls the function as ``client.call`` does, with the options of the stub. A stub is immutable, may be
    shared by all threads, and works after a fork. It cannot be pickled, as its client cannot.
    """

    __slots__ = ("__weakref__", "_calls", "_func")

    def __init__(self, calls: SyncCallBase, func: Callable[P, Any] | str, target: CallTarget) -> None:
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

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function on one of the servers, wait, and return its result.

        Raises:
            RabiBridgeError: as in ``client.call``.
        """
        return cast("R", self._calls._call(self._func, self._target, args, kwargs))

    def options(self, **options: Unpack[OptionArguments]) -> SyncStub[P, R]:
        """Return a stub with further options, as in ``add.options(timeout=0.5)(1, 2)``.

        Args:
            **options: as in ``client.options``; they are added to those of this stub.

        Raises:
            TypeError: an option is unknown.
            ConfigurationError: an option has a wrong type or value.
        """
        return SyncStub(self._calls._view(chosen_options(options)), self._func, self._target)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be pickled: make it by client.stub() in the other process")


class SyncServiceProxy(ServiceProxy):
    """The remote methods of a service class, each as a :class:`~rabibridge_core.rpc.SyncStub`."""

    def _stub(self, function: Callable[..., Any], target: CallTarget) -> Any:
        return SyncStub[..., Any](cast("Any", self._calls), function, target)
