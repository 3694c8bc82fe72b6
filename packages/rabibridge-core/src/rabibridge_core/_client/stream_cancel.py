"""Cancels runs of calls that have ended: the cancellation of the call was sent before that worker had got it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._protocol.streams import CANCEL, PART, read_address
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import RabiBridgeError
from rabibridge_core.transport import Request

if TYPE_CHECKING:
    from rabibridge_core.transport import Caller, Reply

__all__ = ["cancel_run"]

_log = get_logger(__name__)


def cancel_run(caller: Caller | None, correlation_id: bytes, reply: Reply) -> None:
    """Cancel a run at its worker, if ``reply`` is the first part of one.

    It may be another run of a stream or an upload that had ended when its first worker was lost: nobody would read it,
    or feed it, and its function would wait until the deadline.
    """
    address = read_address(reply.headers)
    if caller is None or not address or PART not in (reply.headers or {}):  # else it has ended
        return
    headers = {PART: CANCEL}
    try:
        caller.feed(Request(address, correlation_id, b"", "application/octet-stream", None, None, headers))
    except RabiBridgeError as error:
        _log.debug(
            "a run of a call that has ended is not cancelled: %s", error,
            extra=log_fields("stream.not_cancelled", error=error),
        )  # fmt: skip
