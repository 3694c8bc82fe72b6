"""Keeps secrets out of recorded conversations.

A value is a secret by the name that it has: as an argument, as a key of a map, or as a header. What is a secret in one
place is removed wherever it occurs in the recording, such as in the text of an error. Passwords in URLs, and what
follows ``Bearer`` or ``Basic``, are removed from all texts.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from rabibridge_testing._recordings.values import MAP

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["REDACTED", "Redaction"]

REDACTED: Final = "<redacted>"
"""Stands for a secret."""
_SECRET: Final = re.compile(
    r"password|passwd|passphrase|secret|token(?!s)|api_?key|private_?key|access_?key|authorization|cookie|credential"
    r"|signature|^pin$|^pwd$|^auth$"
)
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]*):[^\s/@]+@")
_SCHEME: Final = re.compile(r"\b(bearer|basic) +[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_SHORTEST: Final = 4
"""Shorter texts, such as ``on``, occur by chance."""


class Redaction:
    """Finds secrets, and removes them."""

    def __init__(self, names: Iterable[str] = (), secrets: Iterable[str] = ()) -> None:
        """Remove what has one of the usual names, or one of ``names``, and the ``secrets``."""
        self._names = {_plain(name) for name in names}
        self._secrets = {secret for secret in secrets if len(secret) >= _SHORTEST}

    def is_secret(self, name: object) -> bool:
        """Tell whether what has this name is a secret."""
        plain = _plain(name) if isinstance(name, str) else ""
        return plain in self._names or _SECRET.search(plain) is not None

    def collect(self, value: Any, name: object = None) -> None:
        """Remember the secrets in a value that has a name, and in the maps in it."""
        if self.is_secret(name):
            self._keep(value)
        elif isinstance(value, dict):
            for key, item in _pairs(value):
                self.collect(item, key)
        elif isinstance(value, list):
            for item in value:
                self.collect(item)

    def _keep(self, value: Any) -> None:
        if isinstance(value, str):
            if len(value) >= _SHORTEST:
                self._secrets.add(value)
        elif isinstance(value, dict | list):
            for item in value.values() if isinstance(value, dict) else value:
                self._keep(item)

    def redacted(self, value: Any, name: object = None) -> Any:
        """Return a value, which stands in a file, without secrets."""
        if self.is_secret(name) and value is not None and not isinstance(value, bool):
            return REDACTED
        if isinstance(value, dict):
            pairs = [(self.redacted(key), self.redacted(item, key)) for key, item in _pairs(value)]
            return {MAP: [list(pair) for pair in pairs]} if value.keys() == {MAP} else dict(pairs)
        if isinstance(value, list):
            return [self.redacted(item) for item in value]
        return self._text(value) if isinstance(value, str) else value

    def arguments(self, args: Sequence[Any], names: Sequence[str]) -> list[Any]:
        """Return positional arguments without secrets; ``names``: those of the first of them."""
        return [self.redacted(value, names[at] if at < len(names) else None) for at, value in enumerate(args)]

    def _text(self, text: str) -> str:
        text = _URL.sub(rf"\1:{REDACTED}@", text)
        text = _SCHEME.sub(rf"\1 {REDACTED}", text)
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, REDACTED)
        return text


def _pairs(found: dict[str, Any]) -> Iterable[tuple[Any, Any]]:
    """Return the keys and values of a map that stands in a file."""
    return found[MAP] if found.keys() == {MAP} else found.items()


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")
