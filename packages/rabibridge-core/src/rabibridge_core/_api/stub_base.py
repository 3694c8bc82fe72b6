"""What all stubs have in common: they are immutable, made of a function, bound to a client, copied and pickled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, Protocol, Self, TypeVar

from rabibridge_core._client.options import chosen_options
from rabibridge_core._client.targets import CallTarget, HasTarget
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from rabibridge_core._client.options import GivenOptions, OptionArguments
    from rabibridge_core._codec.annotations import ResultAdapter
    from rabibridge_core._protocol.naming import FunctionKind

__all__ = ["MakesViews", "NoClient", "StubBase"]


class MakesViews(Protocol):
    """A client, synchronous or not, or a view of it."""

    _given: GivenOptions

    def _view(self, given: GivenOptions) -> Any: ...


CallsT = TypeVar("CallsT", bound=MakesViews)


class StubBase(HasTarget, Generic[CallsT]):
    """A function on a server, in the place of the function itself.

    It can be pickled if its function can, that is if it is defined at the top of a module. Its client stays behind.
    """

    __slots__ = ("__weakref__", "_calls", "_func")

    _no_client: ClassVar[type[NoClient]]
    """In the place of the client, until the stub is bound to one."""
    _find: ClassVar[Callable[[object, str | None], CallTarget]]
    """Returns the service that a function stands for, or a service of the same function by another name."""
    _adapter: ClassVar[Callable[..., ResultAdapter | None]]
    """Returns what restores the results of a function."""

    def __init__(self, calls: CallsT, func: Callable[..., Any] | str, target: CallTarget) -> None:
        """Call ``target`` by ``calls``; created by ``client.stub``.

        Args:
            calls: a view of the client, with the options of this stub.
            func: the function, or the name of the service, that the stub was made of.
            target: the service that is called.
        """
        self._calls = calls
        self._func = func
        self._target = target

    @classmethod
    def _make(
        cls,
        calls: CallsT,
        func: Callable[..., Any] | str,
        *,
        name: str | None,
        validate: bool,
        options: OptionArguments,
    ) -> Self:
        """Return a stub of a function; ``client.stub`` describes the arguments.

        Raises:
            TypeError: ``func`` stands for no service, or for one of another kind, or an option is unknown.
            ConfigurationError: no service can have the name, or an option has a wrong type or value.
            RegistrationError: the annotation of the results names something that is not found, or cannot be used.
        """
        target = cls._find(func, name)
        if isinstance(func, StubBase):
            func = func._func
        return cls(calls._view(chosen_options(options)), func, target if validate else target._replace(adapt=None))

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

    def options(self, **options: Unpack[OptionArguments]) -> Self:
        """Return a stub with further options, as in ``add.options(timeout=0.5)(1, 2)``.

        Args:
            **options: as in ``client.options``; they are added to those of this stub.

        Raises:
            TypeError: an option is unknown.
            ConfigurationError: an option has a wrong type or value.
        """
        return type(self)(self._calls._view(chosen_options(options)), self._func, self._target)

    def bind(self, client: CallsT) -> Self:
        """Return a stub of the same function with the same options that calls by another client.

        Args:
            client: the client, or a view of it, whose options the options of this stub are added to.
        """
        return type(self)(client._view(self._calls._given), self._func, self._target)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        name, kind, adapt = self._target
        return _unbound, (type(self), self._func, name, kind, adapt is not None, self._calls._given)


class NoClient:
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

    def _view(self, given: GivenOptions) -> Any:
        return type(self)(self._name, given.over(self._given))


def _unbound(
    cls: type[StubBase[Any]],
    func: Callable[..., Any] | str,
    name: str,
    kind: FunctionKind,
    validate: bool,
    given: GivenOptions,
) -> StubBase[Any]:
    adapt = cls._adapter(func) if validate and not isinstance(func, str) else None
    return cls(cls._no_client(name, given), func, CallTarget(name, kind, adapt))
