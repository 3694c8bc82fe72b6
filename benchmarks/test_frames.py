from __future__ import annotations

from typing import Any

import pytest

from rabibridge._amqp.frames import (
    METHOD,
    FrameParser,
    ack,
    content,
    deadline_table,
    encode_properties,
    parse_deadline_table,
    parse_properties,
    publish_method,
    short_string,
)

_CHANNEL = 1
_MAX_PAYLOAD = 131_064
_REPLY_TO = b"amq.gen-JzTY20BRgKO-HjmUJj0wLg"
_BODY = bytes.fromhex("92910580")
_MESSAGES = 100


def _properties(table: bytes) -> tuple[int, bytes]:
    return encode_properties(b"application/msgpack", b"", table, b"1234567890", _REPLY_TO, b"10000")


def _request(body: bytes) -> bytes:
    flags, properties = _properties(deadline_table(10_000, 1_800_000_000_000))
    frames = content(_CHANNEL, b"", flags, properties, body, _MAX_PAYLOAD)
    return b"".join(frames) if isinstance(frames, list) else frames


def _delivery(tag: int) -> bytes:
    method = b"\x00\x3c\x00\x3c" + short_string(b"amq.ctag-1") + tag.to_bytes(8, "big") + b"\x00"
    method += short_string(b"rpc") + short_string(b"async_bench_echo")
    return bytes((METHOD, 0, _CHANNEL)) + len(method).to_bytes(4, "big") + method + b"\xce" + _request(_BODY)


class _Sink:
    """Accepts and ignores every frame."""

    def frame(self, kind: int, data: bytes, start: int, end: int) -> bool:
        return True

    def message(self, data: bytes, start: int, end: int, size: int) -> int:
        return 0


def _ignore(frame: bytes) -> None:
    raise AssertionError(f"unexpected frame: {frame!r}")


@pytest.mark.benchmark(group="frames, one message")
def test_encode_a_request(benchmark: Any) -> None:
    frames = benchmark(_request, _BODY)
    assert _BODY in frames


@pytest.mark.benchmark(group="frames, one message")
def test_encode_a_reply_and_its_ack(benchmark: Any) -> None:
    method = publish_method(_CHANNEL, b"", _REPLY_TO, mandatory=True)

    def reply() -> bytes:
        flags, properties = encode_properties(b"application/msgpack", b"", b"", b"1234567890")
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
    frames = benchmark(content, _CHANNEL, 0, b"", body, _MAX_PAYLOAD)
    assert len(frames) > len(body)


@pytest.mark.benchmark(group=f"frames, cutting {_MESSAGES} messages")
@pytest.mark.parametrize("chunk", [2**18, 1460], ids=["in one piece", "in pieces of 1460 bytes"])
def test_cut_deliveries(benchmark: Any, chunk: int) -> None:
    stream = b"".join(map(_delivery, range(_MESSAGES)))
    pieces = [stream[start : start + chunk] for start in range(0, len(stream), chunk)]

    def cut() -> bool:
        cutter = FrameParser({_CHANNEL: _Sink()}, _ignore, _MAX_PAYLOAD)
        return [cutter.feed(piece) for piece in pieces][-1]

    assert benchmark(cut)
