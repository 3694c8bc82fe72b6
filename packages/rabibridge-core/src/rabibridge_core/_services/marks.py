"""The marks that ``@register_call`` puts on functions, and the search for marked functions."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import MethodType
from typing import TYPE_CHECKING, Any

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core._services.callables import is_unbound_method, place_of
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rabibridge_core._services.limits import ServiceLimits
    from rabibridge_core.errors import ServiceError

__all__ = ["is_declaration", "listed_errors", "mark", "marked_names", "marked_services", "schema_of", "services_in"]

_log = get_logger(__name__)
_ATTRIBUTE = "__rabibridge_services__"


@dataclass(frozen=True, slots=True)
class _Mark:
    """The services of one function.

    Attributes:
        owner: the function that was decorated. ``functools.wraps`` and ``copy`` copy the mark to others.
        services: the name of each service, ``None`` for that of the function, and its limits.
        declares: whether it only declares services, which another program serves.
    """

    owner: object
    services: dict[str | None, ServiceLimits]
    declares: bool = False


def mark(func: Any, name: str | None, limits: ServiceLimits, *, declares: bool = False) -> Any:
    """Mark ``func`` as a service, or as the declaration of one, and return it.

    Raises:
        RegistrationError: it cannot be a service, or holds no attributes.
    """
    owner = func.__func__ if isinstance(func, staticmethod | classmethod) else func
    ServiceSchema.of(owner, limits, name)
    if type(func) is MethodType:
        raise RegistrationError(
            f"{place_of(func)} is a bound method, which cannot be marked: decorate it in the body of its class, or "
            "give it to add_service()"
        )
    known = _mark_of(owner)
    services = {**known.services, name: limits} if known is not None and known.owner is owner else {name: limits}
    try:
        setattr(owner, _ATTRIBUTE, _Mark(owner, services, declares))
    except (AttributeError, TypeError) as error:
        raise RegistrationError(
            f"{place_of(func)} cannot be marked, as it holds no attributes: give it to add_service()"
        ) from error
    return func


def schema_of(func: Callable[..., Any], given: ServiceLimits, name: str | None = None) -> ServiceSchema:
    """Return the service that ``add_service`` adds: what is not given is taken from the function's mark, if any.

    Raises:
        RegistrationError: it cannot be a service, a limit is out of range, or it has several names and none is given.
    """
    if isinstance(func, staticmethod):
        func = func.__func__
    _refuse_unbound(func)
    found = _mark_of(func)
    if found is not None and found.declares:
        raise RegistrationError(
            f"{place_of(func)} only declares a service, by @declare_call, and another program serves it: give the "
            "function that does the work, with @register_call"
        )
    services = found.services if found is not None and found.owner is _function_of(func) else {}
    if name is None and len(services) > 1:
        names = ", ".join(repr(each) for each in services if each is not None)
        raise RegistrationError(
            f"{place_of(func)} is registered under several names: give one of them, name= ({names})"
        )
    marked = name if name in services or len(services) != 1 else next(iter(services))
    given.check(str(name or marked or getattr(func, "__name__", "")))
    return ServiceSchema.of(func, given.with_defaults(services.get(marked)), marked if name is None else name)


def marked_services(func: object) -> Mapping[str | None, ServiceLimits]:
    """Return the services that a function is marked as, by name, ``None`` for its own one; empty: it is not marked.

    What wraps a marked function, with ``functools.wraps``, is marked like it: it is called in its place.
    """
    known = _mark_of(func)
    if known is None:
        return {}
    function: Any = _function_of(func)
    while function is not known.owner:
        function = inspect.getattr_static(function, "__wrapped__", None)
        if function is None:
            return {}
    return known.services


def is_declaration(func: object) -> bool:
    """Tell whether a function only declares a service, so that neither its kind nor its body says anything."""
    known = _mark_of(func)
    return known is not None and known.declares


def marked_names(func: object) -> list[str]:
    """Return the names of the services that a function is marked as; empty: it is not marked."""
    services = marked_services(func)
    return [_own_name(func) if name is None else name for name in services]


def _own_name(func: object) -> str:
    """Return the name that a function was defined with; empty: it has none."""
    return getattr(_function_of(func), "__name__", "")


def listed_errors(func: object) -> tuple[type[ServiceError], ...]:
    """Return the errors that a function is registered with: those of ``@register_call(raises=...)``."""
    return tuple(cls for limits in marked_services(func).values() for cls in limits.raises)


def services_in(symbols: Mapping[str, object]) -> list[ServiceSchema]:
    """Return the services of the marked functions in ``symbols``. A function with two symbols is returned once.

    Every value is looked at statically, so that no lazy object among them is woken.

    Raises:
        RegistrationError: a marked function is a method without its object, as in the namespace of a class.
    """
    found: dict[tuple[int, str], ServiceSchema] = {}
    for symbol, value in symbols.items():
        known = _mark_of(value)
        if known is None or known.declares:
            continue
        if isinstance(value, staticmethod):
            value = value.__func__
        _refuse_unbound(value)
        if known.owner is not _function_of(value) and not _replaces_owner(symbol, value, known.owner, symbols):
            continue
        for name, limits in known.services.items():
            schema = ServiceSchema.of(value, limits, name)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
            found[id(value), schema.name] = schema
    return list(found.values())


def _mark_of(value: object) -> _Mark | None:
    found = inspect.getattr_static(_function_of(value), _ATTRIBUTE, None)
    return found if type(found) is _Mark else None


def _function_of(value: Any) -> object:
    """Return the function of a method; anything else unchanged. By its type alone: proxies lie about their class."""
    return value.__func__ if type(value) in (MethodType, staticmethod, classmethod) else value


def _functions_of(symbols: Mapping[str, object]) -> Iterator[object]:
    return (_function_of(value) for value in symbols.values())


def _refuse_unbound(func: object) -> None:
    if type(func) is classmethod or is_unbound_method(func):
        raise RegistrationError(
            f"{place_of(_function_of(func))} is a method without its object: a service needs one to call it on, as in "
            "add_service(MyClass().method), or of the class, as in add_service(MyClass.method), for a class method"
        )


def _replaces_owner(symbol: str, value: object, owner: object, symbols: Mapping[str, object]) -> bool:
    """Tell whether a wrapper of a marked function has its place, as when ``@register_call`` is below ``@cache``."""
    if any(function is owner for function in _functions_of(symbols)):
        return False
    if symbol == getattr(owner, "__name__", None) and callable(value):
        return True
    _log.warning(
        "%r is not served: it wraps the service %s; if it is meant, put @register_call on top of it", symbol,
        place_of(owner), extra=log_fields("plugin_file.symbol_skipped"),
    )  # fmt: skip
    return False
