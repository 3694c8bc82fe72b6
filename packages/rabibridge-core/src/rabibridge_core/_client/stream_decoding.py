"""Decodes the messages of one stream: on the event loop, or in a thread if that may take long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_core._protocol.large_bodies import LargeBodyError, off_loop
from rabibridge_core._protocol.payloads import decode_reply
from rabibridge_core._protocol.streams import decode_items, part_context

if TYPE_CHECKING:
    from rabibridge_core._client.stream_state import StreamState
    from rabibridge_core._codec.codec import Codec
    from rabibridge_core.transport import Reply

__all__ = ["decode_next", "decode_next_off_loop", "decode_result"]


def decode_next(codec: Codec, state: StreamState, correlation_id: bytes) -> list[Any]:
    """Return the items of the first message.

    Raises:
        LargeBodyError: a thread must decode it.
        RabiBridgeError: as :func:`decode_items`.
    """
    return decode_items(codec, state.messages[0], part_context(correlation_id, state.next_index))


async def decode_next_off_loop(codec: Codec, state: StreamState, correlation_id: bytes) -> list[Any] | None:
    """Let a thread decode the first message; return its items, or ``None`` if it was dropped meanwhile.

    Raises:
        RabiBridgeError: as :func:`decode_items`.
    """
    message, context = state.messages[0], part_context(correlation_id, state.next_index)
    items = await off_loop(decode_items, codec, message, context)
    return items if state.messages and state.messages[0] is message else None


async def decode_result(codec: Codec, reply: Reply, name: str, correlation_id: bytes) -> Any:
    """Return what the function ``name`` has returned, or raise its error.

    Raises:
        RabiBridgeError: as :func:`decode_reply`.
    """
    try:
        return decode_reply(codec, reply, name, correlation_id)
    except LargeBodyError:
        return await off_loop(decode_reply, codec, reply, name, correlation_id)
