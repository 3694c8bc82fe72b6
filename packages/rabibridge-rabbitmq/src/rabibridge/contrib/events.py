"""Streams as server-sent events, for frameworks that have no module of their own here.

For Starlette and FastAPI, ``SSEResponse`` does the same and more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge._gateway.events import EVENT_HEADERS, encode_event, end_event
from rabibridge._gateway.json_text import to_json
from rabibridge._gateway.problems import log_problem, problem_of
from rabibridge_core.errors import RabiBridgeError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Mapping

    from rabibridge_core.errors import ServiceError

__all__ = ["EVENT_HEADERS", "event_stream", "sync_event_stream"]


async def event_stream(
    stream: AsyncIterable[Any], statuses: Mapping[str | type[ServiceError], int] | None = None
) -> AsyncGenerator[bytes, None]:
    """Yield the items of a stream as server-sent events, and how it ended as the last one: ``end`` or ``error``.

    Closing this generator closes the stream, which stops the function.

    Args:
        stream: the stream.
        statuses: as for :func:`rabibridge.contrib.problems.problem_of`, which makes the data of ``error``.

    Raises:
        RabiBridgeError: the stream has failed before its first item, so that an HTTP status can say it.
    """
    number = 0
    try:
        async for item in stream:
            number += 1
            yield encode_event(to_json(item), id=str(number))
        yield end_event("end", {"received": number})
    except RabiBridgeError as error:
        if not number:
            raise
        yield _failure(error, statuses)
    finally:
        if (close := getattr(stream, "aclose", None)) is not None:
            await close()


def sync_event_stream(
    stream: Iterable[Any], statuses: Mapping[str | type[ServiceError], int] | None = None
) -> Generator[bytes, None, None]:
    """Yield the same for a stream of the synchronous client.

    Raises:
        RabiBridgeError: the stream has failed before its first item.
    """
    number = 0
    try:
        for item in stream:
            number += 1
            yield encode_event(to_json(item), id=str(number))
        yield end_event("end", {"received": number})
    except RabiBridgeError as error:
        if not number:
            raise
        yield _failure(error, statuses)
    finally:
        if (close := getattr(stream, "close", None)) is not None:
            close()


def _failure(error: RabiBridgeError, statuses: Mapping[str | type[ServiceError], int] | None) -> bytes:
    problem = problem_of(error, statuses)
    log_problem(error, problem, "a stream of events")
    return end_event("error", problem.body)
