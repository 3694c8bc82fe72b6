"""What a plug-in, a handler or an exception class can raise, and where, for the tests of a request's life."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

from rabibridge_core.plugins import hookimpl
from tests.unit.scripted_requests import ScriptedRequest

if TYPE_CHECKING:
    from rabibridge_core.transport import Reply


class OddError(BaseException):
    """Not even an Exception."""


RAISED: list[type[BaseException]] = [
    ValueError, asyncio.CancelledError, SystemExit, KeyboardInterrupt, GeneratorExit, OddError,
]  # fmt: skip


class Observer:
    """A plug-in whose hooks raise."""

    def __init__(self, error: type[BaseException], *, before: bool) -> None:
        self._error = error
        self._before = before
        self.calls = 0

    @hookimpl
    def rabibridge_request_received(self) -> None:
        self._observe(before=True)

    @hookimpl
    def rabibridge_request_finished(self) -> None:
        self._observe(before=False)

    @hookimpl
    def rabibridge_call_sent(self) -> None:
        self._observe(before=True)

    @hookimpl
    def rabibridge_call_finished(self) -> None:
        self._observe(before=False)

    def _observe(self, *, before: bool) -> None:
        self.calls += 1
        if before is self._before:
            raise self._error("a hook")


class FaultySerializer:
    """A serializer of a plug-in: JSON, unless it is to raise.

    Attributes:
        loads_raises: raised by the next decoding.
        failures_raise: raised when the description of a failure is to be encoded.
        dumps_returns: returned for results and descriptions, although it is no encoding.
    """

    name = "faulty"
    content_type = "application/x-faulty"
    trusted_only = False

    def __init__(self) -> None:
        self.loads_raises: type[BaseException] | None = None
        self.results_raise: type[BaseException] | None = None
        self.failures_raise: type[BaseException] | None = None
        self.dumps_returns: list[Any] = []

    def dumps(self, value: object) -> bytes:
        assert isinstance(value, list)
        if value[0] == 0 and self.results_raise is not None:
            error, self.results_raise = self.results_raise, None
            raise error("no results")
        if value[0] == 1 and self.failures_raise is not None:
            raise self.failures_raise("no failures")
        if value[0] in (0, 1) and self.dumps_returns:
            return self.dumps_returns.pop()  # type: ignore[no-any-return]
        return json.dumps(value).encode()

    def loads(self, data: bytes | bytearray | memoryview) -> Any:
        error, self.loads_raises = self.loads_raises, None
        if error is not None:
            raise error("unreadable")
        return json.loads(bytes(data))


class UnpublishableRequest(ScriptedRequest):
    """A request whose transport raises for so many operations, before it has settled anything."""

    def __init__(self, error: type[BaseException], times: int, **options: Any) -> None:
        super().__init__(**options)
        self._error = error
        self._times = times

    def reply(self, reply: Reply, /) -> None:
        self._fail()
        super().reply(reply)

    def accept(self) -> None:
        self._fail()
        super().accept()

    def _fail(self) -> None:
        if self._times:
            self._times -= 1
            raise self._error("the transport")


class RaisingLogHandler(logging.Handler):
    """A handler of the logging package that raises."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__(logging.DEBUG)
        self._error = error
        self.records = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.records += 1
        raise self._error("a log handler")


def odd_exceptions(raised: type[BaseException]) -> dict[str, BaseException]:
    """Exceptions that raise ``raised`` when they are looked at, or have fields of odd types."""

    def broken(*_: object) -> Any:
        raise raised("an exception class")

    def unnamed(cls: type, name: str) -> Any:
        return broken() if name in ("__qualname__", "__module__") else type.__getattribute__(cls, name)

    def deep() -> Any:
        error: Any = ValueError("inner")
        for _ in range(2_000):
            error = ExceptionGroup("group", [error])
        return error

    def noted(notes: object) -> BaseException:
        error = ValueError("noted")
        error.__notes__ = notes  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]
        return error

    circle = ValueError("a"), ValueError("b")
    circle[0].__cause__, circle[1].__cause__ = circle[1], circle[0]
    odd: Any = ("f", "one", "two", 3), ("query", 1, 5, b"SELECT ,")
    metaclass = type("Meta", (type,), {"__getattribute__": unnamed})
    bases = (Exception,)
    return {
        "str": type("BadStr", bases, {"__str__": broken})(),
        "str of another type": type("OddStr", bases, {"__str__": lambda self: 5})(),
        "repr": type("BadRepr", bases, {"__repr__": broken})(1),
        "notes": type("BadNotes", bases, {"__notes__": property(broken)})(),
        "notes that are no list": noted(7),
        "notes that are no text": noted([1, None, "\udcff"]),
        "class": type("BadClass", bases, {"__class__": property(broken)})(),
        "cause": type("BadCause", bases, {"__cause__": property(broken)})(),
        "truth": type("BadTruth", bases, {"__bool__": broken, "__len__": broken})(),
        "traceback": type("BadTraceback", bases, {"__traceback__": property(broken)})(),
        "name of the class": metaclass("BadName", bases, {})(),
        "no module": type("A\nB", bases, {"__module__": None})("x"),
        "syntax error": SyntaxError("s", odd[0]),
        "syntax error with bytes": SyntaxError("s", odd[1]),
        "circle": circle[0],
        "deep group": deep(),
        "long": ValueError("x" * 300_000),
        "lone surrogate": OSError(2, "no\udcff", "f\udcff"),
    }
