"""Control requests: what a caller asks the workers themselves, not their services. An optional part of a transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.transport.messages import Headers, Reply

__all__ = ["ControlReceiver", "ControlRequest"]


class ControlRequest(Protocol):
    """One control request, as one of the workers received it. It is in no queue, and need not be answered."""

    @property
    def reply_address(self) -> bytes:
        """Where its answers go, as the asker knows it."""
        ...

    @property
    def user(self) -> str:
        """The user of the broker that sent it, if the broker vouches for that; empty if that is not known."""
        ...

    @property
    def correlation_id(self) -> bytes:
        """The asker's identifier of the request."""
        ...

    @property
    def body(self) -> bytes:
        """What is asked."""
        ...

    @property
    def content_type(self) -> str | None:
        """How that is encoded; ``None`` if the sender does not say."""
        ...

    @property
    def content_encoding(self) -> str | None:
        """How it is compressed; ``None`` if the sender does not say."""
        ...

    @property
    def headers(self) -> Headers:
        """All headers."""
        ...

    def reply(self, reply: Reply, /) -> None:
        """Send the answer. It is lost, without any other effect, if the asker is gone or the connection is lost."""
        ...


@runtime_checkable
class ControlReceiver(Protocol):
    """A transport whose workers can be asked. Optional."""

    async def receive_control(self, key: str, received: Callable[[ControlRequest], None], /) -> None:
        """Receive what callers send with :meth:`Caller.broadcast` to the routing key ``key``, until it is closed.

        Each request is passed on once, beside all requests to services: it counts against no ``fetch_size``, and
        arrives even if there are no consumers, or if all of them have stopped. After the loss of a connection, requests
        arrive again with the next one. It is called once, on a transport that was connected.

        Best effort: if the broker refuses it, for example because of a missing permission, that is logged and no
        requests arrive.
        """
        ...
