"""Stubs: remote functions as callables with the signatures of the functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, Self, TypeVar

from rabibridge_core._api.call_base import CallBase
from rabibridge_core._client.options import chosen_options
from rabibridge_core._client.stream_opening import call_with_upload
from rabibridge_core._client.targets import CallTarget, HasTarget, as_listed_by, explain_options, target_of
from rabibridge_core._client.upload_arguments import find_upload
from rabibridge_core._codec.annotations import result_adapter
from rabibridge_core.errors import ConfigurationError, RemoteExecutionError, SerializationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from rabibridge_core._client.options import GivenOptions, OptionArguments
    from rabibridge_core._protocol.naming import FunctionKind

__all__ = ["NoClient", "Stub", "make_stub"]

P = ParamSpec("P")
R = TypeVar("R")


def make_stub(
    calls: CallBase, func: Callable[..., Any] | str, *, name: str | None, validate: bool, options: OptionArguments
) -> Stub[..., Any]:
    """Return a stub of a function; ``client.stub`` describes the arguments.

    Raises:
        TypeError: ``func`` stands for no service, or an option is unknown.
        ConfigurationError: no service can have the name, or an option has a wrong type or value.
        RegistrationError: the annotation of the result names something that is not found, or cannot be used.
    """
    target = target_of(func, name)
    if isinstance(func, Stub):
        func = func._func
    if not validate:
        target = target._replace(adapt=None)
    return Stub(calls._view(chosen_options(options)), func, target)


class Stub(HasTarget, Generic[P, R]):
    """A function on a server, as a callable with the signature of the function; made by ``client.stub``.

    ``await stub(1, 2)`` calls the function as ``client.call`` does, with the options of the stub. A stub is immutable,
    may be shared by all tasks on the event loop of its client, and costs as little as a view of the client.

    A stub can be pickled if its function can, that is if it is defined at the top of a module. Its client stays behind:
    :meth:`bind` gives the stub that arrives another one.
    """

    __slots__ = ("__weakref__", "_calls", "_func")

    def __init__(self, calls: CallBase, func: Callable[P, Any] | str, target: CallTarget) -> None:
        """Call ``target`` by ``calls``; created by ``client.stub``.

        Args:
            calls: a view of the client, with the options of this stub.
            func: the function, or the name of the service, that the stub was made of.
            target: the service that is called.
        """
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

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function on one of the servers and return its result.

        Raises:
            ConfigurationError: the stub was unpickled, and is not bound to a client yet.
            RabiBridgeError: as in ``client.call``.
        """
        name, kind, adapt = self._target
        client, options = self._calls._prepare(kind)
        try:
            result: R = await client.call(name, args, kwargs, options)
        except RemoteExecutionError as error:
            if error.code is None:
                explain_options(error, kwargs)
                raise
            raise as_listed_by(self, error) from error.__cause__
        except SerializationError:
            found = find_upload(args, kwargs)
            if found is None:
                raise
        else:
            return result if adapt is None or type(result) in adapt.exact else adapt(result)
        result = await call_with_upload(client, self, name, found, options)
        return result if adapt is None or type(result) in adapt.exact else adapt(result)

    def options(self, **options: Unpack[OptionArguments]) -> Stub[P, R]:
        """Return a stub with further options, as in ``await add.options(timeout=0.5)(1, 2)``.

        Args:
            **options: as in ``client.options``; they are added to those of this stub.

        Raises:
            TypeError: an option is unknown.
            ConfigurationError: an option has a wrong type or value.
        """
        return Stub(self._calls._view(chosen_options(options)), self._func, self._target)

    def bind(self, client: CallBase) -> Stub[P, R]:
        """Return a stub of the same function with the same options that calls by another client.

        Args:
            client: the client, or a view of it, whose options the options of this stub are added to.
        """
        return Stub(client._view(self._calls._given), self._func, self._target)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        name, kind, adapt = self._target
        return _unbound_stub, (self._func, name, kind, adapt is not None, self._calls._given)


class NoClient(CallBase):
    """In the place of the client of a stub that was unpickled."""

    __slots__ = ("_given", "_name")

    def __init__(self, name: str, given: GivenOptions) -> None:
        """Stand in for the client of the stub of that service, with these options."""
        self._name = name
        self._given = given

    def __repr__(self) -> str:
        """Say that there is none."""
        return "no client"

    def _prepare(self, kind: FunctionKind) -> NoReturn:
        raise ConfigurationError(
            f"the stub of {self._name!r} has no client, as it was unpickled: give it one by stub.bind(client)"
        )

    def _view(self, given: GivenOptions) -> CallBase:
        return NoClient(self._name, given.over(self._given))


def _unbound_stub(
    func: Callable[..., Any] | str, name: str, kind: FunctionKind, validate: bool, given: GivenOptions
) -> Stub[..., Any]:
    adapt = result_adapter(func) if validate and not isinstance(func, str) else None
    return Stub(NoClient(name, given), func, CallTarget(name, kind, adapt))
