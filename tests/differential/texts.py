"""What an error says, without what depends on the world or on how much time has passed."""

from __future__ import annotations

import re
from typing import Any

from rabibridge_core.errors import CallTimeoutError, ConnectionLostError

__all__ = ["fields_of", "text_of"]

_LOOK = re.compile(r"(?<=no reply within ).*")
"""What a client has seen of the queue when a call timed out, which depends on how long it had to look."""
_CLOSED = re.compile(r"(?<=the broker closed channel ).*")
"""Its number, and why."""
_ATTEMPTS = re.compile(r"(?<=refused )\d+(?= times)")
"""How often a call was sent again, which depends on how long its queue was full."""
_ID = re.compile(r" \(id [\w-]+\)")
_FIELDS = ("executed", "accepted", "func_name", "error_type", "attempts", "reason")


def text_of(error: BaseException, service: str) -> str:
    """Return the text of an error without the name of the service, which is another one in each world."""
    text = _ATTEMPTS.sub("several", f"{type(error).__name__}: {str(error).replace(service, 'work')}")
    if isinstance(error, ConnectionLostError):
        text = text.partition(" is lost: ")[0]  # what follows is what the operating system says
        text = _CLOSED.sub("", text)
    if isinstance(error, CallTimeoutError):
        text = _LOOK.sub("", text)
    return _ID.sub("", text)


def fields_of(error: BaseException, service: str) -> dict[str, Any]:
    """Return the fields of an error, without the name of the service as well."""
    return {name: str(getattr(error, name)).replace(service, "work") for name in _FIELDS if hasattr(error, name)}
