"""Tells plug-ins of calls and requests."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rabibridge_core.plugins.manager import plugin_manager

if TYPE_CHECKING:
    from rabibridge_core.plugins.manager import PluginManager

__all__ = ["CallHooks"]

_log = logging.getLogger(__name__)


class CallHooks:
    """Tells plug-ins of calls and requests. Whoever asks :attr:`active` first pays nothing where nobody listens.

    A listener that raises is logged and does not touch the call.
    """

    def __init__(self, manager: PluginManager | None = None) -> None:
        """Look at what is registered now: plug-ins that come later are heard by later clients and servers."""
        manager = manager or plugin_manager()
        manager.load()
        self._hook = manager.hook
        listeners = (
            manager.hook.rabibridge_call_sent,
            manager.hook.rabibridge_call_finished,
            manager.hook.rabibridge_request_received,
            manager.hook.rabibridge_request_finished,
        )
        self.active = any(hook.get_hookimpls() for hook in listeners)

    def call_sent(self, func_name: str, correlation_id: bytes, timeout: float | None) -> float:
        """Tell of a call and return when that was, for :meth:`call_finished`."""
        self._tell("rabibridge_call_sent", func_name=func_name, correlation_id=_id(correlation_id), timeout=timeout)
        return perf_counter()

    def call_finished(self, func_name: str, correlation_id: bytes, started: float, error: BaseException | None) -> None:
        """Tell how a call ended."""
        duration = perf_counter() - started
        name = "rabibridge_call_finished"
        self._tell(name, func_name=func_name, correlation_id=_id(correlation_id), duration=duration, error=error)

    def request_received(self, service: str, correlation_id: bytes) -> float:
        """Tell of a request and return when that was, for :meth:`request_finished`."""
        self._tell("rabibridge_request_received", service=service, correlation_id=_id(correlation_id))
        return perf_counter()

    def request_finished(
        self, service: str, correlation_id: bytes, started: float, error: BaseException | None
    ) -> None:
        """Tell how a request was settled."""
        duration = perf_counter() - started
        name = "rabibridge_request_finished"
        self._tell(name, service=service, correlation_id=_id(correlation_id), duration=duration, error=error)

    def _tell(self, hook_name: str, **arguments: Any) -> None:
        try:
            getattr(self._hook, hook_name)(**arguments)
        except Exception:  # noqa: BLE001 - whatever a listener raises, the call goes on
            _log.exception("a plug-in's %s raised", hook_name)


def _id(correlation_id: bytes) -> str:
    return correlation_id.decode("utf-8", "backslashreplace")
