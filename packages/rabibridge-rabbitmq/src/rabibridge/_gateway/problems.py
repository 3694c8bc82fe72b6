"""Errors as problem details (RFC 9457): a status, a JSON object and headers."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from rabibridge._gateway.json_text import to_json
from rabibridge._gateway.statuses import CLIENT_CLOSED_REQUEST, Answer, answer_for
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import TextBlock, get_logger
from rabibridge_core.errors import CircuitOpenError, QueueFullError, RabiBridgeError, RemoteExecutionError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Problem", "ServiceStatuses", "log_problem", "problem_for", "problem_of"]

_log = get_logger(__name__)

ServiceStatuses = "Mapping[str | type[ServiceError], int]"


@dataclass(frozen=True)
class Problem:
    """What an HTTP response says about an error.

    Attributes:
        status: the HTTP status.
        body: the problem details: ``type``, ``title``, ``status``, ``detail`` and ``code``, a short name of the
            problem; ``correlation_id`` of the call, by which logs can be searched; ``retry_after`` in seconds;
            ``fields`` of a declared error; ``received``, the number of items of a stream before it.
        headers: the headers of the response: the content type, and ``Retry-After`` for 503.
    """

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the body of the response."""
        return json.dumps(self.body).encode()


def problem_for(answer: Answer, **members: Any) -> Problem:
    """Return a problem with these further members."""
    title = "Client Closed Request" if answer.status == CLIENT_CLOSED_REQUEST else HTTPStatus(answer.status).phrase
    body = {
        "type": "about:blank",
        "title": title,
        "status": answer.status,
        "detail": answer.detail,
        "code": answer.code,
        **members,
    }
    headers = {"content-type": "application/problem+json", "cache-control": "no-store"}
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = str(members.get("retry_after") or 1)
    return Problem(answer.status, body, headers)


def problem_of(
    error: RabiBridgeError,
    statuses: Mapping[str | type[ServiceError], int] | None = None,
    *,
    details: bool = False,
) -> Problem:
    """Return the response for an error of a call.

    It holds no text of the error, because that may name hosts, users or what only the service should know: each class
    of errors has one sentence. An error that a service declares is told with its code and fields if ``statuses`` names
    it, and is an internal error else.

    Example, in a framework of which RabiBridge knows nothing::

        problem = problem_of(error, {OutOfStock: 409})
        return Response(problem.encode(), problem.status, problem.headers)

    Args:
        error: the error.
        statuses: the HTTP statuses of declared errors, by class or by code.
        details: tell the text of the error as well; for networks where everybody may see it. The traceback of a worker
            is never told.
    """
    answer, members = answer_for(error), dict[str, Any]()
    if isinstance(error, RemoteExecutionError) and error.code and statuses:
        status = _status_of(error, statuses)
        if status is not None:
            answer = Answer(status, error.code, str(error) if isinstance(error, ServiceError) else error.error_message)
            members["fields"] = json.loads(to_json(error.fields))
    if details:
        answer = answer._replace(detail=str(error))
    if correlation_id := getattr(error, "correlation_id", ""):
        members["correlation_id"] = correlation_id
    if isinstance(error, QueueFullError | CircuitOpenError):
        members["retry_after"] = max(1, math.ceil(error.retry_after or 1))
    if error.received is not None:
        members["received"] = error.received
    return problem_for(answer, **members)


def log_problem(error: RabiBridgeError, problem: Problem, what: str) -> None:
    """Log an error whose text the browser does not get; refusals, of which there may be many, at DEBUG."""
    if problem.status in (500, 502):
        traceback = getattr(error, "remote_traceback", "")
        _log.error(
            "%s: %s: %s%s",
            what,
            type(error).__name__,
            error,
            TextBlock("\n" + traceback if traceback else ""),
            extra=log_fields("gateway.failed", error=error),
        )
    else:
        _log.debug(
            "%s: answered with %s: %s", what, problem.status, error, extra=log_fields("gateway.refused", error=error)
        )


def _status_of(error: RemoteExecutionError, statuses: Mapping[str | type[ServiceError], int]) -> int | None:
    for cls in type(error).__mro__:
        if issubclass(cls, ServiceError) and cls in statuses:
            return statuses[cls]
    code = error.code or ""
    if code in statuses:
        return statuses[code]
    by_code = {cls.code: status for cls, status in statuses.items() if isinstance(cls, type)}
    return by_code.get(code)
