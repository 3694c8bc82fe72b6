"""Whether a client or a server can work now, and if not, why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rabibridge_core.transport import ConnectionState

__all__ = ["Health"]


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a client or a server at one moment; true where all is well.

    Attributes:
        ok: whether it can do its work: a client send calls, a server take them for every service it offers.
        state: where the connection to the broker stands.
        reasons: what is not well, each a sentence with the error where there is one; empty where all is.
    """

    ok: bool
    state: ConnectionState
    reasons: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return :attr:`ok`, so that ``if client.health():`` reads as it should."""
        return self.ok
