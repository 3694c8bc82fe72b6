from __future__ import annotations

from typing import Any

import pytest

from rabibridge._amqp.frames import METHOD, FrameParser, content, short_string
from rabibridge._amqp.headers import deadline_table, parse_deadline_table
from rabibridge._amqp.methods import ack, publish_method
from rabibridge._amqp.properties import Properties, encode_properties, parse_properties

_CHANNEL = 1
_MAX_PAYLOAD = 131_064
_REPLY_TO = b"amq.gen-JzTY20BRgKO-HjmUJj0wLg"
_BODY = bytes.fromhex("92910580")
_MESSAGES = 100


def _properties(table: bytes) -> tuple[int, bytes]:
    fields = ("application/msgpack", None, table, b"1234567890", _REPLY_TO, b"10000", False, b"", b"")
    return encode_properties(tuple.__new__(Properties, fields))


def _request(body: bytes) -> bytes:
    flags, properties = _properties(deadline_table(10_000, 1_800_000_000_000))
    frames = content(_CHANNEL, b"", flags, properties, body, _MAX_PAYLOAD)
    return b"".join(frames) if isinstance(frames, list) else frames


def _delivery(tag: int) -> bytes:
    method = b"\x00\x3c\x00\x3c" + short_string(b"amq.ctag-1") + tag.to_bytes(8, "big") + b"\x00"
    method += short_string(b"rpc") + short_string(b"async_bench_echo")
    return bytes((METHOD, 0, _CHANNEL)) + len(method).to_bytes(4, "big") + method + b"\xce" + _request(_BODY)


class _Handler:
    """Accepts and ignores every frame."""

    def handle_frame(self, kind: int, data: bytes, start: int, end: int) -> bool:
        return True

    def handle_message(self, data: bytes, start: int, end: int, size: int) -> int:
        return 0


def _fail(frame: bytes) -> None:
    raise AssertionError(f"no handler took the frame: {frame!r}")


@pytest.mark.benchmark(group="frames, one message")
def test_encode_a_request(benchmark: Any) -> None:
    frames = benchmark(_request, _BODY)
    assert _BODY in frames


@pytest.mark.benchmark(group="frames, one message")
def test_encode_a_reply_and_its_ack(benchmark: Any) -> None:
    method = publish_method(_CHANNEL, b"", _REPLY_TO, mandatory=True)

    def reply() -> bytes:
        fields = ("application/msgpack", None, b"", b"1234567890", b"", b"", False, b"", b"")
        flags, properties = encode_properties(tuple.__new__(Properties, fields))
        frames = content(_CHANNEL, method, flags, properties, _BODY, _MAX_PAYLOAD)
        assert isinstance(frames, bytes)
        return frames + ack(_CHANNEL, 12_345)

    assert benchmark(reply).endswith(b"\xce")


@pytest.mark.benchmark(group="frames, one message")
def test_parse_the_properties_of_a_request(benchmark: Any) -> None:
    flags, properties = _properties(deadline_table(10_000, 1_800_000_000_000))
    payload = flags.to_bytes(2, "big") + properties

    def parse() -> tuple[int, int] | None:
        return parse_deadline_table(parse_properties(payload, 0, len(payload)).headers)

    assert benchmark(parse) == (10_000, 1_800_000_000_000)


@pytest.mark.benchmark(group="frames, 1 MiB body")
def test_encode_a_large_body(benchmark: Any) -> None:
    body = bytes(2**20)
    frames = benchmark(content, _CHANNEL, b"", 0, b"", body, _MAX_PAYLOAD)
    assert sum(map(len, frames)) > len(body)


@pytest.mark.benchmark(group=f"frames, parsing {_MESSAGES} messages")
@pytest.mark.parametrize("chunk", [2**18, 1460], ids=["in one piece", "in pieces of 1460 bytes"])
def test_parse_deliveries(benchmark: Any, chunk: int) -> None:
    stream = b"".join(map(_delivery, range(_MESSAGES)))
    pieces = [stream[start : start + chunk] for start in range(0, len(stream), chunk)]

    def parse() -> bool:
        parser = FrameParser({_CHANNEL: _Handler()}, _fail, _MAX_PAYLOAD)
        return [parser.feed(piece) for piece in pieces][-1]

    assert benchmark(parse)
