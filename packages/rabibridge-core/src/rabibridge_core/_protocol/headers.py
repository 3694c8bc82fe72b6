"""Names of the headers that travel with requests and replies, and what a header may hold.

Headers of one transport alone, such as the deadline on RabbitMQ, are defined there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeGuard

from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rabibridge_core.transport import HeaderValue

__all__ = [
    "ACCEPT_ENCODING",
    "ANSWERED_AT",
    "CHAIN",
    "CRITICALITY",
    "ERROR_CODE",
    "ERROR_FIELDS",
    "ERROR_KEY_ID",
    "ERROR_KIND",
    "ERROR_MESSAGE",
    "ERROR_TYPE",
    "ERROR_TYPES",
    "EXIT_CODE",
    "HEDGE",
    "IDEMPOTENCY_KEY",
    "IDEMPOTENT",
    "KEY_LEARNED",
    "NAMES_USER",
    "RECEIVED",
    "REFUSAL",
    "RESENT",
    "RESERVED_PREFIX",
    "RETRY_AFTER",
    "TRACEPARENT",
    "TRACEPARENT_SIZE",
    "WORKER",
    "WORKER_ID",
    "CheckedHeaders",
    "check_call_headers",
    "check_idempotency_key",
    "is_call_header",
    "is_idempotency_key",
]

RESERVED_PREFIX: Final = "rb-"
"""Header names that begin with this belong to RabiBridge."""
ACCEPT_ENCODING: Final = "rb-accept-encoding"
"""In a request: the content encodings that the caller reads, separated by commas; ``identity`` always is one."""
CHAIN: Final = "rb-chain"
"""In a request that a function makes: the calls that wait for it, from ``call_chains``."""
CRITICALITY: Final = "rb-criticality"
"""In a request: the class of criticality that its caller names, whether the service has classes or not. Calls that the
function makes inherit it."""
IDEMPOTENCY_KEY: Final = "rb-key"
"""In a request: a worker runs one of the calls with the same key and answers all of them."""
KEY_LEARNED: Final = "rb-key-learned"
"""In a request: ``True`` if the caller has not asked for its key; an earlier reply said that the service is
idempotent."""
NAMES_USER: Final = "rb-names-user"
"""In a request with a key: ``True`` if all further messages of the call name the user that sends them, as the request
does. Callers of versions without this header name it in such requests alone."""
RESENT: Final = "rb-resent"
"""In a request: ``True`` if it was sent before, on a connection that was lost, and may have run then."""
HEDGE: Final = "rb-hedge"
"""In a request: ``True`` if it is the second copy of a call whose first copy has no answer yet. It has the same key.
In a reply to it: ``True`` if the worker has declined it, since it runs the first copy itself."""
IDEMPOTENT: Final = "rb-idempotent"
"""In a reply: ``True`` if the service may run a call twice."""
ERROR_KIND: Final = "rb-error"
"""In a reply: why there is no result; one of the kinds in ``remote_errors``."""
REFUSAL: Final = "rb-refusal"
"""In a reply of the kind ``request``: why the worker has not run the call, which it could read:
``deadline``, ``wait`` or ``full``."""
RETRY_AFTER: Final = "rb-retry-after"
"""In a reply with a refusal ``wait`` or ``full``: after how many seconds such a call might start."""
ERROR_TYPE: Final = "rb-error-type"
"""In a reply: the qualified name of the exception that was raised."""
ERROR_TYPES: Final = "rb-error-types"
"""In a reply: that name and those of the base classes, separated by commas."""
ERROR_MESSAGE: Final = "rb-error-message"
"""In a reply: the text of that exception."""
ERROR_CODE: Final = "rb-error-code"
"""In a reply: the code of the declared error that the function raised."""
ERROR_FIELDS: Final = "rb-error-fields"
"""In a reply: the fields of that error, a map: text is JSON, bytes are msgpack. An empty text: they cannot be sent."""
ERROR_KEY_ID: Final = "rb-error-key"
"""In a reply to a request that was refused unread: the id of the key that it names."""
EXIT_CODE: Final = "rb-exit-code"
"""In a reply of the kind ``crashed``: the exit code of the process that ran the call, negative for a signal."""
TRACEPARENT: Final = "traceparent"
"""In a request: the span of its caller, as W3C Trace Context defines it. Plug-ins write and read it."""
TRACEPARENT_SIZE: Final = 55
"""The length of such a header, in bytes."""
WORKER: Final = "rb-worker"
"""In a reply to a broadcast: the name of the worker."""
WORKER_ID: Final = "rb-worker-id"
"""In a reply to a broadcast: a text that no other worker has, the same in all replies of one worker."""
RECEIVED: Final = "rb-received"
"""In a reply to a broadcast: ``True`` if the worker only says that it has the broadcast; its answer follows."""
ANSWERED_AT: Final = "rb-time"
"""In an answer to a control request: when it was given, in seconds since 1970 by the clock of the worker."""

_KEY_MAX = 200
_NAME_MAX = 128
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_TEXT_MAX = 8192


class CheckedHeaders(dict[str, "HeaderValue"]):
    """Headers of a call that were checked before RabiBridge added its own to them."""

    __slots__ = ()


def check_idempotency_key(key: object) -> None:
    """Check an idempotency key that a caller chose.

    Raises:
        ConfigurationError: it is not a text of 1 to 200 characters that UTF-8 can encode.
    """
    if not is_idempotency_key(key):
        raise ConfigurationError(
            f"idempotency_key is {repr(key)[:80]}; it must be a text of 1 to {_KEY_MAX} characters"
        )


def is_idempotency_key(key: object) -> TypeGuard[str]:
    """Tell whether ``key`` can be an idempotency key: a text of 1 to 200 characters that UTF-8 can encode."""
    return isinstance(key, str) and 1 <= len(key) <= _KEY_MAX and _is_encodable(key)


def check_call_headers(headers: Mapping[str, object]) -> None:
    """Check the headers that a caller or a plug-in adds to a call.

    Raises:
        ConfigurationError: a name is not 1 to 128 printable ASCII characters or is reserved, or a value is not a text
            or bytes of at most 8 KiB, an integer of 64 bits, a float or a bool.
    """
    if type(headers) is CheckedHeaders:
        return
    for name, value in headers.items():
        if not _is_header_name(name):
            raise ConfigurationError(
                f"{repr(name)[:80]} is not a header name; use 1 to {_NAME_MAX} printable ASCII characters"
            )
        if name.lower().startswith(RESERVED_PREFIX):
            raise ConfigurationError(
                f"the header name {name!r} is reserved: names that begin with {RESERVED_PREFIX!r} belong to RabiBridge"
            )
        if not _is_header_value(value):
            raise ConfigurationError(
                f"the header {name!r} is {repr(value)[:80]}; it must be a text or bytes of at most {_TEXT_MAX} bytes, "
                "an integer of 64 bits, a float or a bool"
            )


def is_call_header(name: str, value: object) -> bool:
    """Tell whether :func:`check_call_headers` accepts a header."""
    return _is_header_name(name) and not name.lower().startswith(RESERVED_PREFIX) and _is_header_value(value)


def _is_header_name(name: object) -> bool:
    return isinstance(name, str) and 1 <= len(name) <= _NAME_MAX and name.isascii() and name.isprintable()


def _is_header_value(value: object) -> bool:
    if isinstance(value, int):  # a bool, too
        return _INT_MIN <= value <= _INT_MAX
    if isinstance(value, str):
        return _is_encodable(value) and len(value.encode()) <= _TEXT_MAX
    return isinstance(value, float) or (isinstance(value, bytes) and len(value) <= _TEXT_MAX)


def _is_encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)
