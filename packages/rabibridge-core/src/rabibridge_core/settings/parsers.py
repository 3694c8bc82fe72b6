"""How the values of core's settings are read: each function returns the value to keep, or raises as a rule may."""

from __future__ import annotations

import logging
import math
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from rabibridge_core._codec.signing import MIN_KEY_SIZE
from rabibridge_core._protocol.naming import check_namespace
from rabibridge_core.settings.endpoints import Secret
from rabibridge_core.settings.fields import is_none, parse_number

__all__ = [
    "parse_baggage",
    "parse_fetch_size",
    "parse_file",
    "parse_host",
    "parse_key",
    "parse_key_id",
    "parse_key_ring",
    "parse_level",
    "parse_limit",
    "parse_name",
    "parse_namespace",
    "parse_path",
    "parse_secret",
    "parse_word",
    "parse_workers",
]

_MAX_WORKERS = 1024
_MAX_FETCH_SIZE = 65_535


def parse_name(value: Any) -> str:
    """Return the name of a serializer in lower case."""
    name = str(value).strip().lower()
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9_.-]{1,64}", name):
        raise ValueError
    return name


def parse_namespace(value: Any) -> str:
    """Return the name of a namespace, empty for none."""
    if is_none(value):
        return ""
    if not isinstance(value, str):
        raise TypeError
    return check_namespace(value)


def parse_baggage(value: Any) -> tuple[str, ...]:
    """Return names of baggage entries, which are tokens of HTTP."""
    if is_none(value):
        return ()
    names = value.split(",") if isinstance(value, str) else list(value)
    found = tuple(dict.fromkeys(name.strip() for name in names))
    if not all(re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}", name) for name in found):
        raise ValueError
    return found


def parse_level(value: Any) -> str | None:
    """Return the name of a log level in upper case, or ``None``."""
    if value is None:
        return None
    name = str(value).strip().upper()
    if logging.getLevelNamesMapping()[name] == logging.NOTSET:
        raise ValueError
    return name


def parse_limit(value: Any) -> float | None:
    """Return a number of seconds above 0, or ``None`` for no limit."""
    if is_none(value):
        return None
    number = float(parse_number(value.total_seconds() if isinstance(value, timedelta) else value, float))
    if not (math.isfinite(number) and number > 0):
        raise ValueError
    return number


def parse_host(value: Any) -> str:
    """Return an address to listen on: one of IPv4 or IPv6, without brackets, or a host name."""
    host = value.strip() if isinstance(value, str) else ""
    if not host or len(host) > 253 or not all(letter.isalnum() or letter in "-.:_%" for letter in host):
        raise ValueError
    return host


def parse_key(value: Any) -> Secret | None:
    """Return a signing key that is long enough, or ``None``."""
    if value is None:
        return None
    key = value if isinstance(value, Secret) else Secret(value) if isinstance(value, str) else Secret("")
    if len(key.reveal().encode()) < MIN_KEY_SIZE:
        raise ValueError
    return key


def parse_key_ring(value: Any) -> Secret | None:
    """Return a text with keys, or ``None``; the keys themselves are read where they are used."""
    if value is None:
        return None
    keys = value if isinstance(value, Secret) else Secret(value) if isinstance(value, str) else Secret("")
    if not keys.reveal().strip():
        raise ValueError
    return keys


def parse_key_id(value: Any) -> str | None:
    """Return the id of a key, or ``None``."""
    if is_none(value):
        return None
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value):
        raise ValueError
    return value


def parse_path(value: Any) -> str | None:
    """Return the name of a file, or ``None``."""
    if value is None:
        return None
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    return value


def parse_file(value: Any) -> str | None:
    """Return the absolute name of a file, or ``None``: the program may change its current folder before it is read."""
    if value is None:
        return None
    name = os.fspath(value)
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise ValueError
    return str(Path(name).absolute())


def parse_fetch_size(value: Any) -> int | str | None:
    """Return a number of calls, ``"auto"`` with or without bounds, or ``None``."""
    if is_none(value):
        return None
    if isinstance(value, str) and (text := value.strip().lower()).startswith("auto"):
        found = re.fullmatch(r"auto(?:\(\s*(\d{1,5})\s*(?:,\s*(\d{1,5})\s*)?\))?", text)
        if found is None or not 1 <= int(found[1] or 1) <= int(found[2] or _MAX_FETCH_SIZE) <= _MAX_FETCH_SIZE:
            raise ValueError
        return text
    number: int = parse_number(value, int)
    if not 1 <= number <= _MAX_FETCH_SIZE:
        raise ValueError
    return number


def parse_secret(value: Any) -> Secret | None:
    """Return a secret text, or ``None``."""
    if value is None or isinstance(value, Secret):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError
    return Secret(value)


def parse_word(value: Any) -> str | None:
    """Return a text without blanks, or ``None``."""
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"\S{1,253}", value.strip()):
        raise ValueError
    return value.strip()


def parse_workers(value: Any) -> int | Literal["auto"] | None:
    """Return a number of processes, ``"auto"``, or ``None``."""
    if is_none(value):
        return None
    if isinstance(value, str) and value.strip().lower() == "auto":
        return "auto"
    number: int = parse_number(value, int)
    if not 1 <= number <= _MAX_WORKERS:
        raise ValueError
    return number
