"""What ``add_service`` adds: one service for a function, several for an object of a service class."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

from rabibridge_core._services.interface import ServiceInterface, declared_interface, service_of_method
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.marks import schema_of, services_in
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["schemas_of", "service_object", "services_among"]


def service_object(offered: object) -> ServiceInterface | None:
    """Return the interface of ``offered`` if it is an object of a service class.

    Raises:
        RegistrationError: it is a service class itself.
    """
    if isinstance(offered, type) and declared_interface(offered) is not None:
        raise RegistrationError(
            f"{offered.__qualname__} is a service class, and its methods need an object to be called on: "
            f"add_service({offered.__name__}(...))"
        )
    return None if isinstance(offered, type) else declared_interface(type(offered))


def schemas_of(offered: Any, given: ServiceLimits, name: str | None = None) -> tuple[ServiceSchema, ...]:
    """Return the services that ``offered`` is: one function, or all methods of an object of a service class.

    Args:
        offered: the function or object.
        given: limits; what is not given is taken from ``@register_call`` and ``@service``.
        name: the name of the function, or what stands in front of the names of the methods; ``None``: its own.

    Raises:
        RegistrationError: it cannot be served, a name cannot be used, or a limit is out of range.
    """
    interface = service_object(offered)
    if interface is not None:
        return tuple(_of_methods(offered, interface.renamed(name), given))
    if type(offered) is MethodType and name is None and (found := service_of_method(offered)) is not None:
        interface, method = found
        limits = given.with_defaults(method.limits)
        return (ServiceSchema.of(offered, limits, interface.service_name(method)),)
    return (schema_of(offered, given, name),)


def services_among(symbols: Mapping[str, object]) -> list[ServiceSchema]:
    """Return the services of the marked functions and of the objects of service classes in ``symbols``.

    Every value is looked at by its type, so that no lazy object among them is woken. One with two symbols counts once.

    Raises:
        RegistrationError: a function or object cannot be served.
    """
    found = services_in(symbols)
    objects = {id(value): value for value in symbols.values() if declared_interface(type(value)) is not None}
    for served in objects.values():
        found += schemas_of(served, ServiceLimits())
    return found


def _of_methods(served: object, interface: ServiceInterface, given: ServiceLimits) -> list[ServiceSchema]:
    schemas = []
    for method in interface.methods:
        name = interface.service_name(method)
        given.check(name)
        schemas.append(ServiceSchema.of(getattr(served, method.attribute), given.with_defaults(method.limits), name))
    return schemas
