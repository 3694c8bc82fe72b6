"""What a worker knows of idempotency keys: which of them run, and what was answered lately."""

from __future__ import annotations

import asyncio
from hashlib import blake2b
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from rabibridge_core._codec.signing import PREFIX_SIZE, is_signed
from rabibridge_core._server.executors import ArgumentsRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._protocol.payloads import StoredReply
    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core.transport import IncomingRequest

__all__ = [
    "ANSWERS_KEPT",
    "BYTES_KEPT",
    "KEPT_FOR",
    "DeduplicationCache",
    "SharedExecution",
    "digest_of",
]

ANSWERS_KEPT = 1_024
BYTES_KEPT = 8 * 2**20
KEPT_FOR = 60.0


class _Kept(NamedTuple):
    answer: StoredReply
    digest: bytes
    since: float


class SharedExecution:
    """One key that runs now: the request that began it, and those that wait for the same answer."""

    __slots__ = ("answer", "digest", "ended", "joined", "key", "leader")

    def __init__(self, key: str, digest: bytes, leader: ActiveRequest) -> None:
        """Run ``key`` for ``leader``."""
        self.key = key
        self.digest = digest
        self.leader = leader
        self.joined: set[ActiveRequest] = set()
        self.answer: StoredReply | None = None
        """The answer, once there is one."""
        self.ended: asyncio.Future[StoredReply | None] = asyncio.get_running_loop().create_future()

    @property
    def wanted(self) -> bool:
        """Whether one that joined still waits."""
        return any(joined.fate is None for joined in self.joined)

    @property
    def ends_at(self) -> float | None:
        """When the last of those that joined and still wait has no time left."""
        ends = [joined.ends_at for joined in self.joined if joined.fate is None]
        return None if None in ends else max(end for end in ends if end is not None)

    async def join(self, request: ActiveRequest) -> StoredReply | None:
        """Wait for the end of the run; ``None``: it was stopped and has no answer."""
        self.joined.add(request)
        try:
            return await asyncio.shield(self.ended)
        finally:
            self.joined.discard(request)


class DeduplicationCache:
    """The idempotency keys of one service.

    An answer is kept for 60 s. At most 1,024 are, with at most 8 MiB of bodies in all; the oldest go first.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """Know none; ``clock`` tells seconds."""
        self._clock = clock
        self._running: dict[str, SharedExecution] = {}
        self._kept: dict[str, _Kept] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """Return how many answers are kept."""
        return len(self._kept)

    def find(self, key: str, digest: bytes) -> StoredReply | SharedExecution | None:
        """Return the answer to this key, or the run that will have one.

        Raises:
            ArgumentsRefusedError: the key came with another request.
        """
        self.purge()
        found = self._running.get(key) or self._kept.get(key)
        if found is None:
            return None
        if digest is not None and found.digest is not None and digest != found.digest:
            raise ArgumentsRefusedError from ValueError(
                f"the idempotency key {key!r} belongs to a call with other arguments: give each call a key of its own"
            )
        return found if isinstance(found, SharedExecution) else found.answer

    def begin(self, key: str, digest: bytes, leader: ActiveRequest) -> SharedExecution:
        """Note that ``leader`` runs this key."""
        run = self._running[key] = SharedExecution(key, digest, leader)
        return run

    def end(self, run: SharedExecution) -> None:
        """Note that it has ended, tell those that joined, and keep the answer if there is one."""
        del self._running[run.key]
        run.ended.set_result(run.answer)
        if run.answer is not None and len(run.answer.reply.body) <= BYTES_KEPT:
            self._kept[run.key] = _Kept(run.answer, run.digest, self._clock())
            self._bytes += len(run.answer.reply.body)
            while len(self._kept) > ANSWERS_KEPT or self._bytes > BYTES_KEPT:
                self._forget_oldest()

    def purge(self) -> None:
        """Forget the answers that are too old."""
        oldest = self._clock() - KEPT_FOR
        while self._kept and next(iter(self._kept.values())).since < oldest:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        kept = self._kept.pop(next(iter(self._kept)))
        self._bytes -= len(kept.answer.reply.body)


def digest_of(request: IncomingRequest) -> bytes:
    """Return what two requests with the same arguments have in common: all but the signature, which is of one call."""
    body = request.body[PREFIX_SIZE:] if is_signed(request.content_type) else request.body
    described = f"{request.content_type} {request.content_encoding} ".encode("utf-8", "backslashreplace")
    return blake2b(described + body, digest_size=16).digest()
