"""The errors of messages that are refused because of their signature or encryption."""

from __future__ import annotations

from rabibridge_core.errors._tree import ContentRejectedError

__all__ = ["KeyUnknownError", "ReplayMemoryFullError", "SignatureError"]


class SignatureError(ContentRejectedError):
    """A message was refused unread: it is not signed or encrypted as required, or was changed on its way.

    Attributes:
        key_id: the key that the message names; empty if it names none.
        executed: ``False``: a worker has refused the request, which did not run. ``None``: the reply was refused here,
            and the call may have run.
    """

    def __init__(self, message: str, *, key_id: str = "", executed: bool | None = False) -> None:
        """Store the message, the id of the key, and whether the call may have run."""
        self.key_id = key_id
        super().__init__(message, executed=executed)


class KeyUnknownError(SignatureError):
    """A message was signed or encrypted with a key that its reader does not have, or that has expired."""


class ReplayMemoryFullError(SignatureError):
    """A worker has refused a request that it would not recognise if it came again: retrying later is safe."""
