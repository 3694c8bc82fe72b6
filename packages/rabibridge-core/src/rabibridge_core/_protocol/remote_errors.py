"""How a failure on the worker travels to the caller: as text and data, never as a pickled exception."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING, Any, Final

from rabibridge_core._protocol.headers import ERROR_KIND, ERROR_MESSAGE, ERROR_TYPE
from rabibridge_core.errors import ConnectionLostError, InvalidArgumentsError, RemoteExecutionError

if TYPE_CHECKING:
    from types import CodeType, TracebackType

    from rabibridge_core.transport import Headers

__all__ = [
    "DEAD",
    "EXECUTION",
    "INVALID_ARGUMENTS",
    "MALFORMED_REPLY",
    "REDELIVERED",
    "REQUEST_REJECTED",
    "RESULT_UNSENDABLE",
    "decode_error",
    "encode_error",
    "is_engine_code",
]

EXECUTION: Final = "execution"
"""The handler raised."""
INVALID_ARGUMENTS: Final = "arguments"
"""Signature or validation refused the arguments; the handler did not run."""
REQUEST_REJECTED: Final = "request"
"""The worker could not or would not read the request; the handler did not run."""
RESULT_UNSENDABLE: Final = "result"
"""The handler ran; its result cannot be encoded, or is too large."""

REDELIVERED: Final = "redelivered"
"""The request of an at-most-once service may have been begun by a worker that is gone; it is not run again."""
DEAD: Final = "dead"
"""The request was given to workers too often without an answer; it is in the dead-letter queue."""
MALFORMED_REPLY: Final = "reply"
"""The reply is not of a form that RabiBridge knows. Never sent: the client finds it."""

_ENGINE_FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
_HEADER_LIMIT = 1024
_TRACEBACK_LIMIT = 64 * 1024
_NOT_RUN = (INVALID_ARGUMENTS, REQUEST_REJECTED)


def encode_error(error: BaseException, kind: str) -> tuple[str, dict[str, str]]:
    """Return the traceback text and the headers that tell a caller of ``error``; both are bounded in size."""
    text = "".join(traceback.format_exception(type(error), error, _without_own_frames(error.__traceback__)))
    if len(text) > _TRACEBACK_LIMIT:
        half = _TRACEBACK_LIMIT // 2
        text = f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
    text = _encodable(text)
    cls = type(error)
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 - a user's __str__ may raise anything, and the caller must be answered
        message = f"<{cls.__qualname__}.__str__ raised {type(broken).__qualname__}>"
    headers = {
        ERROR_KIND: kind,
        ERROR_TYPE: _short(f"{cls.__module__}.{cls.__qualname__}"),
        ERROR_MESSAGE: _short(message),
    }
    return text, headers


def _encodable(text: str) -> str:
    """Replace what no encoding can carry: lone surrogates, as in names of files."""
    return text.encode("utf-8", "backslashreplace").decode()


def _short(text: str) -> str:
    """Cut to what a header may take: all headers together must fit into one frame."""
    return text.encode("utf-8", "backslashreplace")[:_HEADER_LIMIT].decode("utf-8", "ignore")


def is_engine_code(code: CodeType) -> bool:
    """Tell whether a frame runs code of this package, which says nothing about what a handler does."""
    return code.co_filename.startswith(_ENGINE_FOLDER)


def _without_own_frames(tb: TracebackType | None) -> TracebackType | None:
    """Leave out the frames between the worker's loop and the handler: they say nothing about the failure."""
    start = tb
    while start is not None and is_engine_code(start.tb_frame.f_code):
        start = start.tb_next
    return start or tb


def decode_error(
    result: Any, headers: Headers, func_name: str, correlation_id: str
) -> RemoteExecutionError | ConnectionLostError:
    """Return the error that a failed reply stands for; headers that a peer does not send are done without."""
    kind = _text(headers, ERROR_KIND)
    if kind == REDELIVERED:
        return ConnectionLostError(
            f"call of {func_name!r} (id {correlation_id}): the worker that had it is gone, and it may have run; the "
            "service is at-most-once, so it is not run again",
            accepted=True,
        )
    remote_traceback = result if isinstance(result, str) else "" if result is None else repr(result)[:_TRACEBACK_LIMIT]
    error_type, message = _text(headers, ERROR_TYPE), _text(headers, ERROR_MESSAGE)
    if not error_type:
        lines = remote_traceback.strip().splitlines()
        error_type, _, message = (
            lines[-1].partition(": ") if lines else ("", "", "the reply is not of the form [code, result]")
        )
    cls = InvalidArgumentsError if kind == INVALID_ARGUMENTS else RemoteExecutionError
    error = cls(
        f"{func_name!r} failed on the worker: {error_type}: {message}" if error_type else f"{func_name!r}: {message}",
        func_name=func_name,
        correlation_id=correlation_id,
        error_type=error_type,
        error_message=message,
        remote_traceback=remote_traceback,
    )
    if kind in _NOT_RUN:
        error.executed = False
    elif kind == DEAD:
        error.executed = None
    if remote_traceback:
        error.add_note(f"On the worker:\n{remote_traceback.rstrip()}")
    return error


def _text(headers: Headers, name: str) -> str:
    value = headers.get(name, "")
    return value if isinstance(value, str) else ""
