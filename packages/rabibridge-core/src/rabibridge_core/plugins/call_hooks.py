"""Finds what observes the calls of a client or server: observers of plug-ins, and their four hooks for each call."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.plugins.manager import plugin_manager
from rabibridge_core.plugins.observers import CallObserver, ClientObserver, RequestObserver, ServerObserver
from rabibridge_core.plugins.observing import all_clients, all_servers

if TYPE_CHECKING:
    from rabibridge_core.plugins.manager import PluginManager
    from rabibridge_core.plugins.observers import ObservedRequest, Outcome, Shape, Subject
    from rabibridge_core.transport import Headers

__all__ = ["CallHooks"]

_log = get_logger(__name__)
_limited = LimitedLog(_log)


class CallHooks:
    """What plug-ins observe of one client or server.

    Attributes:
        client: observes its calls; ``None``: nothing does.
        server: observes its requests; ``None``: nothing does.
    """

    def __init__(self, manager: PluginManager | None = None, subject: Subject | None = None) -> None:
        """Find the plug-ins that are registered now; later ones are used by later clients and servers.

        Args:
            manager: has the plug-ins; ``None``: that of the process.
            subject: what observers observe; ``None``: only the hooks for each call are called.
        """
        manager = manager or plugin_manager()
        manager.load()
        hook = manager.hook
        clients: list[ClientObserver] = []
        servers: list[ServerObserver] = []
        if hook.rabibridge_call_sent.get_hookimpls() or hook.rabibridge_call_finished.get_hookimpls():
            clients.append(_HookedClient(hook))
        in_child = subject is not None and subject.role == "child"  # the worker calls these
        if not in_child and (
            hook.rabibridge_request_received.get_hookimpls() or hook.rabibridge_request_finished.get_hookimpls()
        ):
            servers.append(_HookedServer(hook))
        if subject is not None and subject.role == "client":
            clients += manager.observers("rabibridge_client_observer", ClientObserver, subject)
        elif subject is not None:
            servers += manager.observers("rabibridge_server_observer", ServerObserver, subject)
        self.client = all_clients(clients)
        self.server = all_servers(servers)


class _HookedClient(ClientObserver):
    """Calls the hooks of plug-ins for each call."""

    __slots__ = ("_hook",)

    def __init__(self, hook: Any) -> None:
        self._hook = hook

    def call_started(self, shape: Shape, service: str) -> CallObserver | None:
        return None if shape == "map" else _HookedCall(self._hook, service)


class _HookedCall(CallObserver):
    __slots__ = ("_correlation_id", "_hook", "_service", "_started")

    def __init__(self, hook: Any, service: str) -> None:
        self._hook = hook
        self._service = service
        self._started = 0.0

    def sending(self, correlation_id: bytes, time_left: float | None, headers: Headers | None) -> Headers | None:
        self._correlation_id = _id(correlation_id)
        added = dict(headers or {})
        _notify(
            self._hook.rabibridge_call_sent, func_name=self._service, correlation_id=self._correlation_id,
            timeout=time_left, headers=added,
        )  # fmt: skip
        self._started = perf_counter()
        return added

    def ended(self, error: BaseException | None, items: int | None) -> None:
        if self._started:
            _notify(
                self._hook.rabibridge_call_finished, func_name=self._service, correlation_id=self._correlation_id,
                duration=perf_counter() - self._started, error=error,
            )  # fmt: skip


class _HookedServer(ServerObserver):
    """Calls the hooks of plug-ins for each request."""

    __slots__ = ("_hook",)

    def __init__(self, hook: Any) -> None:
        self._hook = hook

    def request_started(self, request: ObservedRequest) -> RequestObserver | None:
        return _HookedRequest(self._hook, request)


class _HookedRequest(RequestObserver):
    __slots__ = ("_correlation_id", "_hook", "_service", "_started")

    def __init__(self, hook: Any, request: ObservedRequest) -> None:
        self._hook = hook
        self._service = request.service
        self._correlation_id = _id(request.request.correlation_id)
        _notify(
            hook.rabibridge_request_received, service=self._service, correlation_id=self._correlation_id,
            headers=request.request.headers,
        )  # fmt: skip
        self._started = perf_counter()

    def ended(self, outcome: Outcome, error: BaseException | None, items: int | None) -> None:
        _notify(
            self._hook.rabibridge_request_finished, service=self._service, correlation_id=self._correlation_id,
            duration=perf_counter() - self._started, error=error,
        )  # fmt: skip


def _notify(hook: Any, **arguments: Any) -> None:
    try:
        hook(**arguments)
    except BaseException as error:  # noqa: BLE001 - whatever a plug-in raises, the call continues
        # That includes CancelledError: a hook is not awaited, so that no cancellation of its task arrives in it.
        _limited.log(
                f"the hook {hook.name} of a plug-in raised {type(error).__name__}", logging.ERROR,
                "the hook %s of a plug-in raised an exception", hook.name,
                extra=log_fields("plugin.hook_failed", plugin=hook.name, error=error), exc_info=True,
            )  # fmt: skip


def _id(correlation_id: bytes) -> str:
    return correlation_id.decode("utf-8", "backslashreplace")
