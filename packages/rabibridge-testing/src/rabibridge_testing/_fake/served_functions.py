"""What a function must be so that the fake broker can serve it without a server."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rabibridge_core._server.executors import validator
from rabibridge_core._server.process_executor import check_can_run_in_child
from rabibridge_core._server.stream_sessions import FILLED
from rabibridge_core._services.injection import injections_of, longer_lived
from rabibridge_core.errors import RegistrationError

if TYPE_CHECKING:
    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["checked"]


def checked(schema: ServiceSchema) -> ServiceSchema:
    """Return the service with what its parameters need.

    Raises:
        RegistrationError: it needs a server, cannot run in a child process, or cannot be validated.
    """
    injections = injections_of(schema.func_ptr, filled=FILLED if schema.resumable else {})
    if injections is not None and (names := longer_lived(injections.needs)):
        raise RegistrationError(
            f"service {schema.name!r}: {', '.join(map(repr, names))} lives longer than a call, and the fake broker "
            "has no lifespan: add the service to a server, and use 'async with server.serving():'"
        )
    schema = replace(schema, injections=injections)
    if schema.executor == "process":
        check_can_run_in_child(schema)
    if schema.validate:
        validator(schema)
    return schema
