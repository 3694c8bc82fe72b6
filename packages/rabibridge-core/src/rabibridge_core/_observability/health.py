"""The health of a client or a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rabibridge_core.transport import ConnectionState

__all__ = ["Health"]


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a client or a server at one moment. Its truth value is :attr:`ok`.

    Attributes:
        ok: whether a client can send calls, or a server accepts calls of all its services.
        state: the state of the connection to the broker.
        reasons: what is wrong, each a sentence with the error if there is one; empty if nothing is. There may be some
            although it is ok: what only holds up calls or replies, such as an alarm of the broker.
    """

    ok: bool
    state: ConnectionState
    reasons: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return :attr:`ok`, so that ``if client.health():`` works."""
        return self.ok
