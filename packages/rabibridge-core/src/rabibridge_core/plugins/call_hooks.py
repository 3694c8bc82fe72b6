"""Calls the hooks of plug-ins that observe calls and requests."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from rabibridge_core._protocol.headers import check_call_headers
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.plugins.manager import plugin_manager

if TYPE_CHECKING:
    from rabibridge_core.plugins.manager import PluginManager
    from rabibridge_core.transport import Headers, HeaderValue

__all__ = ["CallHooks"]

_log = get_logger(__name__)


class CallHooks:
    """Calls the hooks for one client or server.

    The engines check :attr:`active` first, so that calls cost nothing extra where no plug-in observes them. An
    exception in a plug-in, of any class, is logged and does not affect the call.
    """

    def __init__(self, manager: PluginManager | None = None) -> None:
        """Find the plug-ins that are registered now; later ones are used by later clients and servers."""
        manager = manager or plugin_manager()
        manager.load()
        self._hook = manager.hook
        observers = (
            manager.hook.rabibridge_call_sent,
            manager.hook.rabibridge_call_finished,
            manager.hook.rabibridge_request_received,
            manager.hook.rabibridge_request_finished,
        )
        self.active = any(hook.get_hookimpls() for hook in observers)

    def call_sent(
        self, func_name: str, correlation_id: bytes, timeout: float | None, headers: Headers | None
    ) -> tuple[float, Headers | None]:
        """Call ``rabibridge_call_sent``.

        Returns:
            The start time for :meth:`call_finished`, and the headers to send: those given and those that were added.
        """
        added = dict(headers or {})
        self._notify(
            "rabibridge_call_sent", func_name=func_name, correlation_id=_id(correlation_id), timeout=timeout,
            headers=added,
        )  # fmt: skip
        return perf_counter(), _allowed(headers or {}, added) or None

    def call_finished(self, func_name: str, correlation_id: bytes, started: float, error: BaseException | None) -> None:
        """Call ``rabibridge_call_finished``."""
        duration = perf_counter() - started
        name = "rabibridge_call_finished"
        self._notify(name, func_name=func_name, correlation_id=_id(correlation_id), duration=duration, error=error)

    def request_received(self, service: str, correlation_id: bytes, headers: Headers) -> float:
        """Call ``rabibridge_request_received`` and return the start time for :meth:`request_finished`."""
        name = "rabibridge_request_received"
        self._notify(name, service=service, correlation_id=_id(correlation_id), headers=headers)
        return perf_counter()

    def request_finished(
        self, service: str, correlation_id: bytes, started: float, error: BaseException | None
    ) -> None:
        """Call ``rabibridge_request_finished``."""
        duration = perf_counter() - started
        name = "rabibridge_request_finished"
        self._notify(name, service=service, correlation_id=_id(correlation_id), duration=duration, error=error)

    def _notify(self, hook_name: str, **arguments: Any) -> None:
        try:
            getattr(self._hook, hook_name)(**arguments)
        except BaseException:  # noqa: BLE001 - whatever a plug-in raises, the call continues
            # That includes CancelledError: a hook is not awaited, so that no cancellation of its task arrives in it.
            _log.exception("the hook %s of a plug-in raised an exception", hook_name)


def _allowed(given: Headers, headers: dict[str, HeaderValue]) -> Headers:
    """Return the headers to send: those that the call had, as they were, and the valid ones that plug-ins added."""
    allowed = dict(given)
    for name, value in headers.items():
        if name in given:
            continue
        try:
            check_call_headers({name: value})
        except ConfigurationError as error:
            _log.error("a plug-in added a header that is not sent: %s", error)
        else:
            allowed[name] = value
    return allowed


def _id(correlation_id: bytes) -> str:
    return correlation_id.decode("utf-8", "backslashreplace")
