"""The form of direct reply-to addresses.

RabbitMQ before 4.2 closes the connection of whoever sends a message to an address that it cannot decode, so that a
worker must look at the address in a request before it replies.
"""

from __future__ import annotations

import base64
import re

__all__ = ["DIRECT_REPLY_TO", "caller_address", "direct_reply_node"]

DIRECT_REPLY_TO = b"amq.rabbitmq.reply-to"
"""RabbitMQ's pseudo-queue for replies, and the prefix of the reply_to of requests that use it."""

_ADDRESS = re.compile(re.escape(DIRECT_REPLY_TO) + rb"\.([A-Za-z0-9+/]{24,128}={0,2})\.[A-Za-z0-9+/]{22}==")
"""The identifier of a process in the broker and a key of 16 bytes, both as base64."""
_PROCESS = re.compile(rb"\x83([Xg])(?:v(..)|w(.))((?:generated|reply)@[0-9]{1,10}).{8}(.{4}|.)", re.DOTALL)
"""An Erlang pid in the external term format, whose node name is a hash: ``reply@`` since RabbitMQ 4.2 and in patches of
earlier versions, ``generated@`` otherwise."""


def caller_address(reply_to: bytes) -> bytes:
    """Return the reply address of a request as its caller has given it: the broker completes direct reply-to."""
    return DIRECT_REPLY_TO if reply_to.startswith(DIRECT_REPLY_TO + b".") else reply_to


def direct_reply_node(address: bytes) -> bytes | None:
    """Return which node of the broker a direct reply-to address belongs to; ``None`` if the address is malformed."""
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        return None
    try:
        process = base64.b64decode(parts[1], validate=True)
    except ValueError:
        return None
    found = _PROCESS.fullmatch(process)
    if found is None or base64.b64encode(process) != parts[1]:
        return None
    kind, long_size, short_size, node, creation = found.groups()
    fits = int.from_bytes(long_size or short_size, "big") == len(node) and len(creation) == (4 if kind == b"X" else 1)
    return node if fits else None
