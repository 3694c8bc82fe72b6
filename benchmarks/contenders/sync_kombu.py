"""kombu: the RPC client and server of its documentation, with one connection in each calling thread."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from kombu import Connection, Consumer, Producer, Queue  # pyright: ignore[reportMissingImports]
from kombu.mixins import ConsumerProducerMixin  # pyright: ignore[reportMissingImports]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.contenders.sync_base import Call, SyncClient

_QUEUE = Queue("bench_echo")


class _Server(ConsumerProducerMixin):  # type: ignore[misc]
    def __init__(self, connection: Any, ready: Callable[[], None]) -> None:
        self.connection = connection
        self._ready = ready

    def get_consumers(self, consumer_type: Any, channel: Any) -> list[Any]:
        return [consumer_type(queues=[_QUEUE], on_message=self.on_request, accept={"json"}, prefetch_count=256)]

    def on_consume_ready(self, connection: Any, channel: Any, consumers: Any, **options: Any) -> None:
        self._ready()

    def on_request(self, message: Any) -> None:
        self.producer.publish(
            {"result": message.payload["x"]},
            exchange="",
            routing_key=message.properties["reply_to"],
            correlation_id=message.properties["correlation_id"],
            serializer="json",
        )
        message.ack()


class _Caller:
    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._replies = Queue(f"bench_{uuid4()}", exclusive=True, auto_delete=True)
        self._producer = Producer(connection)
        self._consumer = Consumer(connection, queues=[self._replies], on_message=self._on_reply, no_ack=True)
        self._consumer.consume()
        self._waiting = ""
        self._result: Any = None

    def _on_reply(self, message: Any) -> None:
        if message.properties["correlation_id"] == self._waiting:
            self._waiting, self._result = "", message.payload["result"]

    def call(self, x: Any) -> Any:
        self._waiting = correlation_id = str(uuid4())
        self._producer.publish(
            {"x": x}, exchange="", routing_key=_QUEUE.name, reply_to=self._replies.name, correlation_id=correlation_id
        )
        while self._waiting:
            try:
                self._connection.drain_events(timeout=10)
            except TimeoutError as error:
                raise TimeoutError from error
        return self._result


class _Client:
    def __init__(self, url: str) -> None:
        self._url = url

    @contextmanager
    def thread(self) -> Iterator[Call]:
        with Connection(self._url) as connection:
            yield _Caller(connection).call


def serve(url: str, ready: Callable[[], None]) -> None:
    with Connection(url) as connection:
        _Server(connection, ready).run()


@contextmanager
def client(url: str) -> Iterator[SyncClient]:
    yield _Client(url)
