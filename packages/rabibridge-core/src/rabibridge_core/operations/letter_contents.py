"""The body of a dead letter, for people to read: nothing in it is run, and what looks like a secret is not shown."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from rabibridge_core._codec.codec import Codec
from rabibridge_core.errors import RabiBridgeError

if TYPE_CHECKING:
    from rabibridge_core.operations.letters import DeadLetter

__all__ = ["HIDDEN", "LetterContents", "read_contents", "without_secrets"]

HIDDEN = "[hidden]"
_SECRET = re.compile(
    r"pass(word|wd|phrase|code)?$|^pwd$|secret|token|api.?key|private.?key|signing.?key|access.?key|authori[sz]ation"
    r"|credential|cookie|^auth$|^pin$",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+@")
_DEPTH_MAX = 32


class LetterContents(NamedTuple):
    """A dead letter and what it says.

    Attributes:
        letter: the letter. Its headers are without secrets.
        args: positional arguments; ``None``: the body was not decoded.
        kwargs: keyword arguments; ``None``: the body was not decoded.
        problem: why the body was not decoded; empty: it was.
    """

    letter: DeadLetter
    args: list[Any] | None
    kwargs: dict[str, Any] | None
    problem: str


def read_contents(letter: DeadLetter, body: bytes) -> LetterContents:
    """Decode a body, if its format runs no code: msgpack or json, compressed or not."""
    letter = replace(letter, headers={name: _safe(value, name) for name, value in letter.headers.items()})
    try:
        value = Codec().decode(body, letter.content_type, letter.content_encoding)
    except RabiBridgeError as error:
        return LetterContents(letter, None, None, str(error))
    if not isinstance(value, list | tuple) or len(value) < 2 or not isinstance(value[1], dict):
        return LetterContents(letter, None, None, "the body is not a list of arguments and a map of named ones")
    args, kwargs = without_secrets(value[0]), without_secrets(value[1])
    return LetterContents(letter, list(args) if isinstance(args, list | tuple) else [args], kwargs, "")


def without_secrets(value: object) -> Any:
    """Return a value in which the values of all keys that name a secret, and passwords in URLs, are replaced."""
    return _safe(value, "")


def _safe(value: object, name: str, depth: int = 0) -> Any:
    if name and _SECRET.search(name):
        return HIDDEN
    if depth > _DEPTH_MAX:
        return "[...]"
    if isinstance(value, dict):
        return {key: _safe(item, key if isinstance(key, str) else "", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_safe(item, "", depth + 1) for item in value]
    if isinstance(value, str):
        return _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", value)
    return value
