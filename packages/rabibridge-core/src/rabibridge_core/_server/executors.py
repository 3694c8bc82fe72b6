"""How a handler runs: validated if asked for, coroutines on the loop, everything else in a thread of its service."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from time import monotonic
from typing import TYPE_CHECKING, Any

from rabibridge_core._concurrency.daemon_threads import DaemonThreadPool
from rabibridge_core._server.exceptions import ArgumentsRefusedError, TooLateError
from rabibridge_core.errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["HandlerExecutor", "invoke", "validator"]


class HandlerExecutor:
    """Runs one service's function.

    A sync function never runs on the event loop. Its threads belong to its service, as many as the service's
    ``fetch_size`` (32 where that is not given), so that one slow service does not take the threads of another.
    """

    def __init__(self, schema: ServiceSchema) -> None:
        """Prepare to run the service's function; pydantic is loaded here if the service validates."""
        self._func = schema.func_ptr
        self.is_async = schema.is_async
        self._validated = validator(schema) if schema.validate else None
        self.direct = schema.func_ptr if schema.is_async and not schema.validate else None
        """The function, where calling it by :func:`invoke` and awaiting that is all there is to do."""
        self._threads: DaemonThreadPool | None = None
        if not schema.is_async:
            self._threads = DaemonThreadPool(schema.concurrency, f"rabibridge-{schema.name}")

    async def run(self, args: Sequence[Any], kwargs: Mapping[str, Any], call: ActiveRequest) -> Any:
        """Return the function's result. Where a thread runs it, that is noted in ``call.thread``.

        Raises:
            ArgumentsRefusedError: signature or validation refuse the arguments.
            TooLateError: the time of ``call`` was over, or it was given up, before a thread was free.
            CancelledError: ``call.thread`` was cancelled before a thread was free.
            BaseException: whatever the function raises.
        """
        if self._validated is not None:
            args, kwargs = self._validated(args, kwargs)
        if self._threads is None:
            return await invoke(self._func, args, kwargs)
        context = contextvars.copy_context()
        running = self._threads.submit(lambda: context.run(_in_thread, self._func, args, kwargs, call))
        call.thread = running
        result, error = await asyncio.wrap_future(running)
        if error is not None:
            raise error
        return result

    def close(self, *, drop_waiting: bool) -> None:
        """Let the threads end; what runs in them cannot be stopped, what waits for one is run first or dropped."""
        if self._threads is not None:
            self._threads.close(drop_waiting=drop_waiting)


def invoke(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call the function.

    Raises:
        ArgumentsRefusedError: the arguments do not fit its signature.
    """
    try:
        return func(*args, **kwargs)
    except TypeError as error:
        # Raised by the call itself, not in the function: then no frame lies below this one.
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:
            raise ArgumentsRefusedError from error
        raise


def _in_thread(
    func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], call: ActiveRequest
) -> tuple[Any, BaseException | None]:
    # The exception is returned, not raised: a future cannot carry StopIteration.
    if call.cancelled or (call.ends_at is not None and monotonic() >= call.ends_at):
        return None, TooLateError()
    try:
        return invoke(func, args, kwargs), None
    except BaseException as error:  # noqa: BLE001 - a handler may raise anything; the caller gets it as an error reply
        return None, error


def validator(schema: ServiceSchema) -> Callable[[Sequence[Any], Mapping[str, Any]], tuple[Any, Any]]:
    """Return a function that checks and converts arguments by the annotations, without running the service.

    Raises:
        RegistrationError: the annotations cannot be used; a name in them may not be defined when the program runs.
    """
    import pydantic

    @functools.wraps(schema.func_ptr)
    def arguments(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        return args, kwargs

    # pydantic validates the result against the annotation too if asked; that is not ours to judge.
    try:
        checked = pydantic.validate_call(arguments)
    except Exception as error:
        raise RegistrationError(
            f"service {schema.name!r} cannot be validated: its annotations cannot be used: {error}"
        ) from error

    def validate(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
        try:
            return checked(*args, **kwargs)
        except pydantic.ValidationError as error:
            raise ArgumentsRefusedError from error

    return validate
