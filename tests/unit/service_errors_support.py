"""Declared errors for tests, what a worker answers with them, and what a client reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - the annotations of fields are used
from decimal import Decimal  # noqa: TC003 - as above
from enum import Enum
from typing import Any

from rabibridge import ServiceError
from rabibridge_core._protocol.remote_errors import decode_error
from tests.unit.scripted_requests import ScriptedRequest, make_service, until

FAILURE_HEADERS = {"rb-error": "execution", "rb-error-type": "shop.SoldOut", "rb-error-message": "no more"}


class SoldOut(ServiceError, code="tests.sold_out"):
    sku: str
    left: int = 0


class Detailed(ServiceError, code="tests.detailed"):
    pairs: list[tuple[str, int]]
    sizes: dict[str, float] | None


class Colour(Enum):
    RED = "red"


@dataclass
class Line:
    price: Decimal
    count: int = 1


class Rich(ServiceError, code="tests.rich"):
    at: datetime
    colour: Colour
    lines: list[Line]
    names: set[str]
    raw: bytes = b"\x00"


class Anything(ServiceError, code="tests.anything"):
    value: Any = None


async def answer(error: BaseException, **limits: Any) -> ScriptedRequest:
    """Return the request of a call of a function that raises ``error``."""

    async def fails() -> None:
        raise error

    service = make_service(fails, **limits)
    request = ScriptedRequest()
    service.received(request)
    await until(lambda: request.settled)
    await service.stop(0)
    return request


def decoded(headers: dict[str, Any], body: Any = "Traceback ...") -> Any:
    """Return the error that a client makes of a reply with these headers besides the usual ones."""
    return decode_error(body, {**FAILURE_HEADERS, **headers}, "buy", "17")
