"""A foreign program that publishes garbage into the queue of a service, and takes what answers it gets.

The environment gives RABIBRIDGE_URL, CHAOS_QUEUE and CHAOS_COUNT. A tenth of the messages ask for an answer. It prints
one line of JSON with the number of these when all are sent, and another once it has as many answers.
"""

from __future__ import annotations

import json
import os
import random
from typing import Any

import pika  # type: ignore[import-untyped]  # it ships no types

_BODIES = (
    b"", b"\xff" * 50, b"[1, 2", b"\x28\xb5\x2f\xfd" + b"\0" * 20, b"\x92\x90\xc0", b"\xc1", b"null",
    b"\x80\x04K\x01.", b'{"a": 1}', b"\x91" * 900,
)  # fmt: skip
_TYPES = ("application/msgpack", "application/json", "application/x-python-pickle", "text/html", None, "\u2603")
_HEADERS: tuple[Any, ...] = (
    None,
    {},
    {"rb-deadline": "soon"},
    {"rb-timeout": "never", "rb-key": 7, "x": [1, {"y": 2}]},
)


def _properties(number: int, reply_to: str | None) -> Any:
    return pika.BasicProperties(
        content_type=random.choice(_TYPES),
        content_encoding=random.choice((None, "zstd", "gzip", "nonsense")),
        correlation_id=f"garbage-{number}",
        reply_to=reply_to,
        headers=random.choice(_HEADERS),
    )


def main() -> None:
    url, queue, count = os.environ["RABIBRIDGE_URL"], os.environ["CHAOS_QUEUE"], int(os.environ["CHAOS_COUNT"])
    connection = pika.BlockingConnection(pika.URLParameters(url.split("?")[0]))
    channel: Any = connection.channel()
    answers = channel.queue_declare("", exclusive=True).method.queue
    asking = 0
    for number in range(count):
        asks = number % 10 == 0
        asking += asks
        body = random.choice(_BODIES)
        channel.basic_publish("", queue, body, _properties(number, answers if asks else None))
    print(json.dumps({"ready": asking}), flush=True)
    got = 0
    for got, _ in enumerate(channel.consume(answers, auto_ack=True), 1):
        if got == asking:
            break
    print(json.dumps({"answers": got}), flush=True)
    connection.close()


if __name__ == "__main__":
    main()
