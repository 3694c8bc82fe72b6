"""What one client or server signs, encrypts and accepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rabibridge_core._clock import wall as wall_clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._security.key_ring import KeyRing

__all__ = ["Rules"]


def _never(content_type: str | None) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is signed, encrypted and accepted.

    Attributes:
        ring: the keys.
        signing_id: the key that signs.
        encryption_id: the key that encrypts; empty: nothing is encrypted, except replies to what was.
        require_signature: whether what is not signed is refused.
        require_encryption: whether what is not encrypted is refused.
        max_age: how long a request is accepted after it was sent, in seconds.
        tolerance: how far the clock of a sender may be from ours, in seconds.
        capacity: the pages of the replay memory.
        namespace: where the messages are valid.
        max_body: the largest body on the wire, in bytes.
        needs_signature: tells whether a body of a content type must be signed even if signatures are not required.
        wall: the clock.
    """

    ring: KeyRing
    signing_id: str
    encryption_id: str = ""
    require_signature: bool = False
    require_encryption: bool = False
    max_age: float = 86_400.0
    tolerance: float = 30.0
    capacity: int = 65_536
    namespace: str = ""
    max_body: int = 8 * 2**20
    needs_signature: Callable[[str | None], bool] = _never
    wall: Callable[[], float] = wall_clock
