"""What passed through the fake broker: its calls, and assertions about them."""

from __future__ import annotations

import asyncio
import difflib
import functools
import inspect
from pprint import pformat
from typing import TYPE_CHECKING, Any

from rabibridge_core._client.stream_targets import gives_items, stream_target_of
from rabibridge_core._client.targets import HasTarget, target_of
from rabibridge_core._services.injection import signature_for_callers
from rabibridge_core.errors import SerializationError
from rabibridge_core.settings.nearest import nearest
from rabibridge_testing._fake.recording import decode
from rabibridge_testing._fake.serving import ServingBroker
from rabibridge_testing._memory.threads import post

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._codec.codec import Codec
    from rabibridge_testing._fake.recording import RecordedCall
    from rabibridge_testing._memory.messages import CallTrace

__all__ = ["Records", "name_and_signature"]

_LONG = 60
"""Calls that take more characters are shown as a diff of lines."""


class Records(ServingBroker):
    """The calls of a fake broker. A service is named by its name, or by the function that it is."""

    def __init__(self) -> None:
        """Start without calls."""
        super().__init__()
        self._waiting: list[Callable[[], None]] = []

    def needs_memory(self, what: str) -> None:
        """Called where a test uses what only the broker in memory can do; this is one."""

    @property
    def calls(self) -> list[RecordedCall]:
        """All calls so far, in the order in which they were sent; a new list on each access.

        A redelivered call is listed once, and refused calls are listed too; broadcasts are in :attr:`broadcasts`. A
        call that its client sends again is listed again each time, with the same ``correlation_id``.
        """
        return [call for call in self._recorded() if not call.broadcast]

    @property
    def broadcasts(self) -> list[RecordedCall]:
        """All broadcasts so far, in the order in which they were sent; a new list on each access."""
        return [call for call in self._recorded() if call.broadcast]

    def calls_of(self, service: str | Callable[..., Any]) -> list[RecordedCall]:
        """Return the :attr:`calls` of one service."""
        name, _ = name_and_signature(service)
        return [call for call in self.calls if call.service == name]

    def _recorded(self) -> list[RecordedCall]:
        now = self.now()
        return [decode(trace, self._reader, now) for trace in list(self.traces)]

    def traced(self, trace: CallTrace) -> None:
        """Called with the record of each request that was sent: wake those who wait for one."""
        for wake in list(self._waiting):
            wake()

    async def wait_for_call(
        self, service: str | Callable[..., Any], *, count: int = 1, timeout: float = 10.0
    ) -> RecordedCall:
        """Wait until a service was called, and return the call; it may have no reply yet.

        Args:
            service: its name, or the function that it is.
            count: how often it was called, from the beginning of the test on, or the last :meth:`reset`: the call of
                that number is returned.
            timeout: how long to wait, in seconds.

        Raises:
            AssertionError: it was not called so often in this time.
        """
        name, _ = name_and_signature(service)
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            post(loop, arrived.set)

        self._waiting.append(wake)
        try:
            async with asyncio.timeout(timeout):
                while len(calls := self._all_of(name)) < count:
                    arrived.clear()
                    await arrived.wait()
        except TimeoutError:
            raise AssertionError(
                f"{name!r} was called {_times(len(self._all_of(name)))} within {timeout:g} s, not {_times(count)}. "
                f"{self._what_was_called()}"
            ) from None
        finally:
            self._waiting.remove(wake)
        return calls[count - 1]

    def _all_of(self, name: str) -> list[RecordedCall]:
        return [call for call in self._recorded() if call.service == name]

    def assert_called(self, service: str | Callable[..., Any]) -> None:
        """Check that a service was called at least once, be it by a call, a notification or a broadcast.

        Raises:
            AssertionError: it was not.
        """
        name, _ = name_and_signature(service)
        if not self._all_of(name):
            raise AssertionError(f"expected {name!r} to have been called. {self._what_was_called(name)}")

    def assert_called_once(self, service: str | Callable[..., Any]) -> None:
        """Check that a service was called exactly once.

        Raises:
            AssertionError: it was not.
        """
        name, signature = name_and_signature(service)
        calls = self._all_of(name)
        if len(calls) != 1:
            listed = "".join(f"\n  {_shown(name, *_bound(signature, one.args, one.kwargs))}" for one in calls)
            rest = f"Calls:{listed}" if calls else self._what_was_called(name)
            raise AssertionError(f"expected {name!r} to have been called once, called {_times(len(calls))}. {rest}")

    def assert_not_called(self, service: str | Callable[..., Any]) -> None:
        """Check that a service was not called.

        Raises:
            AssertionError: it was.
        """
        name, signature = name_and_signature(service)
        if calls := self._all_of(name):
            listed = "".join(f"\n  {_shown(name, *_bound(signature, one.args, one.kwargs))}" for one in calls)
            raise AssertionError(
                f"expected {name!r} to not have been called, called {_times(len(calls))}. Calls:{listed}"
            )

    def assert_called_with(self, service: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Check that the last call of a service had these arguments.

        Where the function is given, an argument may have been given by its name or by its place.

        Raises:
            AssertionError: it had others, or there was none.
        """
        name, signature = name_and_signature(service)
        self.assert_called(name)
        call = self._all_of(name)[-1]
        if not self._has(call, signature, args, kwargs):
            raise AssertionError(_difference(name, signature, args, kwargs, [call]))

    def assert_called_once_with(self, service: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Check that a service was called exactly once, and with these arguments.

        Raises:
            AssertionError: it was not.
        """
        self.assert_called_once(service)
        self.assert_called_with(service, *args, **kwargs)

    def assert_any_call(self, service: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """Check that one of the calls of a service had these arguments.

        Raises:
            AssertionError: none had.
        """
        name, signature = name_and_signature(service)
        self.assert_called(name)
        calls = self._all_of(name)
        if not any(self._has(call, signature, args, kwargs) for call in calls):
            raise AssertionError(_difference(name, signature, args, kwargs, calls))

    def _has(self, call: RecordedCall, signature: _Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Tell whether a call has these arguments, also as they are after they were sent."""
        actual, expected = _bound(signature, call.args, call.kwargs), _bound(signature, args, kwargs)
        return bool(expected == actual) or _as_sent(self._reader, expected) == actual

    def _what_was_called(self, name: str = "") -> str:
        called = sorted({call.service for call in self._recorded()})
        if not called:
            return "Nothing was called"
        near = nearest(name, called) if name else None
        return f"{near!r} was; did you mean that?" if near else f"Called were: {', '.join(map(repr, called))}"


_Signature = inspect.Signature | None


def name_and_signature(service: str | Callable[..., Any]) -> tuple[str, _Signature]:
    """Return the name of a service, and the signature of its function as callers see it, if that is given.

    Raises:
        TypeError: it stands for no service.
    """
    if isinstance(service, str):
        return service, None
    target = stream_target_of(service) if gives_items(service) else target_of(service)
    listing: Any = service._listing if isinstance(service, HasTarget) else service
    return target.name, None if isinstance(listing, str) else signature_for_callers(listing)


def _bound(
    signature: _Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if signature is None:
        return args, kwargs
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return args, kwargs
    return bound.args, bound.kwargs


def _as_sent(codec: Codec, call: tuple[tuple[Any, ...], dict[str, Any]]) -> object:
    """Return arguments as a worker gets them: tuples as lists, and the like."""
    try:
        body, content_type, encoding = codec.encode([list(call[0]), call[1]])[:3]
        args, kwargs = codec.decode(body, content_type, encoding)
    except (SerializationError, TypeError):
        return None  # such as mock.ANY
    return tuple(args), kwargs


def _shown(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    given = [*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())]
    return f"{name}({', '.join(given)})"


def _difference(
    name: str, signature: _Signature, args: tuple[Any, ...], kwargs: dict[str, Any], calls: list[RecordedCall]
) -> str:
    """Return what differs, as unittest.mock shows it; long arguments line by line."""
    expected = _bound(signature, args, kwargs)
    actual = [_bound(signature, call.args, call.kwargs) for call in calls]
    wanted, got = _shown(name, *expected), [_shown(name, *one) for one in actual]
    if len(got) > 1:
        return f"{wanted} call not found. Calls:" + "".join(f"\n  {one}" for one in got)
    text = f"expected call not found.\nExpected: {wanted}\n  Actual: {got[0]}"
    if max(len(wanted), len(got[0])) > _LONG:
        text += "\n" + "\n".join(difflib.ndiff(_lines(*actual[0]), _lines(*expected)))
        text += "\n(- actual, + expected)"
    return text


def _lines(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    return functools.reduce(
        list.__add__,
        [
            *(pformat(value, width=40).splitlines() for value in args),
            *(f"{key}={pformat(value, width=40)}".splitlines() for key, value in kwargs.items()),
        ],
        [],
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
