"""Streams without a broker: requests for streams, which the test answers with credit as a caller does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rabibridge_core._protocol.payloads import encode_request
from rabibridge_core._protocol.streams import decode_items, feed_context, part_context
from rabibridge_core._server.service import ServiceRunner
from rabibridge_core._server.stream_sessions import FILLED
from rabibridge_core._services.injection import injections_of
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.plugins.call_hooks import CallHooks
from rabibridge_core.plugins.manager import PluginManager
from rabibridge_core.transport import Reply
from tests.unit.scripted_requests import CODEC, ScriptedRequest

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._server.process_scope import ProcessScope
    from rabibridge_core.transport import HeaderValue

WIDE = "1000,67108864"


class StreamRequest(ScriptedRequest):
    """A request for a stream that records its parts."""

    def __init__(
        self,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        window: str | None = WIDE,
        start: int | None = None,
        upload: str | None = None,
        headers: dict[str, HeaderValue] | None = None,
        codec: Codec = CODEC,
        **options: Any,
    ) -> None:
        given: dict[str, HeaderValue | None] = {"rb-stream": window, "rb-stream-start": start, "rb-upload": upload}
        found = {name: value for name, value in given.items() if value is not None}
        super().__init__(args, kwargs, headers=found | (headers or {}), codec=codec, **options)
        self.body, self.content_type, self.content_encoding = encode_request(
            codec, args, kwargs or {}, self.correlation_id, streams=True
        )
        self.address = "stream:0123456789abcdef"
        self.parts: list[Reply] = []
        self.gate: asyncio.Future[None] | None = None
        """What the next part returns."""

    def reply_part(self, reply: Reply, /) -> asyncio.Future[None] | None:
        if not self.void and not self.settled:
            self.parts.append(reply)
        gate, self.gate = self.gate, None
        return gate

    def reply(self, reply: Reply, /) -> None:
        if not self.void:
            super().reply(reply)

    @property
    def kinds(self) -> list[Any]:
        return [(part.headers or {})["rb-part"] for part in self.parts]

    @property
    def messages(self) -> list[list[Any]]:
        """The items of each message, after a look at their indices."""
        found, expected = [], self.headers.get("rb-stream-start", 0)
        for part in self.parts:
            headers = part.headers or {}
            if headers["rb-part"] == "items":
                assert headers["rb-index"] == expected
                assert isinstance(expected, int)
                context = part_context(self.correlation_id, expected)
                found.append(decode_items(self._codec, part, context, on_loop=False))
                expected += len(found[-1])
        return found

    @property
    def items(self) -> list[Any]:
        return [item for message in self.messages for item in message]

    @property
    def end(self) -> dict[str, HeaderValue]:
        """The headers of the reply that ended it."""
        (reply,) = self.replies
        return dict(reply.headers or {})

    def credit(self, service: ServiceRunner, consumed: Any) -> None:
        """Tell the worker how many messages were consumed."""
        self.feed(service, {"rb-part": "credit", "rb-index": consumed})

    def feed(self, service: ServiceRunner, headers: dict[str, HeaderValue], body: Reply | None = None) -> None:
        message = Reply(b"", None, None) if body is None else body
        service.fed(self.caller, self.correlation_id, message._replace(headers=headers))

    def upload(self, service: ServiceRunner, index: int, *items: Any, codec: Codec = CODEC) -> Any:
        """Send items of an upload."""
        encoder = codec.items()
        body = encoder.join([encoder.encode(item) for item in items], feed_context(self.correlation_id, index))
        self.feed(service, {"rb-part": "items", "rb-index": index}, Reply(*body))


def make_streaming(
    func: Callable[..., Any],
    *,
    codec: Codec = CODEC,
    plugin: object = None,
    process: ProcessScope | None = None,
    **options: Any,
) -> ServiceRunner:
    """Return a service without a transport, as a server makes it."""
    plugins = PluginManager()
    if plugin is not None:
        plugins.register(plugin)
    schema = ServiceSchema.of(func, ServiceLimits(**options))
    injections = injections_of(func, filled=FILLED if schema.resumable else {})
    return ServiceRunner(replace(schema, injections=injections), codec, CallHooks(plugins), process=process)


async def cancel(service: ServiceRunner, request: StreamRequest) -> None:
    service.cancelled(request.caller, request.correlation_id)


async def cancel_run(service: ServiceRunner, request: StreamRequest) -> None:
    request.feed(service, {"rb-part": "cancel"})


async def leave(service: ServiceRunner, request: StreamRequest) -> None:
    service.caller_gone(request.caller)


async def lose(service: ServiceRunner, request: StreamRequest) -> None:
    request.void = True
    service.lost(ConnectionLostError("lost"))


async def expire(service: ServiceRunner, request: StreamRequest) -> None:
    (active,) = service._active
    service.stop_request(active, "expired")


async def drain(service: ServiceRunner, request: StreamRequest) -> None:
    service.abort_drain()
    await service.stop(0.0)


STOPS = [cancel, leave, lose, expire, drain]
EVENTS = {
    cancel: ["discarded"],
    cancel_run: ["discarded"],
    leave: ["discarded"],
    lose: [],
    expire: ["discarded"],
    drain: ["replied"],
}
