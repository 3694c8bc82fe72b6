"""Runs handlers: coroutine functions on the event loop, sync functions there or in the threads of their service.

Arguments are validated here, if the service asks for it. Deadlines, replies and settling belong to the processor.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

from rabibridge_core._clock import monotonic
from rabibridge_core._codec.annotation_names import annotated_function, argument_annotations
from rabibridge_core._codec.arrays import with_arrays
from rabibridge_core._concurrency.daemon_threads import DaemonThreadPool, joined
from rabibridge_core._server.exceptions import ArgumentsRefusedError, NotStartedError, TooLateError
from rabibridge_core._server.upload_iterators import fed_annotation
from rabibridge_core.errors import RegistrationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["HandlerExecutor", "invoke", "is_signature_error", "on_loop", "run_in_thread", "validator"]


_UNFINISHED = (CoroutineType, GeneratorType, AsyncGeneratorType)


class HandlerExecutor:
    """Runs the handler of one service.

    A sync handler runs on the event loop only if its service says so. Each service has its own threads, as many as its
    ``fetch_size`` (32 by default), so that a slow service does not take the threads of another.
    """

    def __init__(self, schema: ServiceSchema, handler: Callable[..., Any] | None = None) -> None:
        """Prepare to run the handler of ``schema``; pydantic is imported here if the service validates.

        Args:
            schema: the service.
            handler: called in place of its function, with the same arguments; ``None``: the function itself.
        """
        self._on_loop = schema.executor != "thread"
        self._handler = schema.func_ptr if handler is None else handler
        if self._on_loop and not schema.is_async:
            self._handler = on_loop(self._handler)
        self._validate = validator(schema) if schema.validate else None
        self.inline = self._handler if self._on_loop and not schema.validate else None
        """The handler, if :meth:`run` does no more than to call and await it: the processor then saves two calls."""
        self.problem = ""
        """Why no handler can be started now, after an attempt that failed; empty: nothing is known."""
        self._threads: DaemonThreadPool | None = None
        if not self._on_loop:
            self._threads = DaemonThreadPool(schema.most, f"rabibridge-{schema.name}")

    async def run(self, args: Sequence[Any], kwargs: Mapping[str, Any], active: ActiveRequest) -> Any:
        """Return the handler's result. If a thread runs it, ``active.thread_future`` is set.

        Raises:
            ArgumentsRefusedError: the arguments do not fit the signature or the annotations.
            NotStartedError: no thread could be started.
            TooLateError: the deadline passed, or the request was stopped, before a thread was free.
            CancelledError: ``active.thread_future`` was cancelled before a thread was free.
            BaseException: what the handler raises.
        """
        if self._validate is not None:
            args, kwargs = self._validate(args, kwargs)
        if self._threads is None:
            return await invoke(self._handler, args, kwargs)
        context = contextvars.copy_context()
        try:
            future = self._threads.submit(lambda: context.run(run_in_thread, self._handler, args, kwargs, active))
        except RuntimeError as error:  # a limit of the system
            self.problem = f"no thread can be started: {error}"
            raise NotStartedError from error
        self.problem = ""
        active.thread_future = future
        result, raised = await joined(future)
        if raised is None:
            return result
        try:
            raise raised
        finally:
            del raised, future  # a frame that keeps the exception which keeps the frame is a cycle

    @property
    def finished(self) -> bool:
        """Whether there is nothing to wait for, after :meth:`close`."""
        return True

    async def start(self) -> None:
        """Start what must be there before the first call: nothing, unless calls run in other processes.

        Raises:
            RegistrationError: these cannot run the handler.
        """

    async def wait_closed(self) -> None:
        """Wait, after :meth:`close`, until all that must end is gone. Threads cannot be waited for."""

    def close(self, *, drop_waiting: bool) -> None:
        """Let the threads end after the handlers that run in them, which cannot be interrupted.

        Args:
            drop_waiting: cancel the work that waits for a thread; otherwise it is run first.
        """
        if self._threads is not None:
            self._threads.close(drop_waiting=drop_waiting)


def invoke(handler: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call the handler.

    Raises:
        ArgumentsRefusedError: the arguments do not fit its signature.
    """
    try:
        return handler(*args, **kwargs)
    except TypeError as error:
        if is_signature_error(error):
            raise ArgumentsRefusedError from error
        raise


