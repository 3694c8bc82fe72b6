"""Broadcasts over several brokers: one for each, whose replies come as they arrive."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from rabibridge_core._client.broadcast import Broadcast
from rabibridge_core._client.broadcast_state import BroadcastState
from rabibridge_core.errors import ConnectionLostError, NoRouteError, RabiBridgeError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from typing import TypeAlias

    from rabibridge_core._client.broadcast import BroadcastReply
    from rabibridge_core._client.shard_link import ShardLink

    Sender: TypeAlias = Callable[[BroadcastState], AsyncGenerator[BroadcastReply[Any], None]]

__all__ = ["ShardedBroadcast", "ShardedSending"]

ResultT = TypeVar("ResultT")


class ShardedSending:
    """Sends a broadcast to several brokers at once, and knows what was heard from each.

    Attributes:
        failed: why no more replies come from a broker, by its name.
    """

    def __init__(self, name: str, senders: Mapping[str, tuple[ShardLink, Sender]]) -> None:
        """Send a broadcast of the service ``name`` by these, by the name of the broker."""
        self.failed: dict[str, RabiBridgeError] = {}
        self._senders = senders
        self._states = {shard: BroadcastState(name) for shard in senders}

    async def send(self, state: BroadcastState) -> AsyncGenerator[BroadcastReply[Any], None]:
        """Send it, and return the replies of all brokers as they arrive; ``state`` is not used.

        Raises:
            RabiBridgeError: all have failed; the error of the first that has another one than NoRouteError.
        """
        arrived: asyncio.Queue[BroadcastReply[Any] | None] = asyncio.Queue()
        tasks = [asyncio.create_task(self._hear(shard, arrived)) for shard in self._senders]
        for task in tasks:
            task.add_done_callback(lambda _: arrived.put_nowait(None))
        left = len(tasks)
        try:
            while left:
                reply = await arrived.get()
                if reply is not None:
                    yield reply
                    continue
                left -= 1
                for task in tasks:
                    if task.done():
                        task.result()  # raises what is no error of a broker
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if len(self.failed) == len(self._senders):
            errors = list(self.failed.values())
            raise next((error for error in errors if not isinstance(error, NoRouteError)), errors[0])

    async def _hear(self, shard: str, arrived: asyncio.Queue[BroadcastReply[Any] | None]) -> None:
        link, send = self._senders[shard]
        if link.error is not None or not link.decided:
            unknown = ConnectionLostError(f"the broker {shard} is not reached yet", executed=False)
            self.failed[shard] = link.error or unknown
            return
        try:
            async with aclosing(send(self._states[shard])) as replies:
                async for reply in replies:
                    reply.shard = shard
                    arrived.put_nowait(reply)
        except RabiBridgeError as error:
            self.failed[shard] = error

    @property
    def answered(self) -> int:
        """How many workers have answered."""
        return sum(len(state.answered) for state in self._states.values())

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the workers that have it and have not answered."""
        return tuple(worker for state in self._states.values() for worker in state.waiting.values())

    @property
    def silent(self) -> int | None:
        """How many workers of all brokers have not said that they received it; ``None``: one broker does not tell."""
        found = [state.silent for shard, state in self._states.items() if not self._nobody(shard)]
        return None if None in found else sum(number for number in found if number is not None)

    @property
    def complete(self) -> bool:
        """Whether every worker of every broker has answered."""
        return all(state.complete or self._nobody(shard) for shard, state in self._states.items())

    def _nobody(self, shard: str) -> bool:
        return isinstance(self.failed.get(shard), NoRouteError)


class ShardedBroadcast(Broadcast[ResultT]):
    """A call of every worker of a service at several brokers; each reply has the name of its broker, ``shard``.

    A worker that serves several brokers runs the function once for each of them. Replies come although some brokers
    fail; :attr:`failed` says which.
    """

    def __init__(self, sending: ShardedSending, name: str) -> None:
        """Send by ``sending``. Made by the client."""
        super().__init__(sending.send, name)
        self._sending = sending

    def __repr__(self) -> str:
        """Show what is known."""
        heard = f"{self._sending.answered} answers, {len(self.missing)} missing, {len(self.failed)} brokers failed"
        return f"<{type(self).__name__} of {self._name!r}: {'not sent' if self._state is None else heard}>"

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the workers that have received it and have not answered so far."""
        return self._sending.missing

    @property
    def silent(self) -> int | None:
        """The number of workers that take calls of the service and have not said that they received the broadcast."""
        return self._sending.silent

    @property
    def failed(self) -> Mapping[str, RabiBridgeError]:
        """Why no more replies come from some of the brokers, by their names."""
        return dict(self._sending.failed)

    @property
    def complete(self) -> bool:
        """Whether every worker of the service at every broker has answered."""
        return self._sending.complete
