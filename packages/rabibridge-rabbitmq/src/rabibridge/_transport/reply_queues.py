"""Which addresses a worker replies to.

A reply goes to the queue that the request names, with the permissions of the worker. A caller could therefore name a
queue that it may not write to itself. So a worker replies only to names that queues for replies have.
"""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

from rabibridge._amqp.reply_to import DIRECT_REPLY_TO, direct_reply_node
from rabibridge._connection.names import DEAD_LETTERS, SERVER_NAMED
from rabibridge_core._protocol.naming import queue_name, split_namespace

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ReplyQueues"]

_DEFAULT_FORMS = (re.escape(SERVER_NAMED.decode()) + ".+", "amq_[0-9a-f]{32}")
"""Queues that the broker names, and those that aio-pika's robust connections name. Nobody can guess either."""
_SERVICE_QUEUES = tuple(queue_name("", is_async=is_async) for is_async in (True, False))


class ReplyQueues:
    """The queues that a worker replies to."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Allow the names that match one of ``patterns`` (shell wildcards), besides the usual ones."""
        forms = (*_DEFAULT_FORMS, *(fnmatch.translate(pattern) for pattern in patterns))
        self._allowed = re.compile("|".join(f"(?:{form})" for form in forms), re.DOTALL)

    def refusal(self, reply_to: bytes) -> str:
        """Return why nothing is sent to this address, as a clause; empty if it is allowed."""
        name = reply_to.decode("utf-8", "backslashreplace")
        if reply_to.startswith(DIRECT_REPLY_TO):
            return "" if direct_reply_node(reply_to) else f"reply_to {name!r} is a malformed direct reply-to address"
        if self._allowed.fullmatch(name) and not split_namespace(name)[1].startswith((*_SERVICE_QUEUES, DEAD_LETTERS)):
            return ""
        return (
            f"reply_to {name!r} is not the name of a queue for replies: use a queue that the broker names, direct "
            "reply-to, or a name that the setting reply_queues of the worker allows"
        )
