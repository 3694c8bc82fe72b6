"""The hooks that a plug-in can implement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from rabibridge_core._codec.serializers import Serializer
    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import Headers, HeaderValue, Transport

__all__ = ["PROJECT", "HookSpecs", "hookimpl", "hookspec"]

PROJECT = "rabibridge"
"""The name of the project for pluggy, and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class HookSpecs:
    """What a plug-in can implement; it may leave out arguments that it does not use."""

    @hookspec(firstresult=True)
    def rabibridge_transport(self, scheme: str, settings: Settings, name: str) -> Transport | None:
        """Make the transport for URLs with this scheme, without connecting.

        Args:
            scheme: such as ``amqp``, in lower case.
            settings: all settings, with the endpoints to connect to.
            name: how to present the connection to the broker.

        Returns:
            The transport, or ``None`` for a scheme that is not this plug-in's.
        """

    @hookspec
    def rabibridge_serializers(self) -> list[Serializer]:  # type: ignore[empty-body]
        """Return serializers to offer by name, beside the built-in ones."""

    @hookspec
    def rabibridge_call_sent(
        self, func_name: str, correlation_id: str, timeout: float | None, headers: dict[str, HeaderValue]
    ) -> None:
        """Called before a client sends a call, in the task of its caller.

        Args:
            func_name: the service.
            correlation_id: which call of this client.
            timeout: the time left to it, in seconds; ``None``: no limit.
            headers: the headers of the call. What a plug-in adds travels with the call, for example a trace context:
                the worker's plug-ins and :attr:`CurrentCall.headers` see it. Values are str, bytes, int, float or
                bool; names that begin with ``rb-`` are reserved. What is not allowed is logged and dropped.
        """

    @hookspec
    def rabibridge_call_finished(
        self, func_name: str, correlation_id: str, duration: float, error: BaseException | None
    ) -> None:
        """Hear that a call has ended.

        Args:
            func_name: the service.
            correlation_id: which call of this client.
            duration: from sending to the end, in seconds.
            error: what the caller gets instead of a result; ``None`` where there is a result.
        """

    @hookspec
    def rabibridge_request_received(self, service: str, correlation_id: str, headers: Headers) -> None:
        """Called when a worker begins to process a request, in the task that will run the handler.

        Context variables that are set here are seen by the handler.

        Args:
            service: the service.
            correlation_id: the caller's name for the call.
            headers: the headers of the call, not to be changed.
        """

    @hookspec
    def rabibridge_request_finished(
        self, service: str, correlation_id: str, duration: float, error: BaseException | None
    ) -> None:
        """Hear that a worker has settled a request.

        Args:
            service: the service.
            correlation_id: the caller's name for the call.
            duration: from receiving to settling, in seconds.
            error: what stood in the way of a result; ``None`` where it was sent.
        """
