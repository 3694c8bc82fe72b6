"""The contenders for streams."""

from __future__ import annotations

from benchmarks.roster import Entry

__all__ = ["CONTENDERS", "GRPC", "LIMIT", "US"]

US, LIMIT, GRPC = "stream_ours", "stream_librabbitmq", "stream_grpc"
CONTENDERS = {
    entry.name: entry
    for entry in (
        Entry(
            US, "RabiBridge", US, "main", "rabibridge-rabbitmq",
            "the reader grants credit; order and completeness are checked; the end or an error is always told; "
            "a timeout for the whole stream that is also sent to the server",
            "-",
        ),
        Entry(
            LIMIT, "practical limit of RabbitMQ: C on librabbitmq", "librabbitmq", "c", None,
            "messages as large as RabiBridge's, mandatory; the reader grants as much credit",
            "one stream at a time; no end but the number of bytes, no errors, no timeout; items are not encoded and "
            "decoded",
            loop="none",
        ),
        Entry(
            GRPC, "grpc.aio, server streaming", GRPC, "peers", "grpcio",
            "the reader grants credit (HTTP/2); the end or an error is always told; a timeout for the whole stream",
            "no broker: one server process per address",
            through="nothing",
        ),
        Entry(
            "stream_nats", "nats-py, messages to one inbox", "stream_nats", "peers", "nats-py",
            "an empty message ends the stream",
            "no credit: a slow reader's messages pile up or are dropped; nothing tells of a lost message or server",
            through="NATS",
        ),
    )
}  # fmt: skip
