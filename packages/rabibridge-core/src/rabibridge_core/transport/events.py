"""The events that a transport reports to the engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Collection, Sized

    from rabibridge_core.errors import (
        ConfigurationError,
        ConnectionLostError,
        ContentRejectedError,
        NoRouteError,
        QueueFullError,
    )
    from rabibridge_core.transport.messages import Headers, IncomingBroadcast, IncomingRequest, Reply

__all__ = ["CallerEvents", "ConsumerEvents", "CopyVoucher", "FeedRefusal", "PendingCalls", "Refusal"]

Refusal: TypeAlias = "type[QueueFullError] | type[NoRouteError]"
FeedRefusal: TypeAlias = "Refusal | type[ContentRejectedError]"


class CallerEvents(Protocol):
    """What a :class:`Caller` reports about the requests that it was given."""

    def replied(self, correlation_id: bytes, reply: Reply, /) -> None:
        """Called for each reply. It may be late, a duplicate, or for a call that was never made."""
        ...

    def refused(self, correlation_id: bytes, refusal: Refusal, detail: str, /) -> None:
        """Called when the broker has refused a request for this reason; it is in no queue."""
        ...

    def feed_refused(self, correlation_id: bytes, refusal: FeedRefusal, detail: str, /) -> None:
        """Called when the broker has refused a message that was sent by :meth:`Caller.feed`.

        NoRouteError: the connection of the worker is gone. QueueFullError: too much that it has not read waits for it.
        ContentRejectedError: it is larger than the broker accepts; that may come before :meth:`lost`.
        """
        ...

    def confirmed(self, correlation_id: bytes, /) -> None:
        """Called when the broker has accepted a notification or a broadcast; it is not called for other requests.

        A broadcast that no worker can get is refused before.
        """
        ...

    def not_permitted(self, routing_key: str, error: ConfigurationError, unconfirmed: Collection[bytes], /) -> None:
        """Called before :meth:`lost` when the broker refuses this user all requests to one routing key.

        Args:
            routing_key: as in the requests.
            error: says which permission is missing.
            unconfirmed: the correlation ids of the requests that the broker has not confirmed; those to this routing
                key were refused.
        """
        ...

    def too_large(self, limit: int, unconfirmed: Collection[bytes], /) -> None:
        """Called when the broker has refused a request because it accepts no body of more than ``limit`` bytes.

        Args:
            limit: in bytes.
            unconfirmed: the correlation ids of the requests that the broker has not confirmed; those that are larger
                were refused.
        """
        ...

    def lost(self, error: ConnectionLostError | ConfigurationError, unconfirmed: Collection[bytes], /) -> None:
        """Called when the connection is lost, and with it all replies to what was sent so far.

        Args:
            error: why. A ConfigurationError says that the broker refuses what was sent because of a missing permission.
            unconfirmed: the correlation ids of the requests that the broker has not confirmed.
        """
        ...


@runtime_checkable
class PendingCalls(Protocol):
    """Events of a :class:`Caller` whose receiver knows which of its calls wait for a reply. Optional.

    A transport may send requests otherwise when there are many.
    """

    @property
    def pending(self) -> Sized:
        """The calls that wait, always the same object. That of the request that is being sent is among them."""
        ...


class ConsumerEvents(Protocol):
    """What a :class:`Consumer` reports to the server that owns it."""

    def received(self, request: IncomingRequest, /) -> None:
        """Called for each request. It counts against ``fetch_size`` until it is settled."""
        ...

    def broadcast_received(self, request: IncomingBroadcast, /) -> None:
        """Called for each broadcast to the service. It does not count against ``fetch_size``.

        Not called once :meth:`Consumer.stop` was called.
        """
        ...

    def lost(self, error: ConnectionLostError, /) -> None:
        """Called when a connection or channel is lost: its unsettled requests are void and will be redelivered.

        :attr:`IncomingRequest.void` says which ones. It is also called after :meth:`Transport.close` if requests are in
        flight, and when the queue was deleted under requests that can still be answered, if others may come before
        those are settled.
        """
        ...

    def reply_refused(self, request: IncomingRequest, error: ContentRejectedError, /) -> None:
        """Called when the broker does not accept the reply to a request because of its size.

        The request is not settled yet: it is to be replied to once more, with the error.
        """
        ...

    def cancelled(self, caller: bytes, correlation_id: bytes, user: str = "", /) -> None:
        """Called when a caller has cancelled a call. It may be in flight here or elsewhere, or may yet arrive.

        ``user`` is the user of the broker that has sent the cancellation, as for :attr:`IncomingRequest.user`.
        """
        ...

    def fed(self, caller: bytes, correlation_id: bytes, message: Reply, user: str = "", /) -> None:
        """Called with a message that a caller has sent to the :attr:`IncomingRequest.address` of this request.

        ``user`` is the user of the broker that has sent the message, as for :attr:`IncomingRequest.user`. Those of one
        caller arrive in the order in which they were sent. It may be for a request that is not, or no longer, processed
        here.
        """
        ...

    def caller_gone(self, caller: bytes, /) -> None:
        """Called when a caller's connection is gone: nobody waits for its calls any longer."""
        ...


@runtime_checkable
class CopyVoucher(Protocol):
    """Events whose receiver wants to recognise the copies of a request that a transport makes. Optional.

    A transport that replaces a request in its queue by a copy asks for it, and adds to the copy what is returned.
    """

    def vouch_for(self, request: IncomingRequest, /) -> Headers:
        """Return the headers to add to a copy of a request, in place of those of the same names."""
        ...
