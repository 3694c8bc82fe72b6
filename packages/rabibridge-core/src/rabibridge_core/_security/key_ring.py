"""The key ring: keys by id, from a text or from a file that is read again when it changes.

One line is one key: its id, its algorithm, the key in base64, and optionally until when it is valid::

    2026-11  hmac-sha256     c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IQ==  2027-01-31T00:00:00Z
"""

from __future__ import annotations

import base64
import os
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core._security.keys import Key, make_key
from rabibridge_core.errors import ConfigurationError, RabiBridgeError
from rabibridge_core.settings.secret_files import read_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["KeyRing", "RingKey", "parse_ring"]

_log = get_logger(__name__)
_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LOOK_EVERY: Final = 1.0


class RingKey(NamedTuple):
    """One key of a ring.

    Attributes:
        id: what messages call it.
        key: the key.
        not_after: until when it is valid, in seconds since 1970; ``None``: no limit.
    """

    id: str
    key: Key
    not_after: float | None


def parse_ring(text: str, source: str) -> dict[str, RingKey]:
    """Return the keys that a text holds, by id. Lines are separated by line breaks or semicolons.

    Raises:
        ConfigurationError: a line is wrong, two keys have the same id, or there is none. The message names the line and
            holds no key.
    """
    ring: dict[str, RingKey] = {}
    for number, line in enumerate(re.split(r"[\n;]", text), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        where = f"key {number} of {source}"
        if len(words) not in (3, 4):
            raise ConfigurationError(f"{where} must have an id, an algorithm, the key in base64, and optionally a date")
        key_id, algorithm, encoded = words[:3]
        if not _ID.fullmatch(key_id):
            raise ConfigurationError(f"{where}: an id has 1 to 64 of the characters A-Z a-z 0-9 _ . -")
        if key_id in ring:
            raise ConfigurationError(f"{where}: there are two keys with the id {key_id!r}")
        try:
            key = make_key(algorithm, _decoded(encoded))
        except ConfigurationError as error:
            raise ConfigurationError(f"{where}, {key_id!r}: {error}") from None
        ring[key_id] = RingKey(key_id, key, _time(words[3], where) if len(words) == 4 else None)
    if not ring:
        raise ConfigurationError(f"{source} holds no key")
    return ring


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded.replace("-", "+").replace("_", "/"), validate=True)
    except ValueError:
        raise ConfigurationError("the key is not base64") from None


def _time(text: str, where: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{where}: {text[:40]!r} is no date, such as 2027-01-31T00:00:00Z") from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


class KeyRing:
    """The keys that are accepted, by id. It is thread-safe, and shows no key in its repr."""

    __slots__ = ("_file", "_keys", "_looked_at", "_source", "_stamp", "_wall")

    def __init__(self, keys: Mapping[str, RingKey], wall: Callable[[], float] = time.time) -> None:
        """Accept these keys, by the clock ``wall``."""
        self._keys = dict(keys)
        self._wall = wall
        self._file = self._source = ""
        self._stamp: tuple[int, int, int] | None = None
        self._looked_at = 0.0

    @classmethod
    def from_file(cls, name: str, source: str, wall: Callable[[], float] = time.time) -> KeyRing:
        """Accept the keys of a file, which is looked at again when a key is used, at most once a second.

        A file that has become unreadable or malformed leaves the keys as they were, and an ERROR in the log; but one
        that is gone leaves none.

        Raises:
            ConfigurationError: the file cannot be read, may be written by others, or is malformed.
        """
        stamp = _stamp_of(name)
        ring = cls(parse_ring(read_secret(name, source), f"the file {name!r}"), wall)
        ring._file, ring._source, ring._stamp, ring._looked_at = name, source, stamp, time.monotonic()
        return ring

    def __repr__(self) -> str:
        """Show the ids."""
        return f"<KeyRing {', '.join(self._keys)}>"

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the keys that are valid now."""
        self._refresh()
        now = self._wall()
        return tuple(found.id for found in self._keys.values() if found.not_after is None or now <= found.not_after)

    def find(self, key_id: str) -> Key | None:
        """Return the key of this id; ``None``: there is none, or it has expired."""
        if self._file:
            self._refresh()
        found = self._keys.get(key_id)
        if found is None or (found.not_after is not None and self._wall() > found.not_after):
            return None
        return found.key

    def _refresh(self) -> None:
        now = time.monotonic()
        if not self._file or now - self._looked_at < _LOOK_EVERY:
            return
        self._looked_at = now
        stamp = _stamp_of(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        if stamp is None:
            self._keys = {}
            _log.error(
                "the file %r with the keys is gone: no key is accepted until it is back", self._file,
                extra=log_fields("keys.file_gone", path=self._file),
            )  # fmt: skip
            return
        try:
            self._keys = parse_ring(read_secret(self._file, self._source), f"the file {self._file!r}")
        except RabiBridgeError as error:
            _log.error(
                "the keys stay as they were: %s", error,
                extra=log_fields("keys.not_reloaded", path=self._file, error=error),
            )  # fmt: skip
        else:
            _log.info(
                "the keys were read again: %s", ", ".join(self._keys),
                extra=log_fields("keys.reloaded", path=self._file, count=len(self._keys)),
            )  # fmt: skip


def _stamp_of(name: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(name)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
