"""What a server has while it serves: what its lifespan yields, and the providers that live as long as the process.

All of it is entered and left in one task, that of :meth:`Server.run`, as task groups and time limits in it require.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from rabibridge_core._concurrency.daemon_threads import DaemonThreadPool, joined
from rabibridge_core._server.cleanup import async_cleanup
from rabibridge_core._server.exceptions import InterruptedStartError, ProviderFailedError
from rabibridge_core._services.depends import Dependency
from rabibridge_core._services.injection import provider_of
from rabibridge_core._services.providers import ByType, key_of
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from rabibridge_core._services.providers import Need, Provider
    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["Overrides", "ProcessScope"]


class Overrides(dict["Hashable", "Callable[..., Any]"]):
    """What tests put in the place of providers and lifespans, by the key of what is replaced."""


class ProcessScope:
    """The lifespan of one server, and its providers that live as long as the process."""

    def __init__(
        self,
        lifespan: Callable[[Overrides], AbstractAsyncContextManager[object]] | None = None,
        overrides: Overrides | None = None,
        observed: Mapping[str, Any] | None = None,
    ) -> None:
        """Enter nothing yet.

        Args:
            lifespan: returns the lifespan; ``None``: there is none.
            overrides: what replaces providers; it may change at any time.
            observed: the settings of observers for child processes; ``None``: nothing observes there.
        """
        self.overrides = Overrides() if overrides is None else overrides
        self.entered = False
        """Whether the lifespan is entered and not left."""
        self.leaving = False
        """Whether everything is being left."""
        self.observed = observed
        self._lifespan = lifespan
        self._yielded: tuple[Any, ...] = ()
        self._values: dict[Hashable, Any] = {}
        self._keys: set[Hashable] = set()
        """The keys of providers that were entered, or replaced by one that was."""
        self._replaced: dict[tuple[Hashable, str, Hashable], Provider] = {}
        self._stack = AsyncExitStack()
        self._threads: DaemonThreadPool | None = None
        self._wanted: deque[tuple[Provider, asyncio.Future[None]]] = deque()
        self._any_wanted = asyncio.Event()
        self._limit: asyncio.Timeout | None = None

    def find(self, need: ByType) -> Any:
        """Return what the lifespan has yielded of a type.

        Raises:
            ConfigurationError: it has yielded nothing of that type, or several things.
        """
        found = [value for value in self._yielded if isinstance(value, need.type)]
        if len(found) == 1:
            return found[0]
        yielded = " and ".join(f"a {type(value).__qualname__}" for value in self._yielded) or "nothing"
        how = "nothing is" if not found else f"{len(found)} things are"
        raise ConfigurationError(
            f"{need.what} wants a {need.type.__qualname__} from the lifespan of the server, which yields {yielded}: "
            f"{how} of that type"
        )

    def replaced(self, provider: Provider) -> Provider:
        """Return what a test has put in the place of a provider, or the provider itself."""
        if not self.overrides or (other := self.overrides.get(provider.key)) is None:
            return provider
        key = (provider.key, provider.scope, key_of(other))
        if (known := self._replaced.get(key)) is None:
            mark = Dependency(other, provider.scope, provider.use_cache, provider.cleanup_timeout)
            known = self._replaced[key] = provider_of(mark, f"the replacement of {provider.place}")
        return known

    def has_entered(self, key: Hashable) -> bool:
        """Tell whether a provider of that key lives as long as the process, and is entered now."""
        return self.entered and key in self._keys

    def value(self, provider: Provider) -> Any:
        """Return the value of a provider that lives as long as the process."""
        try:
            return self._values[provider.key]
        except KeyError:
            raise ConfigurationError(
                f"the provider {provider.place} lives as long as the process, and was not entered when its service was "
                "started: override it before the server serves"
            ) from None

    async def __aenter__(self) -> ProcessScope:
        """Enter the lifespan.

        Raises:
            InterruptedStartError: :meth:`interrupt` was called before it was entered.
            BaseException: what the lifespan raises.
        """
        self._stack, self._values, self._keys, self._yielded = AsyncExitStack(), {}, set(), ()
        if self._lifespan is not None:
            lifespan = self._lifespan(self.overrides)
            value = await self._guarded(self._stack.enter_async_context(lifespan))
            self._yielded = value if type(value) is tuple else () if value is None else (value,)
        self.entered = True
        return self

    async def __aexit__(self, *error: Any) -> bool | None:
        """Leave everything, the last that was entered first. A second :meth:`interrupt` cancels what that awaits."""
        self.entered, self.leaving = False, True
        while self._wanted:
            self._wanted.popleft()[1].cancel()
        try:
            handled: bool | None = await self._guarded(self._stack.__aexit__(*error))
            return handled
        except InterruptedStartError:
            return False
        finally:
            self.leaving = False
            if self._threads is not None:
                self._threads.close(drop_waiting=False)
                self._threads = None

    def interrupt(self) -> None:
        """Cancel what is being entered or left now; without effect if nothing is."""
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())

    async def _guarded(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            async with asyncio.timeout(None) as self._limit:
                return await work
        except TimeoutError as error:
            if self._limit is not None and self._limit.expired():
                raise InterruptedStartError from error
            raise
        finally:
            self._limit = None

    async def prepare(self, schema: ServiceSchema) -> None:
        """Enter what a service needs of what lives as long as the process.

        Raises:
            ConfigurationError: the lifespan does not yield what it needs, or a provider fails.
        """
        if schema.injections is not None:
            await self._prepare(schema.injections.needs)

    async def _prepare(self, needs: Mapping[str, Need]) -> None:
        for need in needs.values():
            if isinstance(need, ByType):
                self.find(need)
                continue
            provider = self.replaced(need)
            if provider.scope == "process":
                self._keys.update((need.key, provider.key))
            await self._prepare(provider.needs)
            if provider.scope == "process" and provider.key not in self._values:
                if not self.entered:
                    raise ConfigurationError(f"the provider {provider.place} is needed, and the server is not running")
                entered = asyncio.get_running_loop().create_future()
                self._wanted.append((provider, entered))
                self._any_wanted.set()
                await entered

    async def attend(self, tasks: Sequence[asyncio.Future[Any]]) -> None:
        """Wait until one of the tasks is done; enter meanwhile what services need."""
        while not any(task.done() for task in tasks):
            wanted = asyncio.ensure_future(self._any_wanted.wait())
            try:
                await asyncio.wait((*tasks, wanted), return_when=asyncio.FIRST_COMPLETED)
            finally:
                wanted.cancel()
            self._any_wanted.clear()
            while self._wanted:
                await self._enter(*self._wanted.popleft())

    async def _enter(self, provider: Provider, entered: asyncio.Future[None]) -> None:
        try:
            if provider.key not in self._values:
                self._values[provider.key] = await self._guarded(self._make(provider))
        except InterruptedStartError:
            entered.cancel()
        except Exception as error:  # noqa: BLE001 - the service that needs it reports it
            failure = ProviderFailedError(f"the provider {provider.place} failed: {type(error).__name__}: {error}")
            failure.__cause__ = error
            if not entered.done():
                entered.set_exception(failure)
        else:
            if not entered.done():
                entered.set_result(None)

    async def _make(self, provider: Provider) -> Any:
        arguments = {name: self._argument(need) for name, need in provider.needs.items()}
        if provider.on_loop:
            if not provider.manages:
                return await provider.make(**arguments)
            manager = provider.make(**arguments)
            value = await manager.__aenter__()
            self._stack.push_async_exit(async_cleanup(provider, manager.__aexit__))
            return value
        made = await self._in_thread(partial(provider.make, **arguments))
        if not provider.manages:
            return made
        value = await self._in_thread(made.__enter__)

        async def leave(*error: Any) -> None:
            await self._in_thread(partial(made.__exit__, *error))

        self._stack.push_async_exit(async_cleanup(provider, leave))
        return value

    def _argument(self, need: Need) -> Any:
        return self.find(need) if isinstance(need, ByType) else self.value(self.replaced(need))

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        """Run ``work`` in the one thread of these providers: what belongs to a thread is used and closed in its own."""
        if self._threads is None:
            self._threads = DaemonThreadPool(1, "rabibridge-process")
        future = self._threads.submit(work)
        try:
            return await joined(future)
        except asyncio.CancelledError:
            if not future.cancelled():  # the thread goes on; what comes next must not wait for it
                self._threads.close(drop_waiting=True)
                self._threads = None
            raise
