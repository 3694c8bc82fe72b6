"""The bodies of requests that are more than a plain call: streams and uploads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_core._codec.receiving import LargeBodyError
from rabibridge_core._protocol.payloads import (
    StreamRequestError,
    UnreadableRequestError,
    decode_request,
    stream_arguments,
)
from rabibridge_core._protocol.streams import STREAM, UPLOAD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core.transport import IncomingRequest

__all__ = ["decode_stream_request"]


def decode_stream_request(
    codec: Codec, request: IncomingRequest, on_loop: bool = True
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return the arguments of a request, whether its body says that it is more than a plain call or not.

    Raises:
        LargeBodyError: as :func:`decode_request`.
        UnreadableRequestError: as :func:`decode_request`.
    """
    if STREAM not in request.headers and UPLOAD not in request.headers:
        try:
            return decode_request(codec, request, on_loop)
        except StreamRequestError as found:
            return found.arguments
    try:
        value = codec.decode(
            request.body, request.content_type, request.content_encoding, request.correlation_id, on_loop
        )
    except LargeBodyError:
        raise
    except BaseException as error:
        raise UnreadableRequestError from error  # a serializer may raise anything
    if isinstance(value, list | tuple) and len(value) == 2:
        value = [*value, True]
    return stream_arguments(value)
