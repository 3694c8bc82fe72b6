"""The file of a recorded conversation, in JSON: a version, and the calls in the order in which they were sent."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from rabibridge_testing._recordings.values import canonical, pretty

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["VERSION", "Exchange", "RecordingError", "Way", "read_file", "write_file"]

VERSION: Final = 1
_HEAD: Final = "rabibridge_recording"
Way: TypeAlias = Literal["call", "notify", "broadcast"]


class RecordingError(Exception):
    """A conversation cannot be recorded, or a file holds none that can be replayed."""


@dataclass(slots=True)
class Exchange:
    """One call, and what it ended with. All values are as they stand in the file.

    Attributes:
        service: the name of the service.
        args: the positional arguments; one that was fed is ``{"$upload": [...]}``.
        kwargs: the keyword arguments.
        way: how it was sent.
        kind: which functions the caller has asked for: ``"async"``, ``"sync"`` or ``"any"``.
        headers: the headers of the caller.
        progress: the reports of progress, each a fraction and a text.
        items: the items of a stream; ``None``: it is none.
        result: the result in a list; ``None``: there is none.
        error: the headers of the error by their names in the file, ``kind``, ``type``, ``message``; ``None``: none.
        refused: the name of the error, if the broker refused the call; else empty.
        unanswered: why there is no answer: ``"expired"``, ``"cancelled"`` or ``"pending"``; empty: there is one.
    """

    service: str
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    way: Way = "call"
    kind: str = "any"
    headers: dict[str, Any] = field(default_factory=dict)
    progress: list[Any] = field(default_factory=list)
    items: list[Any] | None = None
    result: list[Any] | None = None
    error: dict[str, Any] | None = None
    refused: str = ""
    unanswered: str = ""

    def key(self) -> str:
        """Return a text that is the same for all calls that are alike."""
        return canonical([self.service, self.args, self.kwargs, self.way == "broadcast"])

    def shown(self) -> str:
        """Return the call as it is shown in errors."""
        given = [*map(_short, self.args), *(f"{name}={_short(value)}" for name, value in self.kwargs.items())]
        return f"{self.service}({', '.join(given)})"

    def to_json(self) -> dict[str, Any]:
        """Return what stands in the file: nothing that is as usual."""
        usual = Exchange("")
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in found.items() if value != getattr(usual, name)}


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def write_file(path: str | os.PathLike[str], exchanges: Sequence[Exchange]) -> None:
    """Write a file that only its owner can read. It is there as a whole, or as it was before."""
    target = Path(path)
    text = pretty({_HEAD: VERSION, "calls": [each.to_json() for each in exchanges]}) + "\n"
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        beside.replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            beside.unlink()
        raise


def read_file(path: str | os.PathLike[str]) -> list[Exchange]:
    """Return the calls of a file.

    Raises:
        RecordingError: it is no recorded conversation, or one of another version.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordingError(f"there is no file {os.fspath(path)!r}: record it with fake_broker.record()") from None
    except ValueError as error:
        raise RecordingError(f"{os.fspath(path)!r} is not JSON: {error}") from error
    if not isinstance(found, dict) or _HEAD not in found:
        raise RecordingError(f"{os.fspath(path)!r} is no recorded conversation: it lacks {_HEAD!r}")
    if found[_HEAD] != VERSION:
        raise RecordingError(
            f"{os.fspath(path)!r} is of version {found[_HEAD]!r}, and this is for version {VERSION}: record it anew"
        )
    return [_exchange(path, at, each) for at, each in enumerate(found.get("calls", []))]


def _exchange(path: str | os.PathLike[str], at: int, found: Any) -> Exchange:
    known = {each.name for each in fields(Exchange)}
    if not isinstance(found, dict) or not isinstance(found.get("service"), str):
        raise RecordingError(f"{os.fspath(path)!r}: call {at + 1} is no object with a 'service'")
    if unknown := found.keys() - known:
        raise RecordingError(
            f"{os.fspath(path)!r}: call {at + 1}, of {found['service']!r}, has {', '.join(sorted(unknown))}; "
            f"known are {', '.join(sorted(known))}"
        )
    return Exchange(**found)
