"""Checks what is given to ``client.stream``, and makes the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_core._client.stream_request import StreamCall
from rabibridge_core._client.streaming import Streaming
from rabibridge_core._client.timeouts import check_idle_timeout
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from rabibridge_core._client.client import Client
    from rabibridge_core._client.options import AnyOptions

__all__ = ["open_stream"]


def open_stream(
    client: Client,
    func: object,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: AnyOptions,
    idle_timeout: float | timedelta | None,
) -> Streaming:
    """Return a stream of the items of ``name(*args, **kwargs)``; nothing is sent yet.

    Args:
        client: sends it.
        func: the function that the user gave, which lists its errors, or its name.
        name: the name of the service.
        args: the positional arguments.
        kwargs: the keyword arguments.
        options: how to call it.
        idle_timeout: the longest wait for an item; ``None``: no limit but the timeout.

    Raises:
        ConfigurationError: the transport carries no streams, no service can have that name, or an option is out of its
            range or not for streams.
    """
    check_transport(client)
    preparation = client.preparation
    if options[3] is not None:
        raise ConfigurationError(
            "idempotency_key names the one result of a call, which other calls get, too; a stream has none: use "
            "idempotent=True, or register the function with resumable=True"
        )
    route = preparation.route(name, args, kwargs, options)
    preparation.timeout(options[1], None, inherit=False)
    idle = None if idle_timeout is None else check_idle_timeout(idle_timeout)
    return Streaming(preparation, StreamCall(func, name, route, args, kwargs, options, idle))


def check_transport(client: Client) -> None:
    """Check that the transport carries streams.

    Raises:
        ConfigurationError: it does not.
    """
    if not getattr(client.transport, "streams", False):  # those for versions before do not say
        raise ConfigurationError(
            f"{client.name}: the transport {type(client.transport).__name__} carries no streams and uploads: use "
            "client.call, and let the function return a list"
        )
