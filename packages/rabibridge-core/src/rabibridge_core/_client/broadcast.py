"""Broadcasts as users see them: calls of every worker of a service, each of which answers with its name."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rabibridge_core._client.broadcast_state import BroadcastState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from rabibridge_core.errors import RabiBridgeError

__all__ = ["Broadcast", "BroadcastReply"]

ResultT = TypeVar("ResultT")


class BroadcastReply(Generic[ResultT]):
    """What one worker has answered to a broadcast.

    Attributes:
        worker: the name of the worker: that of its server, such as ``RMQServer@host:4711``.
        error: why there is no result: what the function raised there, as a :class:`RemoteExecutionError`, or why the
            worker could not run it; ``None``: there is one.
        shard: the name of the broker, if the client is one of several brokers; else ``None``.
    """

    __slots__ = ("_result", "error", "shard", "worker")

    def __init__(self, worker: str, result: ResultT | None, error: RabiBridgeError | None) -> None:
        """Store the answer; made by the client."""
        self.worker = worker
        self.shard: str | None = None
        self.error = error
        self._result: Any = result

    @property
    def ok(self) -> bool:
        """Whether there is a result."""
        return self.error is None

    @property
    def result(self) -> ResultT:
        """What the function returned.

        Raises:
            RabiBridgeError: the :attr:`error`, if there is one.
        """
        if self.error is not None:
            raise self.error
        result: ResultT = self._result
        return result

    def __repr__(self) -> str:
        """Show worker and answer."""
        answer = f"result={self._result!r}" if self.error is None else f"error={self.error!r}"
        where = "" if self.shard is None else f" shard={self.shard!r}"
        return f"<{type(self).__name__} worker={self.worker!r}{where} {answer}>"


class Broadcast(Generic[ResultT]):
    """A call of every worker of a service: iterate over it with ``async for`` to send it and to get the replies.

    The iteration ends when every worker has answered, or at the timeout without an error; :attr:`missing` and
    :attr:`silent` say then who has not answered. Leaving it early cancels the function on the workers that still run
    it. It can be iterated over once.
    """

    def __init__(self, send: Callable[[BroadcastState], AsyncGenerator[BroadcastReply[Any], None]], name: str) -> None:
        """Send by ``send``; ``name`` is that of the service. Made by the client."""
        self._send = send
        self._name = name
        self._state: BroadcastState | None = None

    def __repr__(self) -> str:
        """Show what is known."""
        state = self._state
        heard = "not sent" if state is None else f"{len(state.answered)} answers, {len(state.waiting)} missing"
        return f"<{type(self).__name__} of {self._name!r}: {heard}>"

    def __aiter__(self) -> AsyncGenerator[BroadcastReply[ResultT], None]:
        """Send it, and return the replies as they arrive.

        Raises:
            RuntimeError: it was iterated over before.
        """
        if self._state is not None:
            raise RuntimeError(
                f"this broadcast of {self._name!r} was sent already: call client.broadcast() again to send another one"
            )
        self._state = BroadcastState(self._name)
        return self._send(self._state)

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the workers that have received it and have not answered so far."""
        return () if self._state is None else tuple(self._state.waiting.values())

    @property
    def silent(self) -> int | None:
        """The number of workers that take calls of the service and have not said that they received the broadcast.

        They stand still, have lost their connection, or run a version that knows no broadcasts. ``None``: the broker
        does not tell how many workers there are, or nothing was sent yet.
        """
        return None if self._state is None else self._state.silent

    @property
    def failed(self) -> Mapping[str, RabiBridgeError]:
        """Why no more replies come from some of several brokers, by their names; empty with one broker.

        ``NoRouteError``: nobody serves it there. When it is that for all brokers, or when all have failed, iterating
        over the broadcast raises the error.
        """
        return {}

    @property
    def complete(self) -> bool:
        """Whether every worker of the service has answered."""
        return self._state is not None and self._state.complete

    def __del__(self) -> None:
        """Warn if it was never sent."""
        if getattr(self, "_state", self) is None:
            warnings.warn(
                f"a broadcast of {self._name!r} was never sent: iterate over it with 'async for'",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )
