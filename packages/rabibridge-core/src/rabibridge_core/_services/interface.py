"""Classes whose methods are services: ``@service``, and what it says about the methods of a class.

A service class is not changed: it is still made, subclassed and tested like any other. The decorator notes the names
of the services, which an object of the class is served under and a client calls.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, TypeVar, get_origin, overload

from rabibridge_core._codec.annotations import announces_items, result_adapter
from rabibridge_core._protocol.naming import check_service_name
from rabibridge_core._services.callables import is_generator, place_of, runs_on_loop
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.marks import marked_services
from rabibridge_core.errors import ConfigurationError, RegistrationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Unpack

    from rabibridge_core._codec.annotations import ResultAdapter
    from rabibridge_core._protocol.naming import FunctionKind
    from rabibridge_core._services.limit_arguments import LimitArguments

__all__ = [
    "ServiceInterface",
    "ServiceMethod",
    "declared_interface",
    "interface_of",
    "service",
    "service_of_method",
]

ClassT = TypeVar("ClassT", bound="Callable[..., Any]")

_ATTRIBUTE = "_abc_rabibridge_service"
"""Where a class keeps its interface. Python 3.11 takes any other name for a member of a protocol."""


@overload
def service(cls: ClassT, /) -> ClassT: ...
@overload
def service(
    *, name: str | None = None, version: str | int | None = None, **limits: Unpack[LimitArguments]
) -> Callable[[ClassT], ClassT]: ...
def service(
    cls: Any = None, /, *, name: str | None = None, version: str | int | None = None, **limits: Unpack[LimitArguments]
) -> Any:
    """Mark a class as a service: its public methods can be called remotely.

    Use it bare (``@service``) or with arguments. ``server.add_service(MathService(db))`` serves the methods of one
    object, each as a service of its own: ``MathService.add``, or ``MathService.v2.add`` with ``version="2"``.
    ``client.service(MathService)`` calls them.

    Public methods are those of the class body whose names have no leading underscore: async and sync methods, class
    methods and static methods. Inherited methods belong to it if their class is a service or a protocol itself, or if
    they are marked with ``@register_call``, which also gives single methods limits and names of their own. Subclasses
    are served under the name of the class that was decorated, so that a decorated protocol or abstract class is all
    that a caller has to import.

    Example::

        @service(queue_size=1000)
        class MathService:
            def __init__(self, db: Database) -> None: ...

            async def add(self, a: int, b: int) -> int:
                return a + b

            @register_call(fetch_size=2)
            def factorize(self, number: int) -> list[int]: ...

    Args:
        cls: the class.
        name: the name in front of the method names; it may contain dots. ``None`` (the default): that of the class.
        version: goes between them, as in ``math.v2.add``, so that two versions can be served side by side. ``None``
            (the default): nothing.
        **limits: the limits of ``@register_call``, for all methods that do not have their own.

    Raises:
        RegistrationError: at its definition: it is no class or has no public method, or a name or limit is wrong.
    """
    given = ServiceLimits(**limits)

    def decorate(cls: Any) -> Any:
        if not isinstance(cls, type):
            raise RegistrationError(f"{place_of(cls)} is no class: use @register_call for a function")
        setattr(cls, _ATTRIBUTE, ServiceInterface.of(cls, name, version, given))
        return cls

    return decorate if cls is None else decorate(cls)


@dataclass(frozen=True, slots=True)
class ServiceMethod:
    """One method of a service class, as one service.

    Attributes:
        attribute: the name of the method in the class.
        suffix: the last part of the name of the service.
        function: the function in the class.
        kind: how the function runs; ``"any"`` if the class says only what there is.
        limits: those of its ``@register_call`` and of its class.
    """

    attribute: str
    suffix: str
    function: Callable[..., Any]
    kind: FunctionKind
    limits: ServiceLimits


@dataclass(frozen=True, slots=True)
class ServiceInterface:
    """The services that a class describes.

    Attributes:
        cls: the class.
        name: the first part of the names of its services.
        version: the version, without the ``v``; empty: none.
        methods: what is served.
    """

    cls: type
    name: str
    version: str
    methods: tuple[ServiceMethod, ...]
    _adapters: dict[str, ResultAdapter | None] = field(default_factory=dict)

    @classmethod
    def of(
        cls, described: type, name: str | None, version: str | int | None, limits: ServiceLimits, *, marked: bool = True
    ) -> ServiceInterface:
        """Return the interface of a class.

        Args:
            described: the class.
            name: the first part of the names; ``None``: the name of the class.
            version: the version; ``None``: none.
            limits: for the methods that do not have their own.
            marked: whether it is a service class; otherwise the kinds of its methods say nothing.

        Raises:
            RegistrationError: as :func:`service`.
        """
        methods = tuple(_methods(described, limits, only_signatures=not marked or _is_protocol(described)))
        if not methods:
            raise RegistrationError(
                f"{described.__qualname__} has no public method, and a service consists of them: define one whose name "
                "has no leading underscore"
            )
        found = cls(described, described.__name__ if name is None else name, _plain_version(version), methods)
        for method in methods:
            found.service_name(method)
            method.limits.check(f"{found.name}.{method.suffix}")
        return found

    def renamed(self, name: str | None, version: str | int | None = None) -> ServiceInterface:
        """Return the same interface under another name or version; ``None``: its own."""
        if name is None and version is None:
            return self
        name = self.name if name is None else name
        plain_version = self.version if version is None else _plain_version(version)
        return ServiceInterface(self.cls, name, plain_version, self.methods, self._adapters)

    def service_name(self, method: ServiceMethod) -> str:
        """Return the name of the service that a method is.

        Raises:
            RegistrationError: no service can have that name.
        """
        parts = (self.name, f"v{self.version}", method.suffix) if self.version else (self.name, method.suffix)
        try:
            return check_service_name(".".join(parts))
        except ConfigurationError as error:
            raise RegistrationError(f"{place_of(method.function)} cannot be a service: {error}") from None

    def adapters(self) -> dict[str, ResultAdapter | None]:
        """Return what restores the results of the methods, by the names of the methods; nothing for those that stream.

        Raises:
            RegistrationError: the annotation of a result names something that is not found, or cannot be used.
        """
        if not self._adapters:
            self._adapters.update(
                {
                    method.attribute: None if _gives_items(method) else result_adapter(method.function)
                    for method in self.methods
                }
            )
        return self._adapters


def _gives_items(method: ServiceMethod) -> bool:
    return is_generator(method.function) or (method.kind == "any" and announces_items(method.function))


def service_of_method(bound: MethodType) -> tuple[ServiceInterface, ServiceMethod] | None:
    """Return the first service that a bound method is by the service class of its object, if any."""
    owner = bound.__self__ if isinstance(bound.__self__, type) else type(bound.__self__)
    interface = declared_interface(owner)
    if interface is None:
        return None
    name = getattr(bound.__func__, "__name__", None)
    return next(((interface, method) for method in interface.methods if method.attribute == name), None)


def declared_interface(cls: type) -> ServiceInterface | None:
    """Return the interface of the nearest class, of ``cls`` and its bases, that is decorated with ``@service``."""
    for base in cls.__mro__:
        if type(found := vars(base).get(_ATTRIBUTE)) is ServiceInterface:
            return found
    return None


def interface_of(cls: object) -> ServiceInterface:
    """Return what ``client.service`` calls: the interface of a service class, or the one that any class describes.

    Raises:
        TypeError: it is no class.
        RegistrationError: as :func:`service`.
    """
    cls = get_origin(cls) or cls  # Store[int] describes what Store does
    if not isinstance(cls, type):
        what = f"an object: give its class, {type(cls).__name__}" if declared_interface(type(cls)) else "no class"
        raise TypeError(f"{repr(cls)[:80]} is {what}. client.service() takes a service class or a protocol")
    return declared_interface(cls) or ServiceInterface.of(cls, None, None, ServiceLimits(), marked=False)


def _methods(cls: type, defaults: ServiceLimits, *, only_signatures: bool) -> Iterator[ServiceMethod]:
    for attribute, value in _members(cls).items():
        function = value.func if isinstance(value, functools.partialmethod) else value
        function = function.__func__ if isinstance(function, staticmethod | classmethod) else function
        unknown = only_signatures or getattr(function, "__isabstractmethod__", False)
        kind: FunctionKind = "any" if unknown else "async" if runs_on_loop(function) else "sync"
        marked = marked_services(function) or {None: ServiceLimits()}
        for suffix, limits in marked.items():
            yield ServiceMethod(attribute, suffix or attribute, function, kind, limits.with_defaults(defaults))


def _members(cls: type) -> dict[str, Any]:
    """Return the public methods of a class, as they stand in the class bodies."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        belongs = base is cls or _is_protocol(base) or type(vars(base).get(_ATTRIBUTE)) is ServiceInterface
        for name, value in vars(base).items():
            if name.startswith("_"):
                continue
            if _is_method(value) and (belongs or name in found or marked_services(value)):
                found[name] = value
            else:
                found.pop(name, None)
    return found


def _is_method(value: object) -> bool:
    if isinstance(value, FunctionType | staticmethod | classmethod | functools.partialmethod):
        return True
    return callable(value) and not isinstance(value, type) and hasattr(type(value), "__get__")


def _is_protocol(cls: type) -> bool:
    return vars(cls).get("_is_protocol", False) is True


def _plain_version(version: str | int | None) -> str:
    return "" if version is None else str(version).removeprefix("v")
