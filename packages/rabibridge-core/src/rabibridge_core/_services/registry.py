"""The services of one server, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._services.callables import place_of
from rabibridge_core.errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["Registry"]


class Registry:
    """The services of one server, by name."""

    def __init__(self) -> None:
        """Start empty."""
        self._services: dict[str, ServiceSchema] = {}

    def add(self, schema: ServiceSchema) -> None:
        """Add a service; without effect if it is registered already with the same limits.

        Raises:
            RegistrationError: the name is registered for another function, or with other limits.
        """
        known = self._services.get(schema.name)
        if known is not None and known != schema:
            if known.func_ptr == schema.func_ptr:  # methods are made anew for each access
                raise RegistrationError(
                    f"service {schema.name!r}: {place_of(schema.func_ptr)} is already registered with other limits: "
                    f"{known}"
                )
            raise _two_functions(known, schema)
        self._services[schema.name] = schema

    def check(self, schemas: Iterable[ServiceSchema]) -> None:
        """Check that no two functions, of these services and those that are registered, have the same name.

        Raises:
            RegistrationError: two have.
        """
        names = dict(self._services)
        for schema in schemas:
            known = names.setdefault(schema.name, schema)
            if known.func_ptr != schema.func_ptr:
                raise _two_functions(known, schema)

    def replace(self, schema: ServiceSchema) -> None:
        """Register a service, replacing the one with its name."""
        self._services[schema.name] = schema

    def remove(self, name: str) -> None:
        """Remove a service; without effect if there is none of that name."""
        self._services.pop(name, None)

    def __iter__(self) -> Iterator[ServiceSchema]:
        """Iterate over a copy of the services, in the order in which they were added."""
        return iter(list(self._services.values()))

    def __len__(self) -> int:
        """Return the number of services."""
        return len(self._services)

    def __contains__(self, name: object) -> bool:
        """Tell whether a service has that name."""
        return name in self._services

    def get(self, name: str) -> ServiceSchema | None:
        """Return the service of that name, or ``None``."""
        return self._services.get(name)


def _two_functions(one: ServiceSchema, other: ServiceSchema) -> RegistrationError:
    return RegistrationError(
        f"service {one.name!r}: two functions have this name: {place_of(one.func_ptr)} and {place_of(other.func_ptr)}; "
        "rename one of them, or give it another name with name=..."
    )
