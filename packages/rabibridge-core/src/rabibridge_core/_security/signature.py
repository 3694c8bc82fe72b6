"""The header that carries a signature, and the one value that is signed with it.

What is signed is one value of all fields that matter, each with its length: with which key, the direction (a reply is
never taken for a request), the namespace, the target, the call, the reply address, the deadline, how the body is
encoded, the headers and the body. docs/protocol.md specifies it.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from rabibridge_core._security.fields import encode_headers, join
from rabibridge_core.errors import SignatureError

if TYPE_CHECKING:
    from rabibridge_core.transport import Headers, HeaderValue

__all__ = [
    "CANCEL_PARTS",
    "ENCRYPTED",
    "ENCRYPTED_TYPE",
    "SIGNATURE",
    "VOUCHED",
    "Claims",
    "Content",
    "Direction",
    "bound_bytes",
    "format_signature",
    "optional_bytes",
    "optional_text",
    "parse_signature",
    "signed_headers",
]

SIGNATURE: Final = "rb-signature"
"""In every signed message: its signature, and what was signed with it that the message does not say otherwise."""
VOUCHED: Final = "rb-vouched"
"""In a copy of a request that a worker has made to count its redeliveries: the signature of that worker."""
ENCRYPTED: Final = "rb-encrypted"
"""In a message whose body is encrypted: the id of the key."""
ENCRYPTED_TYPE: Final = "application/vnd.rabibridge.encrypted"
"""The content type of an encrypted body."""
CANCEL_PARTS: Final = 8
"""The words of a signature."""

Direction: TypeAlias = Literal["request", "broadcast", "feed", "cancel", "reply", "copy"]

_VERSION: Final = "1"
_PURPOSE: Final = b"rabibridge signature 1"
_NOT_SIGNED: Final = frozenset(
    (
        SIGNATURE, VOUCHED, "rb-timeout", "rb-deadline", "rb-probe", "rb-broadcast", "rb-deliveries", "rb-user",
        "rb-deaths", "rb-dead-reason", "rb-dead-queue", "rb-dead-at", "rb-dead-by",
        "CC", "BCC", "x-death", "x-delivery-count", "x-acquired-count", "x-original-expiration", "x-expired-count",
    )
)  # fmt: skip
_NOT_SIGNED_PREFIXES: Final = ("x-first-death-", "x-last-death-", "x-opt-", "x-received-from", "x-shovelled")
_SHOWN_MAX: Final = 300
_KEY_ID_MAX: Final = 64
_DIGITS_MAX: Final = 18


class Content(NamedTuple):
    """What a message holds.

    Attributes:
        body: its body.
        content_type: how it is encoded.
        content_encoding: how it is compressed.
        headers: all its headers.
    """

    body: bytes
    content_type: str | None
    content_encoding: str | None
    headers: Headers | None


class Claims(NamedTuple):
    """What a signature says beside the message itself.

    Attributes:
        key_id: the key.
        sender: the client or server that has signed, by a random name of each connection.
        number: the number of the message among those of the sender.
        sent: when it was sent, in milliseconds since 1970.
        deadline: the deadline of the call, in milliseconds since 1970; ``None``: none.
        target: where it was sent to; empty: to nowhere in particular.
        signature: the signature.
    """

    key_id: str
    sender: str
    number: int
    sent: int
    deadline: int | None
    target: str
    signature: bytes = b""


def signed_headers(headers: Headers) -> dict[str, HeaderValue]:
    """Return the headers that are signed: all but those that a transport, a worker or the broker adds on the way."""
    return {
        name: value
        for name, value in headers.items()
        if name not in _NOT_SIGNED and not name.startswith(_NOT_SIGNED_PREFIXES)
    }


def bound_bytes(
    direction: Direction,
    namespace: str,
    claims: Claims,
    correlation_id: bytes,
    reply_address: bytes | None,
    persistent: bool,
    content: Content,
) -> bytes:
    """Return all that is signed, except the body: the same bytes are bound to what is encrypted."""
    return join(
        _PURPOSE,
        direction.encode(),
        namespace.encode(),
        claims.key_id.encode(),
        claims.sender.encode(),
        b"%d" % claims.number,
        b"%d" % claims.sent,
        None if claims.deadline is None else b"%d" % claims.deadline,
        claims.target.encode("utf-8", "surrogatepass"),
        correlation_id,
        reply_address,
        b"1" if persistent else b"0",
        optional_bytes(content.content_type),
        optional_bytes(content.content_encoding),
        encode_headers(content.headers or {}),
    )


def format_signature(claims: Claims, signature: bytes) -> str:
    """Return the value of the header: version, key, sender, number, times, target and signature."""
    key_id, sender, number, sent, deadline, target, _ = claims
    encoded = base64.urlsafe_b64encode(signature).decode().rstrip("=")
    until = "-" if deadline is None else deadline
    return f"{_VERSION} {key_id} {sender} {number} {sent} {until} {target or '-'} {encoded}"


def parse_signature(value: object) -> Claims:
    """Return what the header says.

    Raises:
        SignatureError: it has no form that is known here.
    """
    parts = value.split(" ") if isinstance(value, str) else []
    try:
        version, key_id, sender, number, sent, deadline, target, encoded = parts
        if (
            version != _VERSION
            or not 0 < len(key_id) <= _KEY_ID_MAX
            or not key_id.isascii()
            or len(sender) > _KEY_ID_MAX
        ):
            raise ValueError
        return Claims(
            key_id,
            sender,
            _number(number),
            _number(sent),
            None if deadline == "-" else _number(deadline),
            "" if target == "-" else target,
            base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)),
        )
    except ValueError:
        raise SignatureError(f"the signature {repr(value)[:_SHOWN_MAX]} has no form that is known here") from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise ValueError
    return int(text)


def optional_bytes(text: str | None) -> bytes | None:
    """Encode a text that may be missing."""
    return None if text is None else text.encode("utf-8", "surrogatepass")


def optional_text(value: bytes | None) -> str | None:
    """Decode a text that may be missing."""
    return None if value is None else value.decode("utf-8", "surrogatepass")
