"""The header that carries a signature, and the one value that is signed with it.

What is signed is one value of all fields that matter, each with its length: with which key, the direction (a reply is
never taken for a request), the namespace, the target, the call, the reply address, the deadline, how the body is
encoded, the headers and the body. docs/protocol.md specifies it.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from rabibridge_core._security.fields import ABSENT, MARKS, bytes_field, encode_headers, join, text_field
from rabibridge_core.errors import SignatureError
from rabibridge_core.transport import Reply

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
    "Words",
    "bound_bytes",
    "format_signature",
    "format_signer",
    "known_start",
    "parse_signature",
    "signed_headers",
    "signed_start",
    "words_of",
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

_VERSION: Final = b"1"
_NONE: Final = b"-"
_PURPOSE: Final = b"rabibridge signature 1"
_NOT_SIGNED: Final = frozenset(
    (
        SIGNATURE, VOUCHED, "rb-timeout", "rb-deadline", "rb-probe", "rb-bundles", "rb-broadcast", "rb-deliveries",
        "rb-user", "rb-deaths", "rb-dead-reason", "rb-dead-queue", "rb-dead-at", "rb-dead-by",
        "CC", "BCC", "x-death", "x-delivery-count", "x-acquired-count", "x-original-expiration", "x-expired-count",
    )
)  # fmt: skip
_NOT_SIGNED_PREFIXES: Final = ("x-first-death-", "x-last-death-", "x-opt-", "x-received-from", "x-shovelled")
_SHOWN_MAX: Final = 300
_NAME_MAX: Final = 64
_DIGITS_MAX: Final = 18
_PERSISTENT, _TRANSIENT = bytes_field(b"1"), bytes_field(b"0")
_TO_URL_SAFE, _FROM_URL_SAFE = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")
_new_tuple = tuple.__new__  # takes half the time of the constructor of a NamedTuple


Content: TypeAlias = Reply
"""What a message holds: a reply has the same parts as any other."""


class Words(NamedTuple):
    """What a signature says of a message that differs from one message of a sender to the next, as it is signed.

    Attributes:
        number: the number of the message among those of the sender.
        sent: when it was sent, in milliseconds since 1970.
        until: the deadline of the call, in milliseconds since 1970; ``-``: none.
        target: where it was sent to; ``-``: to nowhere in particular.
    """

    number: bytes
    sent: bytes
    until: bytes
    target: bytes


class Claims(NamedTuple):
    """What a signature says beside the message itself.

    Attributes:
        key_id: the key.
        sender: the client or server that has signed, by a random name of each connection.
        words: what differs between its messages.
        signature: the signature.
    """

    key_id: str
    sender: str
    words: Words
    signature: bytes

    @property
    def target(self) -> str:
        """Where it was sent to; empty: to nowhere in particular."""
        target = self.words.target
        return "" if target == _NONE else target.decode("utf-8", "surrogatepass")


@lru_cache(maxsize=1024)
def _is_signed(name: str) -> bool:
    return name not in _NOT_SIGNED and not name.startswith(_NOT_SIGNED_PREFIXES)


def signed_headers(headers: Headers | None) -> dict[str, HeaderValue]:
    """Return the headers that are signed: all but those that a transport, a worker or the broker adds on the way."""
    return {name: value for name, value in headers.items() if _is_signed(name)} if headers else {}


def signed_start(direction: Direction, namespace: str, key_id: str, sender: str) -> bytes:
    """Return how all begins that one sender signs in one direction."""
    return join(_PURPOSE, direction.encode(), namespace.encode(), key_id.encode(), sender.encode())


known_start = lru_cache(maxsize=1024)(signed_start)  # for senders of which messages come again and again


def bound_bytes(
    start: bytes,
    words: Words,
    correlation_id: bytes,
    reply_address: bytes | None,
    persistent: bool,
    content: Content,
) -> bytes:
    """Return all that is signed, except the body: the same bytes are bound to what is encrypted.

    Args:
        start: what :func:`signed_start` returns.
        words: what the signature says of the message.
        correlation_id: the call that the message belongs to.
        reply_address: where the reply goes; ``None``: that is not signed.
        persistent: whether the broker stores the message.
        content: the message, with no headers but those that are signed.
    """
    number, sent, until, target = words
    _, content_type, content_encoding, headers = content
    return b"".join(
        (
            start,
            MARKS[len(number)], number,
            MARKS[len(sent)], sent,
            ABSENT if until == _NONE else MARKS[len(until)] + until,
            MARKS[0] if target == _NONE else MARKS[len(target)] + target,
            MARKS[len(correlation_id)], correlation_id,
            ABSENT if reply_address is None else MARKS[len(reply_address)] + reply_address,
            _PERSISTENT if persistent else _TRANSIENT,
            text_field(content_type),
            ABSENT if content_encoding is None else text_field(content_encoding),
            bytes_field(encode_headers(headers)) if headers else MARKS[0],
        )
    )  # fmt: skip


def words_of(number: int, sent: float, timeout: float | None, target: str) -> Words:
    """Return what is signed of a message: ``sent`` in seconds since 1970, ``timeout`` in seconds from then on."""
    return _new_tuple(
        Words,
        (
            b"%d" % number,
            b"%d" % (sent * 1000),
            _NONE if timeout is None else b"%d" % ((sent + timeout) * 1000),
            target.encode("utf-8", "surrogatepass") or _NONE,
        ),
    )


def format_signature(signer: bytes, words: Words, signature: bytes) -> str:
    """Return the value of the header; ``signer`` is what :func:`format_signer` returns."""
    encoded = b2a_base64(signature, newline=False).translate(_TO_URL_SAFE, b"=")
    return b" ".join((signer, *words, encoded)).decode("utf-8", "surrogatepass")


def format_signer(key_id: str, sender: str) -> bytes:
    """Return the first words of the header: version, key and sender."""
    return b"%b %b %b" % (_VERSION, key_id.encode(), sender.encode())


def parse_signature(value: object) -> Claims:
    """Return what the header says.

    Raises:
        SignatureError: it has no form that is known here.
    """
    try:
        if not isinstance(value, str):
            raise ValueError
        version, key_id, sender, number, sent, until, target, encoded = value.encode("utf-8", "surrogatepass").split(
            b" "
        )
        if (
            version != _VERSION
            or not 0 < len(key_id) <= _NAME_MAX
            or len(sender) > _NAME_MAX
            or not (number.isdigit() and len(number) <= _DIGITS_MAX)
            or not (sent.isdigit() and len(sent) <= _DIGITS_MAX)
            or not (until == _NONE or (until.isdigit() and len(until) <= _DIGITS_MAX))
        ):
            raise ValueError
        signature = a2b_base64(encoded.translate(_FROM_URL_SAFE) + b"==="[: -len(encoded) % 4], strict_mode=True)
        words = _new_tuple(Words, (number, sent, until, target))
        return _new_tuple(Claims, (key_id.decode("ascii"), sender.decode("ascii"), words, signature))
    except ValueError:
        raise SignatureError(f"the signature {repr(value)[:_SHOWN_MAX]} has no form that is known here") from None