def on_loop(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return an async function that runs a sync handler at once, on the event loop."""

    @functools.wraps(handler)
    async def run(*args: Any, **kwargs: Any) -> Any:
        result = invoke(handler, args, kwargs)
        if isinstance(result, _UNFINISHED):
            raise _no_result(handler, result)
        return result

    return run


def is_signature_error(error: TypeError) -> bool:
    """Tell whether a TypeError was raised by the call of a handler, not in it: there is no frame below the caller."""
    return error.__traceback__ is not None and error.__traceback__.tb_next is None


def run_in_thread(
    handler: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], active: ActiveRequest
) -> tuple[Any, BaseException | None]:
    """Run a handler in a thread; return its result and what it raised."""
    # The exception is returned, not raised: a future cannot hold StopIteration.
    if active.cancelled or (active.ends_at is not None and monotonic() >= active.ends_at):
        return None, TooLateError()
    try:
        result = invoke(handler, args, kwargs)
    except BaseException as error:  # noqa: BLE001 - a handler may raise anything; the caller gets it as an error reply
        return None, error
    if isinstance(result, _UNFINISHED):
        return None, _no_result(handler, result)
    return result, None


def _no_result(handler: Callable[..., Any], returned: Any) -> TypeError:
    """Return the error of a function that is served as sync, and returned something that still has to run."""
    name = getattr(handler, "__qualname__", None) or repr(handler)
    what = type(returned).__name__.replace("_", " ")
    if isinstance(returned, CoroutineType):
        returned.close()
        return TypeError(
            f"{name} is not a coroutine function, and returned a {what}, which nobody awaits: declare it "
            "with 'async def', and let its decorators do the same"
        )
    return TypeError(
        f"{name} returned a {what}: a service returns one result, such as a list, or is a generator function itself"
    )


# Pydantic keeps the local names of the function that calls it, to look up annotations: ours would be found by mistake,
# and kept alive with all their callers' for as long as the validator. It takes none from code that is a module's own.
_VALIDATE_CALL = compile("validate_call(function)", __file__, "eval")


def validator(schema: ServiceSchema) -> Callable[[Sequence[Any], Mapping[str, Any]], tuple[Any, Any]]:
    """Return a function that checks and converts arguments by the annotations, without running the handler.

    Raises:
        RegistrationError: pydantic cannot use the annotations, for example because a name in them is only defined for
            type checkers.
    """
    import pydantic

    handler, function = schema.func_ptr, annotated_function(schema.func_ptr)

    @functools.wraps(handler)
    def capture(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        return args, kwargs

    # The annotation of the result plays no part, and may exist for type checkers only.
    try:
        injected = () if schema.injections is None else schema.injections.needs
        annotations = argument_annotations(handler, without=injected)
        capture.__annotations__ = {
            name: fed_annotation(annotation, on_loop=schema.is_async)
            if name in schema.uploads
            else with_arrays(annotation)
            for name, annotation in annotations.items()
        }
        capture.__module__, capture.__qualname__ = function.__module__, schema.name
        # A partial that update_wrapper() was applied to would show the signature of the whole function.
        signature = inspect.signature(handler, follow_wrapped=not isinstance(handler, functools.partial))
        if schema.injections is not None:
            signature = schema.injections.signature
        capture.__signature__ = signature  # type: ignore[attr-defined]
        checked: Callable[..., tuple[Any, Any]] = eval(  # noqa: S307 - a constant text; only its globals vary
            _VALIDATE_CALL, {"validate_call": pydantic.validate_call, "function": capture}
        )
    except Exception as error:
        raise RegistrationError(
            f"service {schema.name!r}: validate=True needs annotations that pydantic can use: {error}"
        ) from error

    def validate(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
        try:
            return checked(*args, **kwargs)
        except pydantic.ValidationError as error:
            raise ArgumentsRefusedError from error.with_traceback(None)  # its frames are those of pydantic
        except BaseException as error:
            raise ArgumentsRefusedError from error  # a validator may raise anything; the handler did not begin

    return validate
