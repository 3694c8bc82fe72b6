"""The scripts by name, each with the digest under which a server knows it."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import NamedTuple

__all__ = ["SCRIPTS", "Script"]


class Script(NamedTuple):
    """One script: its text, and the digest of that, which is sent instead."""

    source: bytes
    digest: bytes


def _load(name: str, *needed: str) -> Script:
    folder = files("rabibridge_redis._scripts")
    source = b"".join((folder / f"{part}.lua").read_bytes() for part in (*needed, name))
    return Script(source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


SCRIPTS = {
    "publish": _load("publish", "common", "expiry"),
    "settle": _load("settle", "common"),
    "give_back": _load("give_back", "common"),
    "declare": _load("declare", "common"),
    "join": _load("join", "common"),
    "leave": _load("leave", "common"),
    "maintain": _load("maintain", "common"),
    "alive": _load("alive", "common"),
    "look": _load("look", "common", "expiry"),
    "delete": _load("delete", "common", "expiry"),
    "dead_letter": _load("dead_letter", "letters"),
    "trim": _load("trim", "letters"),
    "requeue": _load("requeue", "common", "expiry"),
    "drop_letters": _load("drop_letters"),
    "empty": _load("empty", "common"),
}
