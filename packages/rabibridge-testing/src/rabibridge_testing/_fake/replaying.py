"""Answers calls as a recorded conversation says."""

from __future__ import annotations

import asyncio
import difflib
import inspect
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, Final

from rabibridge_core._observability.call_context import current_call
from rabibridge_core._protocol.streams import UPLOAD as UPLOAD_HEADER
from rabibridge_core.errors import NoRouteError, QueueFullError
from rabibridge_testing._fake.recording import decode
from rabibridge_testing._fake.stub import Stub, StubError
from rabibridge_testing._recordings.file import Exchange
from rabibridge_testing._recordings.values import UPLOAD, Fed, from_json, pretty, to_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from rabibridge_core.transport import Refusal
    from rabibridge_testing._fake.records import Records
    from rabibridge_testing._memory.messages import CallTrace
    from rabibridge_testing._recordings.redaction import Redaction

__all__ = ["Recording", "ReplayFailedError", "ReplayStub", "upload_names"]

_REFUSALS: Final[dict[str, Refusal]] = {"QueueFullError": QueueFullError, "NoRouteError": NoRouteError}


class ReplayFailedError(Exception):
    """Raised in the place of a function: the broker puts the recorded error into the reply."""


class Recording:
    """A recorded conversation that a fake broker replays; each of its calls answers one call.

    Attributes:
        name: the name of its file.
    """

    def __init__(self, name: str, exchanges: Sequence[Exchange], redaction: Redaction) -> None:
        """Replay ``exchanges``, in which ``redaction`` has removed secrets."""
        self.name = name
        self._redaction = redaction
        self._names: dict[str, Sequence[str]] = {}
        self._all = list(exchanges)
        self._left = list(exchanges)

    def __repr__(self) -> str:
        return f"<Recording {self.name!r}, {len(self._left)} of {len(self._all)} calls left>"

    @property
    def left(self) -> list[str]:
        """The calls that were not replayed yet, such as ``add(1, 2)``."""
        return [each.shown() for each in self._left]

    def assert_all_replayed(self) -> None:
        """Check that every recorded call was made.

        Raises:
            AssertionError: one was not; it names all of them.
        """
        if problem := self.problem():
            raise AssertionError(problem)

    def problem(self) -> str:
        """Return what :meth:`assert_all_replayed` says; empty: nothing."""
        return f"recorded in {self.name!r}, and not called: {', '.join(self.left)}" if self._left else ""

    def name_arguments(self, service: str, names: Sequence[str]) -> None:
        """Say what the positional arguments of a service are called."""
        self._names[service] = names

    def of(self, service: str) -> list[Exchange]:
        """Return all calls of a service."""
        return [each for each in self._all if each.service == service]

    def services(self) -> list[str]:
        """Return the services that it has calls of."""
        return list(dict.fromkeys(each.service for each in self._all))

    def take(self, service: str, args: Sequence[Any], kwargs: dict[str, Any], *, broadcast: bool) -> Exchange:
        """Return the first recorded call like this one that was not replayed yet.

        Raises:
            StubError: there is none; it shows the nearest one.
        """
        asked = Exchange(
            service,
            self._redaction.arguments(to_json(list(args)), self._names.get(service, ())),
            self._redaction.redacted({name: to_json(value) for name, value in kwargs.items()}),
            "broadcast" if broadcast else "call",
        )
        key = asked.key()
        for each in self._left:
            if each.key() == key:
                self._left.remove(each)
                return each
        raise StubError(self._why_none(asked))

    def _why_none(self, asked: Exchange) -> str:
        alike = sum(each.key() == asked.key() for each in self._all)
        if alike:
            return f"{asked.shown()} is used up: {alike} of {alike} that {self.name!r} holds were replayed"
        others = self.of(asked.service)
        wanted = _lines(asked)
        nearest = max(others, key=lambda each: difflib.SequenceMatcher(None, _lines(each), wanted).ratio())
        used = "" if nearest in self._left else ", which was replayed already"
        diff = "\n".join(difflib.ndiff(_lines(nearest), wanted))
        return (
            f"{self.name!r} holds no call {asked.shown()}. The nearest is {nearest.shown()}{used}:\n{diff}\n"
            "(- recorded, + called)"
        )


