"""Deduplicates requests by their idempotency keys: one handler runs per key, and its reply is kept for a minute.

A key belongs to the user of the broker that sent it, as far as the broker vouches for that: nobody gets the answers of
another user, blocks one of its keys, or evicts its answers.
"""

from __future__ import annotations

import asyncio
from hashlib import blake2b
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from rabibridge_core._clock import monotonic
from rabibridge_core._codec.signing import PREFIX_SIZE, is_signed
from rabibridge_core._protocol.headers import ERROR_FIELDS
from rabibridge_core._server.exceptions import ArgumentsRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._protocol.payloads import StoredReply
    from rabibridge_core.transport import IncomingRequest

__all__ = [
    "MAX_STORED_BYTES",
    "MAX_STORED_BYTES_OF_ALL",
    "MAX_STORED_REPLIES",
    "MAX_STORED_REPLIES_OF_ALL",
    "REPLY_LIFETIME",
    "DeduplicationCache",
    "Participant",
    "SharedExecution",
    "digest_of",
]

MAX_STORED_REPLIES = 1_024
MAX_STORED_BYTES = 8 * 2**20
"""Limits for the replies of one user."""
MAX_STORED_REPLIES_OF_ALL = 16_384
MAX_STORED_BYTES_OF_ALL = 64 * 2**20
"""Limits for the replies of all users. Beyond them, the user that has the most loses its oldest."""
REPLY_LIFETIME = 60.0
"""How long a reply is kept, in seconds."""


class Participant(Protocol):
    """A request that runs a handler, or waits for the reply of one that does."""

    @property
    def stop_reason(self) -> str | None:
        """Why it was stopped; ``None`` while its caller still waits."""
        ...

    @property
    def ends_at(self) -> float | None:
        """Its deadline on the clock of the engines; ``None``: no limit."""
        ...


ParticipantT = TypeVar("ParticipantT", bound=Participant)


class _Entry(NamedTuple):
    reply: StoredReply
    digest: bytes
    stored_at: float

    @property
    def size(self) -> int:
        body, _, _, headers = self.reply.reply
        fields = headers.get(ERROR_FIELDS) if headers else None
        return len(body) + (len(fields) if isinstance(fields, str | bytes) else 0)


class _StoredReplies(dict[str, _Entry]):
    """The replies of one user by key, the oldest first; at most 1,024, with at most 8 MiB of bodies."""

    bytes = 0

    def add(self, key: str, entry: _Entry) -> None:
        self.remove(key)
        self[key] = entry
        self.bytes += entry.size
        while len(self) > MAX_STORED_REPLIES or self.bytes > MAX_STORED_BYTES:
            self.remove_oldest()

    def remove(self, key: str) -> None:
        entry = self.pop(key, None)
        if entry is not None:
            self.bytes -= entry.size

    def remove_oldest(self) -> None:
        self.remove(next(iter(self)))

    def purge(self, before: float) -> None:
        while self and next(iter(self.values())).stored_at < before:
            self.remove_oldest()


_NO_REPLIES = _StoredReplies()


class SharedExecution(Generic[ParticipantT]):
    """One running handler, the request that started it, and the requests with the same key that wait for its reply."""

    __slots__ = ("_finished", "digest", "followers", "key", "leader", "reply", "user")

    def __init__(self, user: str, key: str, digest: bytes, leader: ParticipantT) -> None:
        """Describe the run of a user's ``key`` that ``leader`` starts; must be made on the running event loop."""
        self.user = user
        self.key = key
        self.digest = digest
        self.leader = leader
        self.followers: set[ParticipantT] = set()
        self.reply: StoredReply | None = None
        """The reply, once the handler has finished. ``None`` at the end: the leader was stopped."""
        self._finished: asyncio.Future[StoredReply | None] = asyncio.get_running_loop().create_future()

    @property
    def finished(self) -> bool:
        """Whether the handler has finished, with a reply or without."""
        return self._finished.done()

    @property
    def has_followers(self) -> bool:
        """Whether a follower still waits."""
        return any(follower.stop_reason is None for follower in self.followers)

    @property
    def followers_end_at(self) -> float | None:
        """The latest deadline of the followers that still wait; ``None`` if one of them has no limit."""
        ends = [follower.ends_at for follower in self.followers if follower.stop_reason is None]
        return None if None in ends else max(end for end in ends if end is not None)

    async def follow(self, request: ParticipantT) -> StoredReply | None:
        """Wait until the handler finishes, and return its reply. ``None``: it was stopped and has no reply."""
        self.followers.add(request)
        try:
            return await asyncio.shield(self._finished)
        finally:
            self.followers.discard(request)

    def finish(self) -> None:
        """Wake the followers."""
        self._finished.set_result(self.reply)


