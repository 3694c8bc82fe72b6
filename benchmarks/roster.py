"""The contenders of the comparison: where each one runs, and what it does and does not do for a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Home = Literal["main", "alone", "peers", "peer", "patio", "sync", "redis", "arq", "c"]
"""The environment in which a contender runs, see `benchmarks.environments`."""


@dataclass(frozen=True)
class Entry:
    """A contender: a library and the event loop that it runs on."""

    name: str
    title: str
    """Its name in tables and plots."""
    module: str
    """Its module in `benchmarks.contenders`; for the C client, the folder of its source."""
    home: Home
    distribution: str | None
    """The installed distribution, to look up its version; None: there is none."""
    does: str
    """What it does for a call."""
    lacks: str
    """What RabiBridge does in addition."""
    loop: Literal["uvloop", "asyncio", "none"] = "uvloop"
    through: Literal["RabbitMQ", "Redis", "NATS", "nothing"] = "RabbitMQ"
    """What connects client and server."""


US = "ours"
ALONE = "ours_alone"
OVER_REDIS = "ours_redis"
BASELINE = "aio_pika_rpc"

_OURS = (
    "bounded queue, mandatory both ways, request confirmed, manual ack after the reply, deadline in the message, "
    "a timeout for each call, errors translated, reconnection"
)
_AIO_PIKA = "request mandatory and confirmed, reply confirmed, ack after the reply, reconnection"
_AIO_PIKA_LACKS = "no bounded queue, no timeout, no deadline"
_NO_BOUND = "no bounded queue, no error if there is no worker, no deadline"
_NO_BROKER = "no broker: no confirm, no redelivery, one server process per address"

ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(US, "RabiBridge", "ours", "main", "rabibridge-rabbitmq", _OURS, "-"),
        Entry(
            "rabibridge_012", "RabiBridge 0.1.2", "rabibridge_012", "peer", "RabiBridge",
            "bounded queue, request mandatory and confirmed, reply confirmed, ack after the reply, "
            "a timeout for each call",
            "no deadline, no reconnection",
        ),
        Entry(BASELINE, "aio_pika RPC", "aio_pika_rpc", "main", "aio-pika", _AIO_PIKA, _AIO_PIKA_LACKS),
        Entry(
            "faststream_rpc", "FastStream", "faststream_rpc", "peers", "faststream",
            "request mandatory and confirmed, reply confirmed, ack after the reply, a timeout for each call, "
            "validation of the argument, reconnection",
            "no bounded queue, no deadline; one call at a time per process, the others wait for a lock",
        ),
        Entry(
            "patio_rabbitmq", "patio-rabbitmq", "patio_rpc", "patio", "patio-rabbitmq",
            "the same as aio_pika RPC, and an expiration of the request; it encodes with pickle",
            "no bounded queue, no timeout once a server has received the request",
        ),
        Entry(
            "raw_aiormq", "aiormq by hand", "raw_aiormq", "peers", "aiormq",
            "request confirmed, reply confirmed, ack after the reply, direct reply-to",
            "no bounded queue, not mandatory, no timeout, no deadline, errors not sent to the caller, no reconnection",
        ),
        Entry(
            "grpc_aio", "grpc.aio", "grpc_aio", "peers", "grpcio",
            "bounded queue in the server, a timeout for each call that is also sent to the server", _NO_BROKER,
            through="nothing",
        ),
        Entry(
            "nats_py", "nats-py", "nats_py", "peers", "nats-py",
            "a timeout for each call, an error if there is no server, reconnection",
            "no bounded queue, no confirm, no ack: a request is lost with its server; no deadline",
            through="NATS",
        ),
        Entry(
            "c_librabbitmq", "C on librabbitmq", "librabbitmq", "c", None,
            "bounded queue, mandatory both ways, request confirmed, manual ack after the reply, an expiration",
            "no timeout, no deadline header, errors not sent to the caller, arguments not decoded, blocking waits, "
            "no reconnection: the practical limit, not a library",
            loop="none",
        ),
        Entry(
            "bare_frames", "Python, bare frames", "bare_frames", "main", None,
            "the same as C on librabbitmq, on an event loop",
            "no timeout, no deadline, no errors, no refusals, no reconnection; confirms are not looked at, and the "
            "function cannot wait: the practical limit in Python, not a library",
        ),
        Entry(ALONE, "RabiBridge, without extras", "ours", "alone", None, _OURS, "-"),
        Entry("ours_asyncio", "RabiBridge, asyncio's loop", "ours", "main", None, _OURS, "-", loop="asyncio"),
        Entry(
            "aio_pika_asyncio", "aio_pika RPC, asyncio's loop", "aio_pika_rpc", "main", None,
            _AIO_PIKA, _AIO_PIKA_LACKS, loop="asyncio",
        ),
        Entry(
            OVER_REDIS, "RabiBridge over Redis", "ours", "main", "rabibridge-redis",
            "bounded queue, exact refusal, request confirmed, settled after the reply, deadline in the message, "
            "a timeout for each call, errors translated, reconnection",
            "-", through="Redis",
        ),
        Entry(
            "arq_redis", "arq", "arq_redis", "arq", "arq",
            "unique ids, retries, the result is kept for an hour; both sides poll every 0.1 s (by default 0.5 s)",
            f"{_NO_BOUND}; results are polled for", through="Redis",
        ),
        Entry(
            "taskiq_redis", "taskiq-redis", "taskiq_streams", "redis", "taskiq-redis",
            "a stream with a consumer group, acknowledged after the task, the result is kept for a minute; the client "
            "polls every 0.1 s (0.2 s by default)",
            f"{_NO_BOUND}; results are polled for", through="Redis",
        ),
        Entry(
            "celery_redis", "Celery over Redis", "celery_redis", "redis", "celery",
            "`delay().get()` in threads, an app for each, up to 16; acknowledged before the task runs; the result is "
            "published and kept for a day; the CPU of its worker is not shown",
            _NO_BOUND, loop="asyncio", through="Redis",
        ),
    )
}  # fmt: skip
"""All contenders by name, in the order of the tables."""

BESIDE_RABBITMQ = [name for name, entry in ENTRIES.items() if entry.through != "Redis"]
"""Those of the main comparison."""

BESIDE_REDIS = [US, *(name for name, entry in ENTRIES.items() if entry.through == "Redis")]
"""Those of the comparison over Redis."""
