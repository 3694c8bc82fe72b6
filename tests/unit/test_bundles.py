"""Bundles of replies as bytes: what is put in comes out, in order, and nothing else is ever taken for a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rabibridge._amqp import frames
from rabibridge._amqp.bundles import (
    BUNDLE_BYTES,
    BUNDLE_REPLIES,
    BUNDLE_TYPE,
    BundleError,
    encode_bundles,
    encode_record,
    parse_bundle,
)
from rabibridge._amqp.fast_path import RequestTemplate, encode_simple_reply
from rabibridge._amqp.field_tables import decode_table_or_empty, encode_table
from rabibridge._amqp.headers import announcing, without_announcement
from rabibridge._amqp.methods import publish_method
from rabibridge._amqp.properties import Properties, encode_properties, parse_properties
from rabibridge._transport.incoming_bundles import may_announce
from rabibridge._transport.outgoing_bundles import BundledReply, ReplyBundles
from rabibridge_core._protocol.streams import STREAM_HEADERS
from rabibridge_core._security.signature import SIGNATURE
from rabibridge_core.transport import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rabibridge_core.transport import Headers

_CHANNEL, _ADDRESS = 7, b"amq.gen-JzTY20BRgKO-HjmUJj0wLg"
_METHOD = publish_method(_CHANNEL, b"", _ADDRESS, mandatory=True)
_ROOM = 131_064

_replies = st.lists(
    st.tuples(
        st.binary(min_size=1, max_size=20),
        st.builds(
            Reply,
            st.binary(min_size=1, max_size=40),
            st.sampled_from(["application/msgpack", "application/json"]),
            st.none(),
            st.one_of(st.none(), st.just({"rb-part": "items", "rb-index": 5})),
        ),
    ),
    min_size=1,
    max_size=12,
)


def _sent(replies: Sequence[tuple[bytes, Reply]], max_size: int = _ROOM) -> bytes:
    """Return the frames that send these replies in bundles."""
    records = [encode_record(correlation_id, reply) for correlation_id, reply in replies]
    assert all(records)
    return encode_bundles(_CHANNEL, _METHOD, records, max_size)


class _Messages:
    """Takes frames as a broker does, and keeps properties and body of each message."""

    def __init__(self) -> None:
        self.found: list[tuple[Properties, bytes]] = []
        self._properties: Properties

    def handle_message(self, data: bytes, start: int, end: int, size: int) -> int:
        return 0

    def handle_frame(self, kind: int, data: bytes, start: int, end: int) -> bool:
        if kind == frames.METHOD:
            assert data[start - 7 : end + 1] == _METHOD
        elif kind == frames.HEADER:
            self._properties = parse_properties(data, start + 12, end)
        else:
            self.found.append((self._properties, data[start:end]))
        return True


def _messages(data: bytes) -> list[tuple[Properties, bytes]]:
    taken = _Messages()
    frames.FrameParser({_CHANNEL: taken}, lambda _: None, _ROOM).feed(data)
    return taken.found


def _split(data: bytes) -> list[tuple[bytes, Reply]]:
    """Return the replies in these frames, as a caller that reads bundles sees them."""
    found: list[tuple[Properties, bytes]] = []
    for properties, body in _messages(data):
        found += parse_bundle(body) if properties.content_type == BUNDLE_TYPE else [(properties, body)]
    return [
        (
            one.correlation_id,
            Reply(body, one.content_type, one.content_encoding, decode_table_or_empty(one.headers) or None),
        )
        for one, body in found
    ]


@given(_replies, st.integers(60, 400))
def test_what_is_sent_together_arrives_in_order_whatever_fits_into_a_bundle(
    replies: list[tuple[bytes, Reply]], max_size: int
) -> None:
    sent = _sent(replies, max_size)
    assert _split(sent) == replies
    for properties, body in _messages(sent):
        assert properties.content_type != BUNDLE_TYPE or len(body) <= max_size


@given(_replies)
def test_a_reply_that_is_alone_is_sent_as_without_bundles(replies: list[tuple[bytes, Reply]]) -> None:
    for correlation_id, reply in replies:
        usual = encode_simple_reply(_CHANNEL, _METHOD, correlation_id, reply, _ROOM)
        assert _sent([(correlation_id, reply)]) == usual
    assert _sent(replies, 20) == b"".join(_sent([one]) for one in replies)  # no two of them fit


def test_a_reply_without_a_body_or_a_type_is_sent_as_without_bundles() -> None:
    for reply in (Reply(b"", None, None, {"rb-error": "execution"}), Reply(b"x", "a/b", "zstd", None)):
        table = encode_table(reply.headers) if reply.headers else b""
        flags, encoded = encode_properties(Properties(*reply[1:3], table, b"id"))
        assert _sent([(b"id", reply)]) == frames.content(_CHANNEL, _METHOD, flags, encoded, reply.body, _ROOM)
        assert parse_bundle(_messages(_sent([(b"id", reply)] * 2))[0][1])[1][1] == reply.body


def test_large_replies_stay_out_of_bundles() -> None:
    assert not encode_record(b"id", Reply(bytes(4097), "a/b", None, None))
    assert not encode_record(b"id", Reply(b"x", "a/b", None, {"text": "x" * 3000}))
    assert not encode_record(b"", Reply(b"x", "a/b", None, None))


def test_replies_of_several_callers_stay_apart_and_a_full_bundle_leaves_early() -> None:
    bundles, one = ReplyBundles(_CHANNEL), (b"1", Reply(b"x", "a/b", None, None))
    reply = BundledReply(_ADDRESS, _METHOD, encode_record(*one))
    assert not bundles.add(reply._replace(reply_to=b"another"))
    assert [bundles.add(reply) for _ in range(BUNDLE_REPLIES)] == [False] * (BUNDLE_REPLIES - 1) + [True]
    assert len(_split(bundles.take(_ADDRESS, _ROOM))) == BUNDLE_REPLIES
    assert bundles.waiting
    assert bundles.take(_ADDRESS, _ROOM) == b""
    assert bundles.take_all(_ROOM) == _sent([one])
    assert not bundles.waiting


def test_bundles_have_at_most_64_kib() -> None:
    replies = [(b"%d" % number, Reply(bytes(3000), "a/b", None, None)) for number in range(100)]
    sent = _sent(replies)
    assert _split(sent) == replies
    sizes = [len(body) for _, body in _messages(sent)]
    assert len(sizes) == 5
    assert max(sizes) <= BUNDLE_BYTES


def _bundle(count: int) -> bytes:
    sent = _sent([(b"id", Reply(b"body", "a/b", None, {"n": 1}))] * count)
    return _messages(sent)[0][1]


@settings(max_examples=50)
@given(st.data())
def test_a_changed_bundle_is_one_or_is_refused_as_a_whole(data: st.DataObject) -> None:
    good = _bundle(3)
    at = data.draw(st.integers(0, len(good) - 1))
    changed = good[:at] + data.draw(st.binary(max_size=9)) + good[at + data.draw(st.integers(0, 9)) :]
    try:
        replies = parse_bundle(changed)
    except BundleError:
        return
    assert all(properties.correlation_id for properties, _ in replies)
    assert sum(len(body) for _, body in replies) < len(changed)


@settings(max_examples=50)
@given(st.binary(max_size=200))
@example(b"\x01" + b"\xff" * 200)
@example(b"\x01\x00\x00\x00\x0e\x00\x3c\x00\x00" + b"\xff" * 8 + b"\x84\x00")
def test_other_bytes_are_refused(content: bytes) -> None:
    for start in (b"", b"\x01"):
        with pytest.raises(BundleError):
            parse_bundle(start + content + b"\xff")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b"", "version", id="nothing"),
        pytest.param(b"\x02" + _bundle(2)[1:], "version is unknown: 02", id="another version"),
        pytest.param(b"\x01", "0 replies", id="no reply"),
        pytest.param(_bundle(2)[:-1], "reply 1 is malformed", id="cut"),
        pytest.param(_bundle(2) + b"\0", "reply 2 is malformed", id="more"),
        pytest.param(_bundle(2).replace(b"\x02id", b"\x00"), "malformed", id="without its id"),
        pytest.param(_bundle(2).replace(b"\0\x3c\0\0", b"\0\x3c\0\x01"), "malformed", id="a weight"),
        pytest.param(_bundle(2) + _bundle(255)[1:], "257 replies", id="too many"),
        pytest.param(_bundle(2) + bytes(BUNDLE_BYTES), "more than 65536 bytes", id="too large"),
    ],
)
def test_what_a_bundle_may_not_be(content: bytes, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        parse_bundle(content)


@pytest.mark.parametrize(
    "headers",
    [None, STREAM_HEADERS, {"traceparent": "00-" + "a" * 52}, {"x": "y", "n": 1}],
    ids=["none", "a stream", "a trace", "others"],
)
@pytest.mark.parametrize("seconds", [5.0, 0.25])
def test_the_announcement_is_all_that_it_adds_to_a_request(headers: Headers | None, seconds: float) -> None:
    template = RequestTemplate(_CHANNEL, _ADDRESS, _ROOM, b"guest")
    request = Request("async_add", b"id", b"body", "application/msgpack", None, seconds, headers, False)
    table = {}
    for bundles in (False, True):
        data = template.encode(_METHOD, request, 1e9, bundles=bundles)
        [(properties, _)] = _messages(data)
        table[bundles] = properties.headers
    assert table[True] == announcing(table[False])
    assert without_announcement(table[True]) == table[False]
    assert list(decode_table_or_empty(table[True])) == ["rb-bundles", *decode_table_or_empty(table[False])]


def test_signed_requests_announce_nothing() -> None:
    assert may_announce(None)
    assert may_announce({"a": 1})
    assert not may_announce({"a": 1, SIGNATURE: "1 hmac ..."})
    headers: dict[str, Any] = {"a": 1}
    assert without_announcement(announcing(b"")) == b""
    assert without_announcement(announcing(encode_table(headers))) == encode_table(headers)