class DeduplicationCache(Generic[ParticipantT]):
    """The idempotency keys of one service: those whose handler runs, and those whose reply is stored.

    A reply is stored for 60 s. At most 1,024 replies with at most 8 MiB of bodies are stored for each user, and 16,384
    with 64 MiB for all users together; the oldest are dropped first.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """Start empty; ``clock`` returns seconds."""
        self._clock = clock
        self._running: dict[tuple[str, str], SharedExecution[ParticipantT]] = {}
        self._stored: dict[str, _StoredReplies] = {}

    def __len__(self) -> int:
        """Return the number of stored replies."""
        return sum(map(len, self._stored.values()))

    def find(self, user: str, key: str, digest: bytes) -> StoredReply | SharedExecution[ParticipantT] | None:
        """Return the stored reply for this key, or the execution that will produce it.

        Args:
            user: the user of the broker that sent the request; empty if that is not known.
            key: the idempotency key.
            digest: :func:`digest_of` the request.

        Raises:
            ArgumentsRefusedError: the user has sent the key before with other arguments.
        """
        self.purge()
        found = self._running.get((user, key)) or self._stored.get(user, _NO_REPLIES).get(key)
        if found is None:
            return None
        if digest != found.digest:
            raise ArgumentsRefusedError from ValueError(
                f"the idempotency key {key!r} belongs to a call with other arguments: use a new key for each call"
            )
        return found if isinstance(found, SharedExecution) else found.reply

    def begin(self, user: str, key: str, digest: bytes, leader: ParticipantT) -> SharedExecution[ParticipantT]:
        """Return a new execution of this key, which requests with the same key can follow."""
        execution = self._running[user, key] = SharedExecution(user, key, digest, leader)
        return execution

    def end(self, execution: SharedExecution[ParticipantT]) -> None:
        """Finish the execution, and store its reply if it has one."""
        del self._running[execution.user, execution.key]
        execution.finish()
        stored = execution.reply
        if stored is None or len(stored.reply.body) > MAX_STORED_BYTES:
            return
        own = self._stored.setdefault(execution.user, _StoredReplies())
        own.add(execution.key, _Entry(stored, execution.digest, self._clock()))
        all_users = self._stored.values()
        while len(self) > MAX_STORED_REPLIES_OF_ALL:
            max(all_users, key=len).remove_oldest()
        while sum(replies.bytes for replies in all_users) > MAX_STORED_BYTES_OF_ALL:
            max(all_users, key=lambda replies: replies.bytes).remove_oldest()

    def purge(self) -> None:
        """Drop the replies that are too old."""
        oldest = self._clock() - REPLY_LIFETIME
        for user, replies in list(self._stored.items()):
            replies.purge(oldest)
            if not replies:
                del self._stored[user]


def digest_of(request: IncomingRequest) -> bytes:
    """Return a digest that is equal for requests with the same arguments.

    It covers the content type, the encoding and the body without its signature, which differs from call to call.
    """
    body = request.body[PREFIX_SIZE:] if is_signed(request.content_type) else request.body
    described = f"{request.content_type} {request.content_encoding} ".encode("utf-8", "backslashreplace")
    return blake2b(described + body, digest_size=16).digest()
