"""How a failure on the worker reaches the caller: as text and headers, never as a pickled exception."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from rabibridge_core._protocol.headers import (
    ERROR_KEY_ID,
    ERROR_KIND,
    ERROR_MESSAGE,
    ERROR_TYPE,
    ERROR_TYPES,
    EXIT_CODE,
    REFUSAL,
    RETRY_AFTER,
)
from rabibridge_core._protocol.service_errors import as_declared
from rabibridge_core._reporting.error_text import block, class_names, message_of, printable, told, traceback_of
from rabibridge_core._reporting.user_frames import is_of_user
from rabibridge_core.errors import (
    AccessDeniedError,
    CallError,
    ConnectionLostError,
    DeadlineTooShortError,
    InvalidArgumentsError,
    KeyUnknownError,
    QueueFullError,
    RabiBridgeError,
    RemoteExecutionError,
    ReplayMemoryFullError,
    RunTimeoutError,
    SignatureError,
    WorkerCrashedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import CodeType, TracebackType

    from rabibridge_core.transport import Headers, HeaderValue

__all__ = [
    "ACCESS_DENIED",
    "CRASHED",
    "DEAD",
    "DEADLINE_TOO_SHORT",
    "EXECUTION",
    "FULL",
    "INVALID_ARGUMENTS",
    "MALFORMED_REPLY",
    "OVERRAN",
    "REDELIVERED",
    "REFUSALS",
    "REQUEST_REJECTED",
    "RESULT_UNSENDABLE",
    "STREAM_STOPPED",
    "WAITED_TOO_LONG",
    "RemoteTraceback",
    "decode_error",
    "encode_error",
    "failure_headers",
    "is_engine_code",
    "remote_traceback",
]

RemoteTraceback: TypeAlias = Literal["full", "user", "message", "none"]
"""What callers are told of an exception: the traceback, without the frames of libraries, the message, or nothing."""

EXECUTION: Final = "execution"
"""The handler raised."""
INVALID_ARGUMENTS: Final = "arguments"
"""The arguments do not fit the signature, or validation rejected them; the handler did not run."""
REQUEST_REJECTED: Final = "request"
"""The worker could not read the request, or must not; the handler did not run."""
ACCESS_DENIED: Final = "denied"
"""The service is not for this caller; its request was not read."""
RESULT_UNSENDABLE: Final = "result"
"""The handler ran; its result cannot be encoded or is too large."""

CRASHED: Final = "crashed"
"""The child process that ran the handler has crashed."""
REDELIVERED: Final = "redelivered"
"""The request of an at-most-once service may have been started by a worker that is gone; it is not run again."""
DEAD: Final = "dead"
"""The request was redelivered too often without an answer; it is in the dead-letter queue."""
OVERRAN: Final = "overran"
"""The handler ran longer than the ``run_timeout`` of its service, and was stopped."""
STREAM_STOPPED: Final = "stopped"
"""The worker was stopped in the middle of a stream or an upload: another one can go on if the service is resumable."""
MALFORMED_REPLY: Final = "reply"
"""The reply is not of a form that RabiBridge knows. Never sent: the client finds it."""

DEADLINE_TOO_SHORT: Final = "deadline"
"""The function cannot return in the time that the call has left; it did not run. It is sent as ``request``, which peers
of older versions know, with this in a header of its own."""

WAITED_TOO_LONG: Final = "wait"
"""The call has waited longer than its service allows; it did not run. It is sent as the one above."""

FULL: Final = "full"
"""A worker has refused the call as a full queue does: its turn would come too late, or its caller has its share of the
places; it did not run. It is sent as the one above."""

REFUSALS: Final[dict[str, tuple[type[SignatureError], bool | None]]] = {
    "signature": (SignatureError, False),
    "key": (KeyUnknownError, False),
    "replay-memory": (ReplayMemoryFullError, False),
    "reply-signature": (SignatureError, None),
    "reply-key": (KeyUnknownError, None),
}
"""Why a message was refused unread, with the error and whether the call may have run. The last two are never sent: the
client finds them."""

_ENGINE_FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
_HEADER_LIMIT = 1024
_TYPES_LIMIT = 768
_CUT = " [...]"
"""The end of a header value that was cut."""
_TRACEBACK_LIMIT = 64 * 1024
_CLASSES: dict[str, type[RemoteExecutionError]] = {
    INVALID_ARGUMENTS: InvalidArgumentsError,
    CRASHED: WorkerCrashedError,
    OVERRAN: RunTimeoutError,
}
_ADMISSION = (DEADLINE_TOO_SHORT, WAITED_TOO_LONG, FULL)
"""Why a worker does not run calls that it could run."""
_IN_WORKER = (REQUEST_REJECTED, ACCESS_DENIED, CRASHED, OVERRAN, *_ADMISSION, *REFUSALS)
"""What was raised in the worker itself is reported without a traceback."""
_OWN = (*_IN_WORKER, DEAD, REDELIVERED, STREAM_STOPPED)
"""Of these kinds, the text of an error of RabiBridge is its own: it says nothing of what a handler does."""
_UNTOLD_NAMES = ("builtins.Exception", "builtins.BaseException")
_UNTOLD = "the service does not tell its callers why (remote_traceback='none'); the log of the worker does"
_NOT_RUN = (INVALID_ARGUMENTS, REQUEST_REJECTED)


def encode_error(
    error: BaseException, kind: str, remark: str = "", detail: RemoteTraceback = "full"
) -> tuple[str, Headers]:
    """Return the traceback and the headers that report ``error`` to the caller, both bounded in size.

    It raises nothing, whatever the class of the exception does.

    Args:
        error: what was raised.
        kind: where it was raised. What was raised in the worker itself is reported without a traceback.
        remark: the message to report if the exception has none.
        detail: how much the caller is told. With ``"none"``, it still gets what RabiBridge itself has to say.
    """
    if kind == REQUEST_REJECTED and isinstance(error, QueueFullError) and error.retry_after is not None:
        kind = FULL
    names: tuple[str, ...]
    if detail == "none" and not (kind in _OWN and issubclass(type(error), RabiBridgeError)):
        names, message = _UNTOLD_NAMES, _UNTOLD
    else:
        names, message = class_names(type(error)), message_of(error) or remark
    brief = kind in _IN_WORKER or detail in ("message", "none")
    text = f"{names[0]}: {_short(message)}" if brief else remote_traceback(error, only_user=detail == "user")
    headers: dict[str, HeaderValue] = {**failure_headers(kind, names, message)}
    if kind in (WAITED_TOO_LONG, FULL) and isinstance(error, QueueFullError) and error.retry_after is not None:
        headers[RETRY_AFTER] = float(error.retry_after)
    return text, headers


def failure_headers(kind: str, names: Sequence[str], message: str) -> dict[str, str]:
    """Return the headers of a reply that reports a failure.

    Args:
        kind: where it failed.
        names: the names of the exception's class and of its base classes.
        message: its message.
    """
    refusal = {REFUSAL: kind} if kind in _ADMISSION else {}
    return {
        ERROR_KIND: REQUEST_REJECTED if refusal else kind,
        **refusal,
        ERROR_TYPE: _short(names[0]),
        ERROR_TYPES: ",".join(_fitting(names)),
        ERROR_MESSAGE: _short(message),
    }


def _fitting(names: Sequence[str]) -> Iterator[str]:
    size = 0
    for name in names:
        size += len(name.encode("utf-8", "backslashreplace")) + 1
        if size <= _TYPES_LIMIT and "," not in name:
            yield _encodable(name)


def remote_traceback(error: BaseException, *, only_user: bool = False) -> str:
    """Return the traceback of what a handler raised, without the frames that called the handler, bounded in size.

    ``only_user``: without the frames of installed packages and of Python as well.
    """
    text = traceback_of(error, lambda: _frames_of_handler(error.__traceback__), is_of_user if only_user else None)
    if len(text) > _TRACEBACK_LIMIT:
        half = _TRACEBACK_LIMIT // 2
        text = f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
    return _encodable(text)


def _frames_of_handler(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and _is_engine_frame(frames):
        frames = frames.tb_next
    return frames


def _encodable(text: str) -> str:
    """Replace what UTF-8 cannot encode: lone surrogates, as in file names."""
    return text.encode("utf-8", "backslashreplace").decode()


def _short(text: str) -> str:
    """Shorten a header value, and mark it then: all headers together must fit into one frame."""
    encoded = text[: _HEADER_LIMIT + 1].encode("utf-8", "backslashreplace")
    if len(encoded) <= _HEADER_LIMIT:
        return encoded.decode()
    return encoded[: _HEADER_LIMIT - len(_CUT)].decode("utf-8", "ignore") + _CUT


def is_engine_code(code: CodeType) -> bool:
    """Tell whether a frame runs code of this package, which says nothing about what a handler does."""
    return code.co_filename.startswith(_ENGINE_FOLDER)


def _is_engine_frame(tb: TracebackType) -> bool:
    return is_engine_code(tb.tb_frame.f_code)


def decode_error(
    result: Any, headers: Headers, func_name: str, correlation_id: str
) -> CallError | ConnectionLostError | SignatureError:
    """Return the error that a failure reply reports. Peers may omit the headers."""
    kind = _text(headers, ERROR_KIND)
    if kind in REFUSALS:
        refused, executed = REFUSALS[kind]
        who, why = "the reply" if executed is None else "a worker", _text(headers, ERROR_MESSAGE)
        verb = "is refused" if executed is None else "refuses the request"
        text = f"call of {func_name!r} (id {correlation_id}): {who} {verb}: {why}"
        return refused(told(text), key_id=_text(headers, ERROR_KEY_ID), executed=executed)
    if kind == REDELIVERED:
        return ConnectionLostError(
            f"call of {func_name!r} (id {correlation_id}): the worker that had it is gone, and it may have run; the "
            "service is at-most-once, so it is not run again",
            accepted=True,
        )
    if kind == ACCESS_DENIED:
        denial = told(_text(headers, ERROR_MESSAGE)) or f"{func_name!r} is not for this caller"
        return AccessDeniedError(denial, func_name=func_name, correlation_id=correlation_id)
    if kind == REQUEST_REJECTED and (refusal := _text(headers, REFUSAL)) in _ADMISSION:
        return _refused(refusal, headers, func_name, correlation_id)
    text = result if isinstance(result, str) else "" if result is None else repr(result)[:_TRACEBACK_LIMIT]
    remote_traceback = printable(text, lines=True)
    error_type, message = _text(headers, ERROR_TYPE), _text(headers, ERROR_MESSAGE)
    types = _text(headers, ERROR_TYPES)
    if not error_type:
        lines = remote_traceback.strip().splitlines()
        error_type, _, message = (
            lines[-1].partition(": ") if lines else ("", "", "the reply is not of the form [code, result]")
        )
    cls = _CLASSES.get(kind, RemoteExecutionError)
    what = "was stopped on the worker" if kind == OVERRAN else f"failed on the worker: {error_type}"
    error = cls(
        told(f"{func_name!r} {what}: {message}" if error_type else f"{func_name!r}: {message}"),
        func_name=func_name,
        correlation_id=correlation_id,
        error_type=error_type,
        error_types=tuple(types.split(",")) if types else (error_type,) if error_type else (),
        error_message=message,
        remote_traceback=remote_traceback,
    )
    if kind in _NOT_RUN:
        error.executed = False
    elif isinstance(error, WorkerCrashedError):
        code = headers.get(EXIT_CODE)
        error.exit_code = code if isinstance(code, int) and not isinstance(code, bool) else None
    elif kind == DEAD:
        error.executed = None
    if remote_traceback:
        error.add_note(f"On the worker:\n{block(remote_traceback)}")
    return as_declared(error, headers) if kind in ("", EXECUTION) else error


def _refused(refusal: str, headers: Headers, func_name: str, correlation_id: str) -> CallError:
    why = f"call of {func_name!r} refused: {told(_text(headers, ERROR_MESSAGE))}"
    if refusal == DEADLINE_TOO_SHORT:
        return DeadlineTooShortError(why, func_name=func_name, correlation_id=correlation_id, executed=False)
    after = headers.get(RETRY_AFTER)
    known = float(after) if isinstance(after, float | int) and 0.0 <= after < math.inf else None
    return QueueFullError(why, func_name=func_name, correlation_id=correlation_id, retry_after=known)


def _text(headers: Headers, name: str) -> str:
    value = headers.get(name, "")
    return value if isinstance(value, str) else ""
