"""Keeps what a program shows, and finds secrets in it."""

from __future__ import annotations

import base64
import io
import pickle
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.traceback import Traceback

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable
    from types import TracebackType

PASSWORD = "mark-password-7f3a9c51"
SIGNING_KEY = "mark-signing-key-b20e4d68"
PASSPHRASE = "mark-passphrase-91c7ae03"
_TESTS = str(Path(__file__).parents[1])


class Watch:
    """What was shown, by place.

    Args:
        secrets: the texts that must not be in it, in any form in which they travel or are printed. They have only
            letters, digits and hyphens, so that they look the same in a URL, in JSON and in a repr.
    """

    def __init__(self, *secrets: str) -> None:
        self._forms = {form for secret in secrets for form in _forms(secret)}
        self.shown: list[tuple[str, str]] = []

    def text(self, place: str, text: str) -> None:
        """Keep a text that others can read."""
        self.shown.append((place, text))

    def thing(self, place: str, *things: object) -> None:
        """Keep all that is printed, formatted or pickled of objects, and of the attributes of their own."""
        for thing in things:
            name = f"{place}: {type(thing).__name__}"
            self.text(name, "\n".join((repr(thing), str(thing), f"{thing}", ascii(thing))))
            self.text(f"{name}, attributes", repr(getattr(thing, "__dict__", "")))
            self.text(f"{name}, pickled", _pickled(thing))

    def error(self, place: str, error: BaseException) -> None:
        """Keep what is printed of an error: plain, with variables, by rich, and by a walk through its frames."""
        error = _inside(error)
        self.thing(place, error)
        self.text(f"{place}, plain", "".join(traceback.format_exception(error)))
        found = traceback.TracebackException.from_exception(error, capture_locals=True)
        self.text(f"{place}, with variables", "".join(found.format()))
        console = Console(file=io.StringIO(), width=500, record=True)
        console.print(
            Traceback.from_exception(
                type(error), error, error.__traceback__, show_locals=True, locals_max_length=10_000,
                locals_max_string=1_000_000, width=500, max_frames=1000,
            )
        )  # fmt: skip
        self.text(f"{place}, rich", console.export_text())
        self.text(f"{place}, frames", "\n".join(_variables(error, set())))

    def records(self, records: Iterable[logging.LogRecord]) -> None:
        """Keep lines of a log, with the errors and the values that they carry."""
        for record in records:
            place = f"log of {record.name} ({record.levelname})"
            self.text(place, record.getMessage())
            self.text(f"{place}, record", repr(record.__dict__))
            if record.exc_info and record.exc_info[1] is not None:
                self.error(place, record.exc_info[1])

    def found(self) -> list[str]:
        """Return the places where a secret was shown, with what stood around it."""
        return sorted(
            {
                f"{place}: ...{text[max(0, at - 80) : at]}[SECRET]..."
                for place, text in self.shown
                for form in self._forms
                if (at := text.find(form)) >= 0
            }
        )


def _forms(secret: str) -> Iterable[str]:
    """Return the secret, in hexadecimal, and in base64 wherever it begins."""
    yield secret
    yield secret.encode().hex()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret.encode()).decode().rstrip("=")
        yield encoded[4 if before else 0 : -1]


def _pickled(thing: object) -> str:
    try:
        return pickle.dumps(thing).decode("latin-1")
    except Exception as error:  # noqa: BLE001 - what cannot be pickled shows nothing but its error
        return repr(error)


def _inside(error: BaseException) -> BaseException:
    """Return the error without the frames of the test that has called: these know the secret."""
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename.startswith(_TESTS):
        frame = frame.tb_next
    return error.with_traceback(frame)


def _variables(error: BaseException | None, seen: set[int]) -> Iterable[str]:
    """Yield the variables of all frames, and the attributes of what is in them."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    frame: TracebackType | None = error.__traceback__
    while frame is not None:
        if not frame.tb_frame.f_code.co_filename.startswith(_TESTS):
            for name, value in frame.tb_frame.f_locals.items():
                attributes: Any = getattr(value, "__dict__", "")
                yield f"{frame.tb_frame.f_code.co_qualname}: {name} = {value!r} {attributes!r}"
        frame = frame.tb_next
    for further in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        yield from _variables(further, seen)
