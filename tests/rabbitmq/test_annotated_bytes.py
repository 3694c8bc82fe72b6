"""The bytes of one call that docs/protocol.md explains are those that a client and a worker send."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from rabibridge import RMQClient, RMQServer
from tests.docs.blocks import ROOT
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path("docs/protocol.md")
_METHOD, _END = 1, b"\xce"
_PUBLISH = b"\x00\x3c\x00\x28"
_LINE = re.compile(r"^(?P<bytes>(?:[0-9a-f]{2} )*[0-9a-f]{2}) {2,}(?P<meaning>\S.*)$")
_VARIES = "~"
"""Begins the meaning of bytes that differ from call to call."""


class _Part(NamedTuple):
    data: bytes
    meaning: str


def _explained(heading: str) -> list[_Part]:
    """Return the lines of the block below a heading of the page."""
    text = (ROOT / PAGE).read_text(encoding="utf-8").partition(f"\n#### {heading}\n")[2]
    block = text.partition("```text\n")[2].partition("```")[0]
    found = [_LINE.match(line) for line in block.splitlines() if line]
    assert None not in found, block
    return [_Part(bytes.fromhex(line["bytes"]), line["meaning"]) for line in found if line]


def _frames(stream: bytes) -> Iterator[bytes]:
    """Yield the frames that a client has sent behind its protocol header."""
    at = len(b"AMQP\x00\x00\x09\x01")
    while at + 7 <= len(stream):
        end = at + 8 + int.from_bytes(stream[at + 3 : at + 7], "big")
        yield stream[at:end]
        at = end


def _publish_with(stream: bytes, body: bytes) -> bytes:
    """Return the three frames of the one message with this body: method, content header, body."""
    frames = list(_frames(stream))
    (at,) = (at for at, frame in enumerate(frames) if frame[0] == 3 and frame[7:-1] == body)
    assert frames[at - 2][0] == _METHOD
    assert frames[at - 2][7:11] == _PUBLISH
    return b"".join(frames[at - 2 : at + 1])


def _compare(explained: list[_Part], sent: bytes) -> dict[str, bytes]:
    """Check that what was sent is what is explained; return what varies by its meaning."""
    at, varying = 0, {}
    for part in explained:
        real = sent[at : at + len(part.data)]
        if part.meaning.startswith(_VARIES):
            varying[part.meaning.removeprefix(_VARIES).partition(":")[0].strip()] = real
        else:
            assert real.hex(" ") == part.data.hex(" "), f"{part.meaning}, at byte {at}"
        at += len(part.data)
    assert at == len(sent)
    return varying


async def add(a: int, b: int) -> int:
    return a + b


@pytest.mark.rabbitmq
async def test_the_bytes_of_a_call_are_those_of_the_page(vhost_url: str) -> None:
    async with Proxy(vhost_url, recording=True) as callers, Proxy(vhost_url, recording=True) as workers:
        server = RMQServer(url=workers.url)
        server.add_service(add, queue_size=100, fetch_size=10, timeout=5)
        async with server.serving(), RMQClient(url=callers.url) as client:
            assert await client.options(timeout=5).call(add, 1, 2) == 3
        request = _publish_with(bytes(callers.links[0].sent), b"\x92\x92\x01\x02\x80")
        reply = _publish_with(bytes(workers.links[0].sent), b"\x92\x00\x03")
    asked = _compare(_explained("The request"), request)
    answered = _compare(_explained("The reply"), reply)
    assert answered["correlation id"] == asked["correlation id"]
    assert answered["routing key"] == asked["reply queue"]
