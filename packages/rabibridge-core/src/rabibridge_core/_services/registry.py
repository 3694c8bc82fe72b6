"""The services of one server, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._services.schema import place_of
from rabibridge_core.errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["Registry"]


class Registry:
    """The services of one server, by name."""

    def __init__(self) -> None:
        """Start with none."""
        self._services: dict[str, ServiceSchema] = {}

    def add(self, schema: ServiceSchema) -> None:
        """Add a service; adding the same function with the same limits again does no harm.

        Raises:
            RegistrationError: another function, or the same with other limits, has that name.
        """
        known = self._services.get(schema.name)
        if known is not None and known != schema:
            if known.func_ptr is schema.func_ptr:
                raise RegistrationError(f"{place_of(schema.func_ptr)} is already served with other limits: {known}")
            raise RegistrationError(
                f"two functions want to be the service {schema.name!r}: {place_of(known.func_ptr)} "
                f"and {place_of(schema.func_ptr)}; rename one"
            )
        self._services[schema.name] = schema

    def replace(self, schema: ServiceSchema) -> None:
        """Put another function or other limits under a name."""
        self._services[schema.name] = schema

    def remove(self, name: str) -> None:
        """Forget a service; without effect if there is none."""
        self._services.pop(name, None)

    def __iter__(self) -> Iterator[ServiceSchema]:
        """Go through the services in the order in which they were added."""
        return iter(list(self._services.values()))

    def __len__(self) -> int:
        """Return how many services there are."""
        return len(self._services)

    def __contains__(self, name: object) -> bool:
        """Tell whether a service has that name."""
        return name in self._services

    def get(self, name: str) -> ServiceSchema | None:
        """Return the service of that name."""
        return self._services.get(name)
