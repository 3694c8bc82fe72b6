"""Who takes part in the comparison, where it runs, and what it does and does not do for a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Home = Literal["main", "peers", "peer", "patio", "c"]
"""The environment it runs in, see `benchmarks.environments`."""


@dataclass(frozen=True)
class Entry:
    """A contender: a library with an event loop to run on."""

    name: str
    title: str
    """Its name in tables and plots."""
    module: str
    """Its module in `benchmarks.contenders`; for the C client, the folder of its source."""
    home: Home
    distribution: str | None
    """What is installed, to look up its version; None: it has none."""
    does: str
    """What it does for a call."""
    lacks: str
    """What RabiBridge does besides."""
    loop: Literal["uvloop", "asyncio", "none"] = "uvloop"
    through: Literal["RabbitMQ", "NATS", "nothing"] = "RabbitMQ"
    """What stands between client and server."""


US = "ours"
BASELINE = "aio_pika_rpc"

_OURS = (
    "bounded queue, mandatory both ways, confirm of the request, manual ack after the reply, deadline in the message, "
    "a timeout armed on each call, errors translated, reconnects"
)
_AIO_PIKA = "mandatory and confirm of the request, confirm of the reply, ack after the reply, reconnects"
_AIO_PIKA_LACKS = "no bounded queue, no timeout, no deadline"
_NO_BROKER = "no broker: no confirm, no redelivery, one server process at an address"

ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(US, "RabiBridge", "ours", "main", "rabibridge-rabbitmq", _OURS, "-"),
        Entry(
            "rabibridge_012", "RabiBridge 0.1.2", "rabibridge_012", "peer", "RabiBridge",
            "bounded queue, mandatory and confirm of the request, confirm of the reply, ack after the reply, "
            "a timeout on each call",
            "no deadline, a lost connection stays lost",
        ),
        Entry(BASELINE, "aio_pika RPC", "aio_pika_rpc", "main", "aio-pika", _AIO_PIKA, _AIO_PIKA_LACKS),
        Entry(
            "faststream_rpc", "FastStream", "faststream_rpc", "peers", "faststream",
            "mandatory and confirm of the request, confirm of the reply, ack after the reply, a timeout on each call, "
            "validation of the argument, reconnects",
            "no bounded queue, no deadline; one call at a time in a process, the others wait for a lock",
        ),
        Entry(
            "patio_rabbitmq", "patio-rabbitmq", "patio_rpc", "patio", "patio-rabbitmq",
            "what aio_pika RPC does, and an expiration of the request; it encodes with pickle",
            "no bounded queue, no timeout once the request is taken",
        ),
        Entry(
            "raw_aiormq", "aiormq by hand", "raw_aiormq", "peers", "aiormq",
            "confirm of the request, confirm of the reply, ack after the reply, direct reply-to",
            "no bounded queue, not mandatory, no timeout, no deadline, no errors carried, a lost connection stays lost",
        ),
        Entry(
            "grpc_aio", "grpc.aio", "grpc_aio", "peers", "grpcio",
            "bounded queue in the server, a timeout on each call that the server hears of", _NO_BROKER,
            through="nothing",
        ),
        Entry(
            "nats_py", "nats-py", "nats_py", "peers", "nats-py",
            "a timeout on each call, a refusal where nobody serves, reconnects",
            "no bounded queue, no confirm, no ack: a request is lost with its server; no deadline",
            through="NATS",
        ),
        Entry(
            "c_librabbitmq", "C on librabbitmq", "librabbitmq", "c", None,
            "bounded queue, mandatory both ways, confirm of the request, manual ack after the reply, an expiration",
            "no timeout, no deadline header, no errors carried, no arguments decoded; waits and does nothing else, "
            "a lost connection stays lost: the practical limit, not a library",
            loop="none",
        ),
        Entry("ours_asyncio", "RabiBridge, asyncio's loop", "ours", "main", None, _OURS, "-", loop="asyncio"),
        Entry(
            "aio_pika_asyncio", "aio_pika RPC, asyncio's loop", "aio_pika_rpc", "main", None,
            _AIO_PIKA, _AIO_PIKA_LACKS, loop="asyncio",
        ),
    )
}  # fmt: skip
"""All contenders by name, in the order of the tables."""
