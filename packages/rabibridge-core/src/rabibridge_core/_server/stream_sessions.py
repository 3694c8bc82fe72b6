"""The streams and uploads that run on a worker: one session for each request that has one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rabibridge_core._observability.call_context import current_call
from rabibridge_core._protocol.identity import sender_of
from rabibridge_core._protocol.streams import CANCEL, CREDIT, PART, START, read_index
from rabibridge_core._services.depends import Depends
from rabibridge_core._services.streams import START_AT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._server.generators import ThreadItems
    from rabibridge_core._server.stream_parts import PartWriter
    from rabibridge_core._server.streams import StreamSender
    from rabibridge_core._server.uploads import UploadReader
    from rabibridge_core._services.depends import Dependency
    from rabibridge_core.transport import Reply

__all__ = ["FILLED", "StreamSession", "StreamSessions"]


async def _start_at() -> int:
    return read_index(current_call().headers, START) or 0


_mark: Any = Depends(_start_at)
FILLED: Final[Mapping[str, Dependency]] = {START_AT: _mark}
"""What the server fills in for resumable functions."""


class StreamSession:
    """What belongs to one request that streams, or has an argument that is fed."""

    __slots__ = ("active", "key", "parts", "reader", "sender", "start", "thread_items")

    def __init__(self, active: ActiveRequest, parts: PartWriter, start: int) -> None:
        """Begin with nothing but the means to send parts; ``start``: the index of the first item to send."""
        self.active = active
        self.key = (active.request.caller, active.request.correlation_id, sender_of(active.request))
        self.parts = parts
        self.start = start
        self.sender: StreamSender | None = None
        self.reader: UploadReader | None = None
        self.thread_items: ThreadItems | None = None

    @property
    def sent(self) -> int:
        """How many items of the stream were sent, including those of runs before this one."""
        return self.start if self.sender is None else self.sender.sent

    @property
    def begun(self) -> bool:
        """Whether something was sent, or taken of an upload, so that another worker cannot begin anew unnoticed."""
        return self.sent > self.start or (self.reader is not None and self.reader.begun)

    def fed(self, message: Reply) -> None:
        """Called with a further message of the caller; one that says nothing that can be is ignored."""
        kind = (message.headers or {}).get(PART)
        if kind == CREDIT:
            consumed = read_index(message.headers)
            if self.sender is not None and consumed is not None:
                self.sender.credit(consumed)
        elif self.reader is not None and isinstance(kind, str) and kind != CANCEL:
            self.reader.fed(kind, message)

    def open(self) -> None:
        """Tell the caller where to send its upload."""
        if self.reader is not None and not self.reader.stopped:
            self.parts.open()

    def leave_last(self) -> bool:
        """Leave the last items to the reply, if they are all that is left, after the function has ended."""
        return self.sender is not None and self.thread_items is None and self.sender.leave_last()

    async def finish(self) -> None:
        """Send what was yielded, after the function has ended.

        Raises:
            UnsendableItemError: an item cannot be sent.
        """
        self.check()
        if self.thread_items is not None:
            await self.thread_items.drained()
        if self.sender is not None:
            await self.sender.finish()

    def check(self) -> None:
        """Raise the error of an item that cannot be sent.

        Raises:
            UnsendableItemError: there is one.
        """
        if self.sender is not None:
            self.sender.check()

    def stop(self) -> None:
        """Send and read nothing from now on; a thread that waits for its caller goes on at once."""
        if self.sender is not None:
            self.sender.stop()
        if self.thread_items is not None:
            self.thread_items.stop()
        if self.reader is not None:
            self.reader.stop()

    def failed(self) -> None:
        """Called when an item cannot be sent: its function is interrupted."""
        if self.thread_items is not None:
            self.thread_items.stop()
        elif self.active.interruptible and self.active.task is not None:
            self.active.task.cancel()


class StreamSessions:
    """The sessions of one service. Messages for requests that have none are dropped."""

    __slots__ = ("_by_id", "_by_request", "_items_before")

    def __init__(self) -> None:
        """Start empty."""
        self._by_request: dict[ActiveRequest, StreamSession] = {}
        self._by_id: dict[tuple[bytes, bytes, str], StreamSession] = {}
        self._items_before = 0

    def __len__(self) -> int:
        """Return the number of sessions."""
        return len(self._by_request)

    def add(self, session: StreamSession) -> None:
        """Let a session get the messages of its caller from now on."""
        self._by_request[session.active] = session
        self._by_id[session.key] = session

    def of(self, active: Any) -> StreamSession | None:
        """Return the session of a request; ``None``: it has none."""
        return self._by_request.get(active)

    def remove(self, active: ActiveRequest) -> None:
        """Forget the session of a request, if it has one."""
        session = self._by_request.pop(active, None)
        # A request that was delivered again has another session with the same id, while the first one still ends.
        if session is not None:
            self._items_before += session.sent - session.start
        if session is not None and self._by_id.get(session.key) is session:
            del self._by_id[session.key]

    @property
    def items_sent(self) -> int:
        """How many items were sent, by all streams up to now; it may be asked in any thread."""
        return self._items_before + sum(session.sent - session.start for session in list(self._by_request.values()))

    def fed(self, key: tuple[bytes, bytes, str], message: Reply) -> bool:
        """Called with a further message for the session with this key; returns whether it cancels its call."""
        session = self._by_id.get(key)
        if session is None:
            return False
        session.fed(message)
        return (message.headers or {}).get(PART) == CANCEL
