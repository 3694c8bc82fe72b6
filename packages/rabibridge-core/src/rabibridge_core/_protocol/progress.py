"""Reports of progress: parts of a reply that say how far a call has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from rabibridge_core._protocol.streams import PART, PROGRESS
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from rabibridge_core.transport import Headers

__all__ = ["FRACTION", "TEXT", "WANTS_PROGRESS", "Progress", "encode_progress", "is_progress", "read_progress"]

WANTS_PROGRESS: Final = "rb-wants-progress"
"""In a request: ``True`` if the caller wants reports of progress; nobody else gets any."""
FRACTION: Final = "rb-progress"
"""In a report: which part of the work is done, a float from 0 to 1; missing: it is not known."""
TEXT: Final = "rb-progress-text"
"""In a report: what is being done; missing: nothing is said about that."""

_TEXT_MAX = 1024


class Progress(NamedTuple):
    """How far a call has come, as its function has reported it.

    Attributes:
        fraction: which part of the work is done, from 0 to 1; ``None``: the function does not know.
        text: what it is doing; empty: it does not say.
    """

    fraction: float | None
    text: str


def encode_progress(fraction: float | None, text: str) -> Reply:
    """Return a report; a text of more than 1,024 characters is cut, and what UTF-8 cannot encode is escaped."""
    headers: dict[str, str | float] = {PART: PROGRESS}
    if fraction is not None:
        headers[FRACTION] = fraction
    if text:
        headers[TEXT] = text[:_TEXT_MAX].encode("utf-8", "backslashreplace").decode()
    return Reply(b"", None, None, headers)


def is_progress(headers: Headers | None) -> bool:
    """Tell whether a reply with these headers is a report of progress, and not the end of a call."""
    return headers is not None and headers.get(PART) == PROGRESS


def read_progress(headers: Headers) -> Progress:
    """Return what a report says. Workers may be of other versions: what is malformed counts as missing."""
    value, text = headers.get(FRACTION), headers.get(TEXT)
    fraction = None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        fraction = float(value)
    return Progress(fraction, text if isinstance(text, str) else "")
