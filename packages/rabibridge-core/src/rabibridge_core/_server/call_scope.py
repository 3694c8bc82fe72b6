"""The values that the parameters of one call get: made before the function runs, and cleaned up after it."""

from __future__ import annotations

import asyncio
import contextvars
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from rabibridge_core._concurrency.daemon_threads import joined
from rabibridge_core._server.cleanup import async_cleanup, sync_cleanup
from rabibridge_core._services.providers import ByType

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from rabibridge_core._concurrency.daemon_threads import DaemonThreadPool
    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._server.process_scope import ProcessScope
    from rabibridge_core._services.providers import Need, Provider

__all__ = ["CallScope", "runs_in_thread"]


class CallScope:
    """The values of one call; an async context manager.

    When it is left, they are cleaned up, the last one first. From then on, the call is not interrupted: its deadline
    and its caller may not tear a cleanup apart.

    Providers that are not async run in threads. All of them run in one context, which takes over what was set in the
    context of the task, and the other way round: what a provider sets in a context variable is seen by the function
    and by its own cleanup.
    """

    __slots__ = ("_active", "_context", "_process", "_stack", "_threads", "_values")

    def __init__(self, process: ProcessScope, active: ActiveRequest, threads: DaemonThreadPool | None) -> None:
        """Make values for ``active``.

        Args:
            process: what lives longer than a call.
            active: the call.
            threads: where providers run that are not async; ``None``: all are async.
        """
        self._process = process
        self._active = active
        self._threads = threads
        self._values: dict[Hashable, Any] = {}
        self._context: contextvars.Context | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> CallScope:
        """Begin without values."""
        return self

    async def __aexit__(self, *error: Any) -> bool | None:
        """Clean up; an exception of a cleanup replaces the one that the call has raised."""
        self._active.interruptible = False
        return await self._stack.__aexit__(*error)

    async def value(self, need: Need) -> Any:
        """Return what a parameter gets."""
        if isinstance(need, ByType):
            return self._process.find(need)
        provider = self._process.replaced(need)
        if provider.scope == "process":
            return self._process.value(provider)
        if provider.use_cache and provider.key in self._values:
            return self._values[provider.key]
        arguments = {name: await self.value(inner) for name, inner in provider.needs.items()}
        value = await self._make(provider, arguments)
        if provider.use_cache:
            self._values[provider.key] = value
        return value

    async def _make(self, provider: Provider, arguments: dict[str, Any]) -> Any:
        if not provider.manages:
            if provider.on_loop:
                return await provider.make(**arguments)
            return await self._in_thread(partial(provider.make, **arguments))
        manager = provider.make(**arguments)
        if provider.on_loop:
            value = await manager.__aenter__()
            self._stack.push_async_exit(async_cleanup(provider, manager.__aexit__))
            return value

        def enter() -> Any:
            value = manager.__enter__()
            self._stack.push_async_exit(async_cleanup(provider, leave))  # also if the call was stopped meanwhile
            return value

        async def leave(*error: Any) -> None:
            await self._in_thread(lambda: manager.__exit__(*error))

        return await self._in_thread(enter)

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        """Run a part of a provider in a thread, which cannot be interrupted."""
        assert self._threads is not None
        context, active = self.thread_context(), self._active
        interruptible, active.interruptible = active.interruptible, False
        future = self._threads.submit(lambda: context.run(_outcome, work))
        try:
            value, raised = await joined(future)
        except asyncio.CancelledError:
            self._context = None  # the thread goes on in it
            raise
        finally:
            active.interruptible = interruptible
        _carry(context)
        if raised is not None:
            try:
                raise raised
            finally:
                del raised
        if interruptible and active.stop_reason is not None:
            raise asyncio.CancelledError  # it was stopped while it could not be interrupted
        return value

    def thread_context(self) -> contextvars.Context:
        """Return the context of those parts of the call that run in threads, with what the task has set since."""
        if self._context is None:
            self._context = contextvars.copy_context()
        else:
            self._context.run(_carry, contextvars.copy_context())
        return self._context

    def sync_value(self, need: Need, stack: ExitStack) -> Any:
        """Return what a parameter gets, in the thread that runs the function; ``stack`` cleans up there.

        Only for parameters of which :func:`runs_in_thread` is true.
        """
        if isinstance(need, ByType):
            return self._process.find(need)
        provider = self._process.replaced(need)
        if provider.scope == "process":
            return self._process.value(provider)
        if provider.use_cache and provider.key in self._values:
            return self._values[provider.key]
        arguments = {name: self.sync_value(inner, stack) for name, inner in provider.needs.items()}
        value = provider.make(**arguments)
        if provider.manages:
            manager = value
            value = manager.__enter__()
            stack.push(sync_cleanup(provider, manager.__exit__))
        if provider.use_cache:
            self._values[provider.key] = value
        return value


def runs_in_thread(need: Need, process: ProcessScope) -> bool:
    """Tell whether everything that a parameter needs for one call runs in threads."""
    if isinstance(need, ByType):
        return True
    provider = process.replaced(need)
    if provider.scope == "process":
        return True
    return not provider.on_loop and all(runs_in_thread(inner, process) for inner in provider.needs.values())


def _outcome(work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    # The exception is returned, not raised: a future cannot hold StopIteration.
    try:
        return work(), None
    except BaseException as error:  # noqa: BLE001 - raised again in the task
        return None, error


def _carry(source: Mapping[contextvars.ContextVar[Any], Any]) -> None:
    """Set the context variables of the current context as they are in ``source``."""
    for variable, value in source.items():
        try:
            if variable.get() is value:
                continue
        except LookupError:
            pass
        variable.set(value)
