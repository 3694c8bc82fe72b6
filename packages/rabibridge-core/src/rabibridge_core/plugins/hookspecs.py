"""The hooks that a plug-in can implement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from rabibridge_core._codec.serializers import Serializer
    from rabibridge_core.operations import Operator
    from rabibridge_core.plugins.observers import ClientObserver, ServerObserver, Subject
    from rabibridge_core.settings import Settings, TransportDeclaration
    from rabibridge_core.transport import Headers, HeaderValue, Transport

__all__ = ["PROJECT", "HookSpecs", "hookimpl", "hookspec"]

PROJECT = "rabibridge"
"""The name of the project for pluggy, and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class HookSpecs:
    """The hooks. An implementation may leave out arguments that it does not use."""

    @hookspec(firstresult=True)
    def rabibridge_transport(self, scheme: str, settings: Settings, name: str) -> Transport | None:
        """Make the transport for URLs with this scheme, without connecting.

        Args:
            scheme: scheme of the first URL, in lower case, such as ``redis``.
            settings: all settings, with the endpoints to connect to and the settings that the transport declared.
            name: connection name to show on the broker.

        Returns:
            The transport, or ``None`` if the scheme belongs to another plug-in.
        """

    @hookspec(firstresult=True)
    def rabibridge_operator(self, scheme: str, settings: Settings) -> Operator | None:
        """Return what operators do on a broker: dead letters, queues, permissions, and the search for faults.

        Args:
            scheme: scheme of the first URL, in lower case, such as ``redis``.
            settings: all settings, with the endpoints.

        Returns:
            The operator, or ``None`` if the scheme belongs to another plug-in. A transport without one works; the
            commands for operators say then that they are not for it.
        """

    @hookspec
    def rabibridge_transport_settings(self) -> TransportDeclaration:  # type: ignore[empty-body]
        """Declare the transport: its URL schemes, its variables, and the settings that it adds.

        Called when settings are loaded, once per set of registered plug-ins. Return the same object each time. A
        transport that is configured by URLs without credentials and without query parameters need not implement it.
        """

    @hookspec
    def rabibridge_serializers(self) -> list[Serializer]:  # type: ignore[empty-body]
        """Return serializers to offer by name, in addition to the built-in ones."""

    @hookspec
    def rabibridge_client_observer(self, subject: Subject) -> ClientObserver | None:
        """Called once when a client is made, and again before it connects anew.

        Args:
            subject: the client.

        Returns:
            What observes its calls; ``None``: nothing. A ``ConfigurationError`` is raised to whoever makes the client.
        """

    @hookspec
    def rabibridge_server_observer(self, subject: Subject) -> ServerObserver | None:
        """Called once when a server is made, and again before it connects anew; and in each of its child processes.

        Args:
            subject: the server, or the child process.

        Returns:
            What observes its requests; ``None``: nothing. A ``ConfigurationError`` is raised to whoever makes the
            server.
        """

    @hookspec
    def rabibridge_call_sent(
        self, func_name: str, correlation_id: str, timeout: float | None, headers: dict[str, HeaderValue]
    ) -> None:
        """Called before a client sends a call, in the task of its caller.

        Args:
            func_name: name of the service.
            correlation_id: id of the call, unique within the client.
            timeout: remaining time of the call in seconds; ``None``: no limit.
            headers: the headers of the call. What a plug-in adds travels with the call, for example a trace context:
                the worker's plug-ins and :attr:`CurrentCall.headers` see it. Values are str, bytes, int, float or
                bool; names that begin with ``rb-`` are reserved. What is not allowed is logged and dropped.
        """

    @hookspec
    def rabibridge_call_finished(
        self, func_name: str, correlation_id: str, duration: float, error: BaseException | None
    ) -> None:
        """Called when a call has ended.

        Args:
            func_name: name of the service.
            correlation_id: id of the call, unique within the client.
            duration: time from sending to the end, in seconds.
            error: the error that the caller receives; ``None`` if there is a result.
        """

    @hookspec
    def rabibridge_request_received(self, service: str, correlation_id: str, headers: Headers) -> None:
        """Called when a worker begins to process a request, in the task that will run the handler.

        Context variables that are set here are seen by the handler.

        Args:
            service: name of the service.
            correlation_id: id of the call, unique within its client.
            headers: the headers of the call, not to be changed.
        """

    @hookspec
    def rabibridge_request_finished(
        self, service: str, correlation_id: str, duration: float, error: BaseException | None
    ) -> None:
        """Called when a worker has settled a request.

        Args:
            service: name of the service.
            correlation_id: id of the call, unique within its client.
            duration: time from receiving to settling, in seconds.
            error: why there is no result; ``None`` if a result was sent. If a child process ran the request, or it got
                the reply to an earlier one with its idempotency key, it is the error that its caller gets.
        """
