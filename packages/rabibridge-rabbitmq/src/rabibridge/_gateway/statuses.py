"""Which HTTP status each error becomes. This is the one table; docs/gateways.md shows it.

The rule: 503 says that nothing ran and that the request may be sent again. 502 says that the answer of the backend is
missing or unusable, and 504 that it did not come in time; the function may have run. 500 says that it ran and failed,
or that this program is wrong: nobody should send such a request again by himself, as proxies do with 502 to 504.
"""

from __future__ import annotations

from typing import NamedTuple

from rabibridge_core import errors

__all__ = ["CLIENT_CLOSED_REQUEST", "STATUSES", "Answer", "answer_for"]

CLIENT_CLOSED_REQUEST = 499
"""The status of a request whose browser has gone away; only logs and middleware see it."""


class Answer(NamedTuple):
    """What a browser is told.

    Attributes:
        status: the HTTP status.
        code: names the problem for programs.
        detail: says it to people; the same text for every error of the class, so that it holds no secret.
    """

    status: int
    code: str
    detail: str


_FAILED = "The service failed while it worked on the request."
_UNUSABLE = "The service could not be asked, or its answer cannot be used."
_WRONG = "The gateway is not set up correctly."

STATUSES: dict[type[errors.RabiBridgeError], Answer] = {
    errors.RabiBridgeError: Answer(500, "error", "The request failed."),
    errors.ConfigurationError: Answer(500, "configuration", _WRONG),
    errors.RegistrationError: Answer(500, "registration", _WRONG),
    errors.PluginError: Answer(500, "plugin", _WRONG),
    errors.SerializationError: Answer(500, "serialization", "A value of the request or of its answer cannot be sent."),
    errors.ContentRejectedError: Answer(502, "content_rejected", _UNUSABLE),
    errors.SignatureError: Answer(502, "signature", _UNUSABLE),
    errors.KeyUnknownError: Answer(502, "key_unknown", _UNUSABLE),
    errors.ReplayMemoryFullError: Answer(503, "busy", "The service is busy. Nothing was done; try again later."),
    errors.ConnectionLostError: Answer(502, "connection_lost", "The connection to the service was lost."),
    errors.CallError: Answer(500, "call", "The request failed."),
    errors.QueueFullError: Answer(503, "queue_full", "The service is busy. Nothing was done; try again later."),
    errors.CircuitOpenError: Answer(
        503, "circuit_open", "The service fails at the moment. Nothing was done; try again later."
    ),
    errors.NoRouteError: Answer(502, "no_route", "Nobody offers the service that this request needs."),
    errors.AccessDeniedError: Answer(403, "access_denied", "This is not allowed."),
    errors.DeadlockError: Answer(500, "deadlock", _FAILED),
    errors.CallTimeoutError: Answer(504, "timeout", "The service did not answer in time."),
    errors.DeadlineTooShortError: Answer(504, "too_late", "There was too little time left. Nothing was done."),
    errors.StreamError: Answer(502, "stream_broken", "The stream broke off before its end."),
    errors.RemoteExecutionError: Answer(500, "failed", _FAILED),
    errors.InvalidArgumentsError: Answer(422, "invalid_arguments", "The arguments are not what the service takes."),
    errors.RunTimeoutError: Answer(504, "run_timeout", "The service took longer than it may."),
    errors.WorkerCrashedError: Answer(502, "crashed", "The service crashed while it worked on the request."),
    errors.ServiceError: Answer(500, "failed", _FAILED),
}
"""The answers; the nearest class counts."""

_NOT_SENT = Answer(
    503, "unavailable", "The service cannot be reached at the moment. Nothing was done; try again later."
)
_TOO_LARGE = Answer(413, "too_large", "The request is larger than the service accepts.")


def answer_for(error: errors.RabiBridgeError) -> Answer:
    """Return what a browser is told about an error, if the application does not say more."""
    answer = next(STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES)
    if isinstance(error, errors.ConnectionLostError) and error.executed is False:
        return _NOT_SENT
    if type(error) is errors.ContentRejectedError and error.executed is False:
        return _TOO_LARGE
    return answer