def _lines(exchange: Exchange) -> list[str]:
    parts = [*exchange.args, *({name: value} for name, value in exchange.kwargs.items())]
    return [line for part in parts for line in pretty(part).splitlines()]


class ReplayStub(Stub[..., Any]):
    """Answers the calls of one service as a recording says."""

    recording: Recording
    """What it replays."""
    fail: Callable[[bytes, dict[str, Any]], None]
    """Lets the broker put an error into the reply to the request of this correlation id."""

    def __init__(self, broker: Records, service: str, target: Any, **options: Any) -> None:
        """Answer calls of ``service``."""
        super().__init__(broker, service, target, **options)
        self._found: dict[bytes, Exchange | StubError] = {}

    def refusal(self, trace: CallTrace) -> Refusal | None:
        """Find what a call that was sent gets, unless its arguments are yet to come; return the error if refused."""
        if UPLOAD_HEADER in (trace.request.headers or {}):
            return None
        correlation_id = trace.request.correlation_id
        if correlation_id not in self._found:  # else it is sent again
            call = decode(trace, self._broker._reader, 0.0)
            self._find(correlation_id, call.args, call.kwargs, broadcast=call.broadcast)
        found = self._found[correlation_id]
        return _REFUSALS.get(found.refused) if isinstance(found, Exchange) else None

    def _find(
        self, correlation_id: bytes, args: Sequence[Any], kwargs: dict[str, Any], *, broadcast: bool = False
    ) -> Exchange | StubError:
        try:
            found: Exchange | StubError = self.recording.take(self.service, args, kwargs, broadcast=broadcast)
        except StubError as error:
            self.misused.append(str(error))
            found = error
        self._found[correlation_id] = found
        return found

    async def _exchange(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Exchange:
        call = current_call()
        correlation_id = call._request.correlation_id
        found = self._found.get(correlation_id)
        if found is None:
            args = tuple([await _gathered(value) for value in args])
            kwargs = {name: await _gathered(value) for name, value in kwargs.items()}
            found = self._find(correlation_id, args, kwargs)
        if isinstance(found, StubError):
            raise found
        for fraction, text in found.progress:
            call.progress(fraction, text)
        return found

    async def answer(self, *args: Any, **kwargs: Any) -> Any:
        """Return the result of one call."""
        found = await self._exchange(args, kwargs)
        await self._end(found)
        return from_json(found.result[0]) if found.result else None

    async def items(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Give the items of one stream."""
        found = await self._exchange(args, kwargs)
        for item in found.items or ():
            yield from_json(item)
        await self._end(found)

    async def _end(self, found: Exchange) -> None:
        if found.unanswered:
            await asyncio.get_running_loop().create_future()
        if found.error is not None:
            self.fail(current_call()._request.correlation_id, found.error)
            raise ReplayFailedError(str(found.error.get("message", "")))


async def _gathered(value: Any) -> Any:
    """Return the items of what was fed as they stand in a recording; any other value as it is."""
    if isinstance(value, AsyncIterable):
        return Fed([item async for item in value])
    return value


def upload_names(exchanges: Sequence[Exchange]) -> tuple[tuple[str, ...], inspect.Signature | None]:
    """Return the parameters that were fed, and a signature that has them; ``None``: none was."""
    places = {at for each in exchanges for at, value in enumerate(each.args) if _is_fed(value)}
    named = {name for each in exchanges for name, value in each.kwargs.items() if _is_fed(value)}
    if not places and not named:
        return (), None
    count = max(places, default=-1) + 1
    parameters = [inspect.Parameter(f"arg{at}", inspect.Parameter.POSITIONAL_ONLY, default=None) for at in range(count)]
    parameters += [
        inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
        *(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in sorted(named)),
        inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
    ]
    return (*(f"arg{at}" for at in sorted(places)), *sorted(named)), inspect.Signature(parameters)


def _is_fed(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {UPLOAD}
