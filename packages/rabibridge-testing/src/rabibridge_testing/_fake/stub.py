"""What stands for a service in a test: a result, an error, or a function."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar

from rabibridge_core._observability.call_context import current_call
from rabibridge_core._server.exceptions import ArgumentsRefusedError
from rabibridge_core.errors import CallTimeoutError, ConnectionLostError, NoRouteError, QueueFullError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Self

    from rabibridge_core.transport import Refusal
    from rabibridge_testing._fake.recording import RecordedCall
    from rabibridge_testing._fake.records import Records
    from rabibridge_testing._memory.messages import CallTrace

__all__ = ["UNSET", "Stub", "StubError", "Unset"]

P = ParamSpec("P")
R = TypeVar("R")


class Unset:
    """The type of :data:`UNSET`."""

    def __repr__(self) -> str:
        return "not given"


UNSET: Final = Unset()
"""What an argument is that was not given, where ``None`` is a value."""


class StubError(Exception):
    """A stub was called and cannot answer: it has no result, or no more. Callers get it as a RemoteExecutionError."""


class Stub(Generic[P, R]):
    """What the fake broker answers the calls of one service with.

    Type checkers see the signature of the function, if it was made of one: ``stub(add).returns("3")`` is an error if
    ``add`` returns an ``int``. The last of :meth:`returns`, :meth:`raises` and :meth:`side_effect` holds.

    Attributes:
        service: the name of the service.
    """

    def __init__(
        self,
        broker: Records,
        service: str,
        target: str | Callable[..., Any],
        *,
        signature: inspect.Signature | None,
        check: Callable[[Any], None],
        streams: bool,
    ) -> None:
        """Answer calls of ``service``; :meth:`FakeBroker.stub` makes stubs.

        Args:
            broker: the broker.
            service: the name of the service.
            target: its name, or its function.
            signature: which arguments it takes; ``None``: any.
            check: raises TypeError if a value is none that the function can return, or is no item of it.
            streams: whether it gives items.
        """
        self.service = service
        self.streams = streams
        self.signature = signature
        self._broker, self._target, self._check = broker, target, check
        self._effect: Any = UNSET
        self._after: Any = UNSET
        self._list: deque[Any] | None = None
        self._listed = 0
        self._taken: dict[bytes, Any] = {}
        self.misused: list[str] = []
        """What went wrong in the stub itself, for strict mode."""

    def __repr__(self) -> str:
        return f"<Stub of {self.service!r}, called {self.call_count} times>"

    def returns(self, value: R) -> Self:
        """Answer every call with ``value``; of a stream, an iterable of its items.

        Raises:
            TypeError: the value does not fit the return annotation of the function.
        """
        values = tuple(value) if self.streams else (value,)  # type: ignore[arg-type]
        for one in values:
            self._check(one)
        self._set(values if self.streams else value)
        return self

    def raises(self, error: BaseException | type[BaseException]) -> Self:
        """End every call with an error.

        ``QueueFullError`` and ``NoRouteError``: the broker refuses it. ``CallTimeoutError``: it is never answered.
        ``ConnectionLostError``: all connections are lost when it arrives. Any other error is raised in the function,
        and its caller gets a ``RemoteExecutionError``, or the error itself if it is a ``ServiceError``. A stream ends
        so after the items of :meth:`returns`, if there are any.

        Raises:
            TypeError: it is no exception.
        """
        if not _is_error(error):
            raise TypeError(f"raises={error!r}: it must be an exception or a class of exceptions")
        if issubclass(error if isinstance(error, type) else type(error), ConnectionLostError):
            self._broker.needs_memory("a stub that raises ConnectionLostError")
        if self.streams and isinstance(self._effect, tuple):
            self._after = error
        else:
            self._set(error)
        return self

    def side_effect(
        self,
        effect: Callable[P, R | Awaitable[R]] | Iterable[R | BaseException | type[BaseException]],
    ) -> Self:
        """Answer with what a function returns, or with one of a list after another; exceptions in it are raised.

        Args:
            effect: an async or sync function that gets the arguments, and runs on the event loop; or an iterable with
                what each call gets. Once it is used up, calls fail.

        Raises:
            TypeError: it is neither, or a value in it does not fit the return annotation of the function.
        """
        if callable(effect) and not _is_error(effect):
            self._set(effect)
            return self
        if not isinstance(effect, Iterable):
            raise TypeError(f"side_effect={effect!r}: it must be a function or an iterable of results and exceptions")
        effects: list[Any] = list(effect)
        if self.streams:
            effects = [one if _is_error(one) else tuple(one) for one in effects]
        for one in effects:
            if not _is_error(one):
                for value in one if self.streams else (one,):
                    self._check(value)
        self._set(UNSET)
        self._list, self._listed = deque(effects), len(effects)
        return self

    def _set(self, effect: Any) -> None:
        self._effect, self._list, self._after = effect, None, UNSET

    @property
    def calls(self) -> list[RecordedCall]:
        """The calls so far, also notifications and broadcasts."""
        return self._broker._all_of(self.service)

    @property
    def call_count(self) -> int:
        """How often it was called."""
        return len(self.calls)

    def assert_called(self) -> None:
        """Check that it was called at least once."""
        self._broker.assert_called(self._target)

    def assert_called_once(self) -> None:
        """Check that it was called exactly once."""
        self._broker.assert_called_once(self._target)

    def assert_not_called(self) -> None:
        """Check that it was not called."""
        self._broker.assert_not_called(self._target)

    def assert_called_with(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Check that its last call had these arguments."""
        self._broker.assert_called_with(self._target, *args, **kwargs)

    def assert_called_once_with(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Check that it was called exactly once, and with these arguments."""
        self._broker.assert_called_once_with(self._target, *args, **kwargs)

    def assert_any_call(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Check that one of its calls had these arguments."""
        self._broker.assert_any_call(self._target, *args, **kwargs)

    # What the broker and its worker use.

    def refusal(self, trace: CallTrace) -> Refusal | None:
        """Decide what a call that was sent gets; return the error if the broker refuses it."""
        effect = self._effect if self._list is None else (self._list.popleft() if self._list else UNSET)
        for refusal in (QueueFullError, NoRouteError):
            if isinstance(effect, refusal) or (isinstance(effect, type) and issubclass(effect, refusal)):
                return refusal
        if self._list is not None:
            self._taken[trace.request.correlation_id] = effect
        return None

    def _next(self) -> Any:
        """Return what the call that is being processed gets."""
        if self._list is None:
            return self._effect
        if (taken := self._taken.pop(current_call()._request.correlation_id, None)) is not None:
            return taken
        return self._list.popleft() if self._list else UNSET  # it is processed again

    async def answer(self, /, *args: Any, **kwargs: Any) -> Any:
        """Return the result of one call."""
        self._check_arguments(args, kwargs)
        effect = self._next()
        if _is_error(effect):
            await self._fail(effect)
        if callable(effect):
            effect = effect(*args, **kwargs)
            if inspect.isawaitable(effect):
                effect = await effect
            self._check_result(effect)
        return self._known(effect)

    async def items(self, /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Give the items of one stream."""
        self._check_arguments(args, kwargs)
        effect, after = self._next(), self._after
        if _is_error(effect):
            await self._fail(effect)
        if callable(effect):
            effect = effect(*args, **kwargs)
            if inspect.isawaitable(effect):
                effect = await effect
        effect = self._known(effect)
        if isinstance(effect, AsyncIterable):
            async for item in effect:
                self._check_result(item)
                yield item
        else:
            for item in effect or ():
                self._check_result(item)
                yield item
        if after is not UNSET:
            await self._fail(after)

    def _check_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.signature is not None:
            try:
                self.signature.bind(*args, **kwargs)
            except TypeError as error:
                raise ArgumentsRefusedError from error

    def _check_result(self, value: Any) -> None:
        try:
            self._check(value)
        except TypeError as error:
            self.misused.append(str(error))
            raise

    def _known(self, effect: Any) -> Any:
        if effect is not UNSET:
            return effect
        if self._list is None and not current_call()._request.wants_reply:
            return None  # a notification needs no result
        if self._list is None:
            text = f"the stub of {self.service!r} has no result: give it returns=, raises= or side_effect="
        else:
            text = f"the side_effect of the stub of {self.service!r} is used up: {self._listed} of {self._listed}"
        self.misused.append(text)
        raise StubError(text)

    async def _fail(self, error: BaseException | type[BaseException]) -> None:
        cls = error if isinstance(error, type) else type(error)
        if issubclass(cls, CallTimeoutError):
            await asyncio.get_running_loop().create_future()
        if issubclass(cls, ConnectionLostError):
            if not current_call().redelivered:
                self._broker.lose_connection()
                await asyncio.get_running_loop().create_future()  # it is cancelled, as its request is redelivered
            return
        raise error


def _is_error(effect: object) -> bool:
    return isinstance(effect, BaseException) or (isinstance(effect, type) and issubclass(effect, BaseException))
