"""Checks what is given to ``client.stream``, and makes the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_core._client.stream_request import StreamCall
from rabibridge_core._client.streaming import Streaming
from rabibridge_core._client.timeouts import check_idle_timeout
from rabibridge_core._client.upload_arguments import find_upload
from rabibridge_core._client.uploading import Uploading
from rabibridge_core._protocol.streams import window_for
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from rabibridge_core._client.engine import CallEngine
    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._client.upload_arguments import UploadArgument

__all__ = ["call_with_upload", "check_transport", "open_stream"]


def open_stream(
    client: CallEngine,
    func: object,
    name: str,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    options: AnyOptions,
    idle_timeout: float | timedelta | None,
    found: UploadArgument | None = None,
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
        found: the argument that is fed; ``None``: the one that is an iterator, if any.

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
    found = found or find_upload(args, kwargs)
    call = StreamCall(func, name, route, args, kwargs, options, idle)
    codec = preparation.codec
    window = window_for(min(codec.max_body, codec.max_decompressed))
    return Streaming(preparation, call if found is None else _with_upload(client, call, found), window)


async def call_with_upload(
    client: CallEngine, func: object, name: str, found: UploadArgument, options: AnyOptions
) -> Any:
    """Call a function, feed one of its arguments, and return its result.

    Args:
        client: sends it.
        func: the function that the user gave, which lists its errors, or its name.
        name: the name of the service.
        found: the argument that is fed, and the others.
        options: how to call it.

    Raises:
        RabiBridgeError: as :meth:`CallEngine.call`; StreamError if the upload was broken off and cannot be sent again.
        BaseException: what the iterator has raised.
    """
    check_transport(client)
    preparation = client.preparation
    route = preparation.route(name, found.args, found.kwargs, options)
    call = _with_upload(client, StreamCall(func, name, route, found.args, found.kwargs, options), found)
    source = Streaming(preparation, call, None)
    try:
        await source.fetch()
    except BaseException:
        source.close()
        raise
    finally:
        if call.upload is not None:
            await call.upload.wait_closed()
    return source.result


def _with_upload(client: CallEngine, call: StreamCall, found: UploadArgument) -> StreamCall:
    upload = Uploading(found.source, found.argument, client.preparation.codec, call.func_name)
    return call._replace(args=found.args, kwargs=found.kwargs, upload=upload)


def check_transport(client: CallEngine) -> None:
    """Check that the transport carries streams.

    Raises:
        ConfigurationError: it does not.
    """
    if not getattr(client.transport, "streams", False):  # those for versions before do not say
        raise ConfigurationError(
            f"{client.name}: the transport {type(client.transport).__name__} carries no streams and uploads: use "
            "client.call, and let the function return a list"
        )
