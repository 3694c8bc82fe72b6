"""The items of streams: encoded one by one, sent together, and read again."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabibridge_core._codec.codec import Codec
from rabibridge_core._codec.serializers import MsgpackSerializer
from rabibridge_core._protocol.payloads import (
    StreamRequestError,
    UnreadableRequestError,
    decode_request,
    encode_request,
)
from rabibridge_core._protocol.stream_payloads import decode_stream_request
from rabibridge_core._protocol.streams import (
    Window,
    decode_items,
    feed_context,
    part_context,
    read_index,
    read_window,
)
from rabibridge_core.errors import ContentRejectedError, SerializationError, StreamError
from rabibridge_core.transport import Reply
from tests.unit.codec_support import KEY, NAMES
from tests.unit.scripted_requests import CODEC, ScriptedRequest

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc$rb"), inner),
    max_leaves=10,
)


def there_and_back(codec: Codec, values: list[Any]) -> list[Any]:
    encoder = codec.items()
    body, content_type, encoding = encoder.join([encoder.encode(value) for value in values], b"here")
    return decode_items(codec, Reply(body, content_type, encoding), b"here", on_loop=False)


@pytest.mark.parametrize("name", ["msgpack", "json"])
@given(values=st.lists(PLAIN, max_size=20))
def test_items_come_back(name: str, values: list[Any]) -> None:
    assert there_and_back(Codec(serializer=name), values) == values


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65535, 65536])
@pytest.mark.parametrize("name", ["msgpack", "json"])
def test_any_number_of_items_comes_back(name: str, count: int) -> None:
    assert there_and_back(Codec(serializer=name), list(range(count))) == list(range(count))


@pytest.mark.parametrize("name", ["msgpack", "json"])
def test_values_that_a_format_lacks_come_back(name: str) -> None:
    values = [datetime.date(2024, 5, 17), decimal.Decimal("1.50"), b"\0\xff", {1, 2}, {"$rb": ["date", "x"]}, 2**80]
    assert there_and_back(Codec(serializer=name), values) == values


@pytest.mark.parametrize("name", NAMES)
def test_an_item_is_sent_as_it_was_when_it_was_encoded(name: str) -> None:
    codec = Codec(serializer=name, trust_broker=True)
    encoder, item = codec.items(), [1]
    encoded = encoder.encode(item)
    item.append(2)
    body, content_type, encoding = encoder.join([encoded])
    assert decode_items(codec, Reply(body, content_type, encoding), b"") == [[1]]


def test_formats_that_cannot_join_hold_one_item() -> None:
    class Own(MsgpackSerializer):
        name = "own"
        content_type = "application/x-own"

    for codec in (Codec(serializer="pickle", trust_broker=True), Codec(serializer=Own())):
        encoder = codec.items()
        assert not encoder.joins
        with pytest.raises(ValueError, match="unpack"):
            encoder.join([encoder.encode(1), encoder.encode(2)])
        assert there_and_back(codec, [{"a": 1}]) == [{"a": 1}]
    assert CODEC.items().joins


def test_signed_items_are_valid_in_one_place_only() -> None:
    codec = Codec(serializer="pickle", signing_key=KEY)
    encoder = codec.items()
    body, content_type, encoding = encoder.join([encoder.encode("x")], part_context(b"7", 3))
    reply = Reply(body, content_type, encoding)
    assert decode_items(codec, reply, part_context(b"7", 3)) == ["x"]
    for other in (part_context(b"7", 4), part_context(b"8", 3), feed_context(b"7", 3), b"reply 7", b"7"):
        with pytest.raises(ContentRejectedError, match="signature"):
            decode_items(codec, reply, other)


def test_items_are_compressed_as_other_bodies_are() -> None:
    encoder = CODEC.items()
    body, content_type, encoding = encoder.join([encoder.encode("x" * 100)] * 100)
    assert (encoding, len(body) < 1000) == ("zstd", True)
    assert decode_items(CODEC, Reply(body, content_type, encoding), b"") == ["x" * 100] * 100


def test_what_cannot_be_encoded_or_is_too_large_is_an_error_at_once() -> None:
    with pytest.raises(SerializationError, match="object"):
        CODEC.items().encode([object()])
    codec = Codec(max_decompressed=1000, compress_threshold=None)
    with pytest.raises(ContentRejectedError, match="max_decompressed"):
        codec.items().encode(b"x" * 1000)
    largest = codec.items().encode(b"x" * 900)
    codec.items().join([largest])
    with pytest.raises(ContentRejectedError, match="max_decompressed"):
        codec.items().join([largest, largest])


@pytest.mark.parametrize("body", [b"\x80", b"\x01", b"\xc0", b"\xa1x"])
def test_a_body_that_is_no_array_is_an_error(body: bytes) -> None:
    with pytest.raises(SerializationError, match="array of items"):
        decode_items(CODEC, Reply(body, "application/msgpack", None), b"")


def test_windows() -> None:
    assert read_window("16,1048576") == Window(16, 1048576)
    assert read_window(str(Window(1, 1))) == Window(1, 1)
    assert read_window("999999,99999999999999") == Window(4096, 64 * 2**20)


@pytest.mark.parametrize(
    "value", ["", "0,1", "1,0", "1", "1,", "1,2,3", "-1,5", "1, 2", "\u0661,\u0662", "9" * 99 + ",1", 7, None, b"1,1"]
)
def test_malformed_windows_are_refused(value: object) -> None:
    with pytest.raises(ContentRejectedError, match="MESSAGES,BYTES"):
        read_window(value)


def test_indices() -> None:
    assert [read_index({"rb-index": value}) for value in (0, 7, 2**63 - 1)] == [0, 7, 2**63 - 1]
    for wrong in (-1, True, "1", 1.0, 2**63, b"1"):
        assert read_index({"rb-index": wrong}) is None
    assert read_index(None) is read_index({}) is None


def test_a_request_for_a_stream_is_told_apart_by_its_body() -> None:
    request = ScriptedRequest()
    request.body, request.content_type, _ = encode_request(CODEC, (1,), {"a": 2}, b"1", streams=True)
    with pytest.raises(StreamRequestError):
        decode_request(CODEC, request)
    assert decode_stream_request(CODEC, request) == ([1], {"a": 2})
    assert decode_stream_request(CODEC, ScriptedRequest((1,), {"a": 2})) == ([1], {"a": 2})


@pytest.mark.parametrize(
    "value", [[[], {}, False], [[], {}, 1], [[], {}, True, True], [1, {}, True], [[], {1: 2}, True], []]
)
def test_other_bodies_are_no_requests(value: object) -> None:
    request = ScriptedRequest()
    request.body, request.content_type, request.content_encoding = Codec(any_map_keys=True).encode(value)
    with pytest.raises(UnreadableRequestError):
        decode_stream_request(Codec(any_map_keys=True), request)


def test_the_error_of_a_stream_says_how_many_items_came() -> None:
    error = StreamError("broken off", func_name="f", received=3)
    assert (error.received, error.executed, error.func_name) == (3, None, "f")
