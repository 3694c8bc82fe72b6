"""Runs functions with parameters that the server fills in. Functions without such parameters do not come here."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rabibridge_core._concurrency.daemon_threads import DaemonThreadPool, joined
from rabibridge_core._server.call_scope import CallScope, runs_in_thread
from rabibridge_core._server.exceptions import ArgumentsRefusedError, NotStartedError
from rabibridge_core._server.executors import HandlerExecutor, run_in_thread
from rabibridge_core._server.process_executor import ProcessExecutor
from rabibridge_core._server.process_scope import ProcessScope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._services.injection import Injections
    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["executor_for"]


def executor_for(
    schema: ServiceSchema,
    process: ProcessScope | None,
    codec: Codec | None = None,
    *,
    handler: Callable[..., Any] | None = None,
) -> HandlerExecutor:
    """Return what runs the function of a service.

    Args:
        schema: the service.
        process: what lives longer than its calls.
        codec: what child processes decode and encode with.
        handler: called in place of the function, with the same arguments; ``None``: the function itself.
    """
    if schema.executor == "process":
        assert codec is not None
        return ProcessExecutor(schema, codec, ProcessScope() if process is None else process)
    if schema.injections is None:
        return HandlerExecutor(schema, handler)
    return InjectingExecutor(schema, schema.injections, ProcessScope() if process is None else process, handler)


class InjectingExecutor(HandlerExecutor):
    """Runs a function with parameters that the server fills in.

    The arguments of the caller are checked first, so that nothing is made for a call that is refused. If the function
    runs in a thread, what is async is made before it on the event loop; the rest is made, used and cleaned up in the
    thread of the function, as objects that belong to one thread require.
    """

    def __init__(
        self,
        schema: ServiceSchema,
        injections: Injections,
        process: ProcessScope,
        handler: Callable[..., Any] | None = None,
    ) -> None:
        """Prepare to run the function of ``schema``, or ``handler`` in its place."""
        super().__init__(schema, handler)
        self.inline = None
        self._name = schema.name
        self._injections = injections
        self._process = process
        self._pool = self._threads or DaemonThreadPool(schema.most, f"rabibridge-{schema.name}")
        self._running = 0
        self._closed = False

    async def run(self, args: Sequence[Any], kwargs: Mapping[str, Any], active: ActiveRequest) -> Any:
        """Do what :meth:`HandlerExecutor.run` does, with the parameters that the server fills in.

        Raises:
            BaseException: also what a provider raises.
        """
        args, kwargs = self._checked(args, kwargs)
        self._running += 1
        try:
            async with CallScope(self._process, active, self._pool) as scope:
                needs = self._injections.needs.items()
                if self._on_loop:
                    values = {name: await scope.value(need) for name, need in needs}
                    return await self._handler(*args, **kwargs, **values)
                return await self._in_thread(scope, args, kwargs, active)
        finally:
            self._running -= 1
            self._close_if_unused()

    def _checked(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return the arguments of the caller, converted if the service validates.

        Raises:
            ArgumentsRefusedError: they do not fit, or give a parameter that the server fills in.
        """
        for name in kwargs:
            if name in self._injections.needs:
                raise ArgumentsRefusedError from TypeError(
                    f"{self._name}() got an unexpected keyword argument {name!r}"
                )
        if self._validate is not None:
            return self._validate(args, kwargs)
        try:
            self._injections.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentsRefusedError from TypeError(f"{self._name}(): {error}")
        return args, kwargs

    async def _in_thread(
        self, scope: CallScope, args: Sequence[Any], kwargs: Mapping[str, Any], active: ActiveRequest
    ) -> Any:
        needs = self._injections.needs.items()
        early = {name: await scope.value(need) for name, need in needs if not runs_in_thread(need, self._process)}

        @functools.wraps(self._handler)
        def work(*args: Any, **kwargs: Any) -> Any:
            with ExitStack() as stack:
                late = {name: scope.sync_value(need, stack) for name, need in needs if name not in early}
                return self._handler(*args, **kwargs, **early, **late)

        context = scope.thread_context()
        try:
            future = self._pool.submit(lambda: context.run(run_in_thread, work, args, kwargs, active))
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

    def close(self, *, drop_waiting: bool) -> None:
        """Let the threads end after the calls that are running: their providers still clean up."""
        self._closed = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._closed and not self._running:
            self._pool.close(drop_waiting=True)
