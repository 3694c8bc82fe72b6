"""Stubs and proxies of a synchronous client: remote functions that block their thread until they have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, Self, TypeVar, cast

from rabibridge_core._api.proxies import ServiceProxy
from rabibridge_core._api.sync_call_base import SyncCallBase
from rabibridge_core._api.sync_stream_stubs import SyncStreamStub
from rabibridge_core._client.options import chosen_options
from rabibridge_core._client.targets import CallTarget, HasTarget, target_of
from rabibridge_core._codec.annotations import result_adapter
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from rabibridge_core._client.options import GivenOptions, OptionArguments
    from rabibridge_core._protocol.naming import FunctionKind

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
    shared by all threads, and works after a fork.

    A stub can be pickled if its function can, that is if it is defined at the top of a module. Its client stays behind:
    :meth:`bind` gives the stub that arrives another one.
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
            ConfigurationError: the stub was unpickled, and is not bound to a client yet.
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

    def bind(self, client: SyncCallBase) -> SyncStub[P, R]:
        """Return a stub of the same function with the same options that calls by another client.

        Args:
            client: the client, or a view of it, whose options the options of this stub are added to.
        """
        return SyncStub(client._view(self._calls._given), self._func, self._target)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        name, kind, adapt = self._target
        return _unbound_stub, (self._func, name, kind, adapt is not None, self._calls._given)


class _NoClient(SyncCallBase):
    """In the place of the client of a stub that was unpickled."""

    __slots__ = ("_given", "_name")

    def __init__(self, name: str, given: GivenOptions) -> None:
        self._name = name
        self._given = given

    def __repr__(self) -> str:
        return "no client"

    def _prepare(self, kind: FunctionKind) -> NoReturn:
        raise ConfigurationError(
            f"the stub of {self._name!r} has no client, as it was unpickled: give it one by stub.bind(client)"
        )

    def _view(self, given: GivenOptions) -> SyncCallBase:
        return _NoClient(self._name, given.over(self._given))


def _unbound_stub(
    func: Callable[..., Any] | str, name: str, kind: FunctionKind, validate: bool, given: GivenOptions
) -> SyncStub[..., Any]:
    adapt = result_adapter(func) if validate and not isinstance(func, str) else None
    return SyncStub(_NoClient(name, given), func, CallTarget(name, kind, adapt))


class SyncServiceProxy(ServiceProxy):
    """The remote methods of a service class, each as a :class:`~rabibridge_core.rpc.SyncStub`."""

    def _stub(self, function: Callable[..., Any], target: CallTarget) -> Any:
        return SyncStub[..., Any](cast("Any", self._calls), function, target)

    def _stream_stub(self, function: Callable[..., Any], target: CallTarget) -> Any:
        return SyncStreamStub[..., Any](cast("Any", self._calls), function, target)
