"""Descriptions of services in the forms of others: OpenRPC, AsyncAPI, and modules of Python for callers.

``rabibridge schema`` and ``rabibridge stubs`` are these functions in a terminal; docs/schemas.md describes both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rabibridge_core._schemas.asyncapi import asyncapi_document
from rabibridge_core._schemas.changes import SchemaChange, changes_between
from rabibridge_core._schemas.openrpc import openrpc_document, read_openrpc
from rabibridge_core._schemas.python_module import client_module
from rabibridge_core._schemas.services import of_function, of_worker
from rabibridge_core.errors import ConfigurationError, RegistrationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self

    from rabibridge_core._schemas.services import DescribedService
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.introspection import ServiceStatus

__all__ = ["InterfaceDescription", "SchemaChange"]


@dataclass(frozen=True, slots=True)
class InterfaceDescription:
    """What services offer to callers: names, arguments, results, errors and limits.

    Example::

        described = InterfaceDescription.of_server(server.services)
        json.dumps(described.openrpc("shop", "1.4.0"))

    Attributes:
        failures: why services could not be described, by name: an annotation names what is not found.
        undescribed: what is described as any value because it has no JSON schema, as ``SERVICE: WHAT``.
    """

    failures: Mapping[str, str] = field(default_factory=dict)
    undescribed: tuple[str, ...] = ()
    _services: tuple[DescribedService, ...] = ()

    @classmethod
    def of_server(cls, services: Iterable[ServiceSchema]) -> Self:
        """Describe the services of a server, ``server.services``. No broker is needed."""
        undescribed: list[str] = []

        def describe(schema: ServiceSchema) -> DescribedService:
            service, notes = of_function(schema)
            undescribed.extend(f"{schema.name}: {note}" for note in notes)
            return service

        found, failures = _each(services, describe)
        return cls(failures, tuple(undescribed), found)

    @classmethod
    def of_workers(cls, services: Iterable[ServiceStatus]) -> Self:
        """Describe what running workers have told, ``await client.services()``. What they say is not trusted."""
        found, failures = _each((each for each in services if each.workers), of_worker)
        return cls(failures, (), found)

    @classmethod
    def of_openrpc(cls, document: object) -> Self:
        """Read an OpenRPC document, as ``json.load`` returns it. It is not trusted.

        Raises:
            ConfigurationError: it is no OpenRPC document, or names a service as none can be named.
        """
        return cls({}, (), read_openrpc(document))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the services, sorted."""
        return tuple(sorted({each.name for each in self._services}))

    def openrpc(self, title: str, version: str) -> dict[str, Any]:
        """Return an OpenRPC 1.3 document. ``title`` and ``version`` are those of the interface."""
        return openrpc_document(self._services, title, version)

    def asyncapi(self, title: str, version: str) -> dict[str, Any]:
        """Return an AsyncAPI 3 document: the queues, messages and replies that a program without RabiBridge needs."""
        return asyncapi_document(self._services, title, version)

    def client_module(self, title: str) -> str:
        """Return the source of a module that declares the services, for typed calls without their code.

        Raises:
            ConfigurationError: the schemas give no module that consists of declarations only.
        """
        return client_module(self._services, title)

    def changes_to(self, newer: InterfaceDescription) -> tuple[SchemaChange, ...]:
        """Return what callers notice if ``newer`` takes the place of this interface: what breaks them comes first."""
        return changes_between(self._services, newer._services)


def _each(
    services: Iterable[Any], describe: Callable[[Any], DescribedService]
) -> tuple[tuple[DescribedService, ...], dict[str, str]]:
    found: list[DescribedService] = []
    failures: dict[str, str] = {}
    for service in services:
        try:
            found.append(describe(service))
        except (RegistrationError, ConfigurationError) as error:
            failures[service.name] = str(error)
    return tuple(found), failures
