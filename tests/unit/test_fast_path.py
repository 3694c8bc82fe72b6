"""The fast path: common messages, encoded and parsed in one step, give the same result as the general functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from pamqp import commands as spec

from rabibridge._amqp import frames
from rabibridge._amqp.durations import expiration_of
from rabibridge._amqp.fast_path import RequestTemplate, encode_simple_reply
from rabibridge._amqp.field_tables import encode_table
from rabibridge._amqp.headers import announcing, deadline_table, parse_signed_table, parse_traced_table, stream_table
from rabibridge._amqp.methods import publish_method
from rabibridge._amqp.properties import Properties, encode_properties
from rabibridge_core._protocol.streams import STREAM_HEADERS
from rabibridge_core.transport import Reply, Request
from tests.support.fast_channels import MAX_BODY, MAX_PAYLOAD, RecordedChannel, deliver_frames, method_frame, receive
from tests.support.sockets import forwarded, multiplexed_socket

if TYPE_CHECKING:
    from rabibridge._connection.multiplexer import Multiplexer
    from rabibridge_core.transport import Headers

_REPLY_TO = b"amq.gen-JzTY20BRgKO-HjmUJj0wLg"
_METHOD = publish_method(1, b"rpc", b"async_add", mandatory=True)


class _Whole(RecordedChannel):
    """Records all properties, and how many messages it handled in one step."""

    def __init__(self, multiplexer: Multiplexer) -> None:
        super().__init__(multiplexer, 1)
        self.at_once = 0

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        self.received.append((tag, redelivered, properties, body))

    def handle_message(self, data: bytes, start: int, end: int, size: int) -> int:
        after = super().handle_message(data, start, end, size)
        self.at_once += after > 0
        return after


class _Framewise(_Whole):
    def handle_message(self, data: bytes, start: int, end: int, size: int) -> int:
        return 0


async def _outcome(kind: type[_Whole], data: bytes, sizes: list[int]) -> tuple[Any, ...]:
    """Return everything that a channel does with these bytes, and what aiormq gets."""
    multiplexer, socket, reader = multiplexed_socket()
    channel = kind(multiplexer)
    receive(multiplexer, data, sizes)
    rest = (await forwarded(reader)).replace(frames.HEARTBEAT, b"")
    left = () if socket.aborted else (channel._method, channel._properties, channel._parts.getvalue(), channel._missing)
    heard = [("closed",) if one[0] == "closed" else one for one in channel.received]
    return heard, type(multiplexer.error), socket.aborted, channel.open, rest, left


_texts = st.text("abc/é", max_size=8)
_properties = st.one_of(
    st.fixed_dictionaries(
        {"content_type": _texts, "correlation_id": _texts}, optional={"headers": st.just({"rb-part": "items"})}
    ),
    st.fixed_dictionaries(
        {"content_type": _texts, "correlation_id": _texts, "reply_to": _texts, "expiration": _texts},
        optional={"headers": st.just({"rb-timeout": 5, "x": "y"}), "user_id": _texts},
    ),
    st.fixed_dictionaries(
        {}, optional={"message_id": _texts, "priority": st.integers(0, 9), "content_encoding": _texts}
    ),
)
_messages = st.builds(
    lambda tag, body, again, properties: deliver_frames(1, tag, body, redelivered=again, **properties),
    st.integers(1, 2**62),
    st.binary(max_size=MAX_PAYLOAD + 20),
    st.sampled_from([False, False, False, True]),
    _properties,
)  # fmt: skip
_others = st.sampled_from(
    [
        method_frame(1, spec.Basic.Ack(3, multiple=True)),
        method_frame(1, spec.Basic.Deliver("another", 1, False, "", "")),
        method_frame(1, spec.Basic.QosOk()),
        method_frame(1, spec.Channel.Close(406, "PRECONDITION_FAILED", 60, 80)),
        method_frame(0, spec.Connection.Blocked("alarm")),
    ]
)
_streams = st.lists(st.one_of(_messages, _messages, _messages, _others), max_size=8).map(b"".join)
_sizes = st.lists(st.integers(1, 400), min_size=1, max_size=5)


@settings(deadline=None)
@given(_streams, _sizes)
async def test_in_one_step_or_frame_by_frame_the_outcome_is_the_same(stream: bytes, sizes: list[int]) -> None:
    assert await _outcome(_Whole, stream, sizes) == await _outcome(_Framewise, stream, sizes)


@settings(deadline=None)
@given(_streams.filter(bool), _sizes, st.data())
async def test_so_it_is_when_a_byte_is_flipped(stream: bytes, sizes: list[int], data: st.DataObject) -> None:
    flipped = bytearray(stream)
    flipped[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    assert await _outcome(_Whole, bytes(flipped), sizes) == await _outcome(_Framewise, bytes(flipped), sizes)


async def test_so_it_is_whichever_byte_of_a_message_is_another() -> None:
    table = {"rb-timeout": 5000, "rb-deadline": 10**12}
    first = deliver_frames(1, 1, b"first", content_type="a/b", correlation_id="1")
    request = deliver_frames(
        1, 2, b"second", content_type="a/b", headers=table, correlation_id="1", reply_to="q", expiration="9"
    )
    named = deliver_frames(
        1, 2, b"second", content_type="a/b", headers=table, correlation_id="1", reply_to="q", expiration="9",
        user_id="me",
    )  # fmt: skip
    reply = deliver_frames(1, 2, b"second", content_type="a/b", correlation_id="1")
    part = deliver_frames(1, 2, b"second", content_type="a/b", headers={"rb-part": "items"}, correlation_id="1")
    for message in (request, named, reply, part):
        for position in range(len(message)):
            for value in {0, 1, message[position] ^ 1, message[position] + 1 & 255, 0xCE, 255}:
                stream = first + message[:position] + bytes((value,)) + message[position + 1 :]
                assert await _outcome(_Whole, stream, [2**16]) == await _outcome(_Framewise, stream, [2**16])


async def test_calls_are_taken_in_one_step_after_the_first() -> None:
    multiplexer, _, _ = multiplexed_socket()
    channel = _Whole(multiplexer)
    multiplexer.data_received(
        b"".join(deliver_frames(1, n, b"x", content_type="a/b", correlation_id="1") for n in range(5))
    )
    assert channel.at_once == 4
    multiplexer.data_received(deliver_frames(1, 5, b"x" * MAX_PAYLOAD, content_type="a/b", correlation_id="1"))
    assert channel.at_once == 5
    multiplexer.data_received(deliver_frames(1, 6, b"x" * (MAX_BODY + 1), content_type="a/b", correlation_id="1"))
    assert channel.at_once == 5
    assert [tag for tag, *_ in channel.received] == list(range(7))


_bodies = st.binary(min_size=1, max_size=MAX_PAYLOAD + 1)
_names = st.binary(max_size=300)
_types = st.sampled_from(["", "application/msgpack", "text/é"])
_encodings = st.sampled_from([None, "zstd"])


_SIGNED: Headers = {"rb-signature": "1 k sender 7 1700000000000 1700000005000 async_add " + "A" * 43}
_TRACED: Headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
_headers = st.sampled_from(
    [
        None,
        {},
        STREAM_HEADERS,
        _SIGNED,
        {"tenant": "a", "n": 7},
        {"rb-key": "k"},
        {"CC": "x"},
        {"x": "y" * 1500},
        _TRACED,
        {"traceparent": "é" * 55},
        {"traceparent": b"x" * 55},
        {"traceparent": "short"},
        {**_TRACED, "n": 7},
    ]
)


@given(
    _names, _bodies, _types, _encodings, st.none() | st.floats(0.0001, 4e6), st.booleans(), st.floats(0, 2e9), _headers,
    st.sampled_from([b"", b"gateway", b"u" * 255]),
)  # fmt: skip
@example(b"1", b"x", "application/msgpack", None, 10.0, False, 1.7e9, None, b"")
@example(b"1", b"x", "application/msgpack", None, 10.0, False, 1.7e9, STREAM_HEADERS, b"gateway")
def test_the_fast_path_encodes_a_request_like_the_general_encoder(
    name: bytes,
    body: bytes,
    kind: str,
    encoding: str | None,
    seconds: float | None,
    persistent: bool,
    now: float,
    headers: Headers | None,
    user: bytes,
) -> None:
    template = RequestTemplate(1, _REPLY_TO, MAX_PAYLOAD, user)
    request = Request("async_add", name, body, kind, encoding, seconds, headers, persistent)
    written = template.encode(_METHOD, request, now)
    usual = (
        0 < len(name) < 256
        and len(body) <= MAX_PAYLOAD
        and kind
        and not (encoding or seconds is None or persistent)
        and (not headers or not ({"rb-key", "CC"} & headers.keys() or len(encode_table(headers)) > 1500))
    )
    assert bool(written) == bool(usual)
    if written:
        assert seconds is not None
        times = int(expiration_of(seconds)), int((now + seconds) * 1000)
        table = encode_table({**(headers or {}), "rb-timeout": times[0], "rb-deadline": times[1]})
        assert headers or table == deadline_table(*times)
        assert headers is not STREAM_HEADERS or table == stream_table(*times)
        expiration = expiration_of(seconds)
        flags, properties = encode_properties(Properties(kind, None, table, name, _REPLY_TO, expiration, user_id=user))
        assert written == frames.content(1, _METHOD, flags, properties, body, MAX_PAYLOAD)
        assert template.encode(_METHOD, request, now) == written


_table_headers = st.dictionaries(
    st.sampled_from(["rb-signature", "rb-timeout", "rb-deadline", "x"]), st.integers(0, 2**40) | st.text(max_size=8)
)


@given(st.text(max_size=300), st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_the_headers_of_a_signed_request_are_read_in_one_step(text: str, timeout: int, deadline: int) -> None:
    table = encode_table({"rb-signature": text, "rb-timeout": timeout, "rb-deadline": deadline})
    assert parse_signed_table(table) == (text, timeout, deadline)
    for cut in range(len(table)):
        assert parse_signed_table(table[:cut]) is None


@given(st.text(max_size=60), st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
@example("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 60_000, 2**40)
@example("\u00e9" * 27 + "x", 1, 1)
def test_the_headers_of_a_traced_request_are_read_in_one_step(text: str, timeout: int, deadline: int) -> None:
    table = encode_table({"traceparent": text, "rb-timeout": timeout, "rb-deadline": deadline})
    size = len(text.encode())
    for each in (table, announcing(table)):
        assert parse_traced_table(each) == ((text, timeout, deadline) if size == 55 else None)
    for cut in range(len(table)):
        assert parse_traced_table(table[:cut]) is None
    assert parse_traced_table(encode_table({"traceparenT": text, "rb-timeout": timeout, "rb-deadline": 1})) is None
    assert parse_traced_table(table[:21] + b"\xff" * size + table[21 + size :]) is None


@given(_table_headers, st.binary(max_size=60))
def test_other_headers_are_left_to_the_general_parser(headers: dict[str, Any], garbage: bytes) -> None:
    assert parse_signed_table(garbage) is None
    found = parse_signed_table(encode_table(headers))
    if found is not None:
        assert headers == {"rb-signature": found[0], "rb-timeout": found[1], "rb-deadline": found[2]}


_reply_headers = st.sampled_from(
    [None, {}, {"rb-idempotent": True}, {"rb-index": 3, "rb-address": "rpc.feed.x", "rb-items": 4}, {"x": "y" * 3000}]
)


@given(_names, _bodies, _types, _encodings, _reply_headers)
def test_the_fast_path_encodes_a_reply_like_the_general_encoder(
    name: bytes, body: bytes, kind: str, encoding: str | None, headers: dict[str, Any] | None
) -> None:
    written = encode_simple_reply(1, _METHOD, name, Reply(body, kind or None, encoding, headers), MAX_PAYLOAD)
    table = encode_table(headers) if headers else b""
    usual = 0 < len(name) < 256 and len(body) <= MAX_PAYLOAD and kind and not encoding and len(table) < 3000
    assert bool(written) == bool(usual)
    if written:
        flags, properties = encode_properties(Properties(kind, None, table, name))
        assert written == frames.content(1, _METHOD, flags, properties, body, MAX_PAYLOAD)


def test_requests_of_ever_new_timeouts_are_not_kept_for_ever() -> None:
    template = RequestTemplate(1, _REPLY_TO, MAX_PAYLOAD)
    for number in range(1000):
        request = Request("async_add", b"1", b"x", "a/b", None, 1 + number / 7, None, False)
        assert b"rb-deadline" in template.encode(_METHOD, request, 1.7e9)
    assert len(template._timeouts) <= 256


def test_a_traced_request_announces_bundles_in_the_same_step() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    request = Request("key", b"1", b"body", "text/plain", None, 60.0, {"traceparent": trace})
    template = RequestTemplate(1, b"reply", 4096)
    tables = [encode_table({"traceparent": trace, "rb-timeout": 60_000, "rb-deadline": 1_060_000})]
    tables.append(announcing(tables[0]))
    for bundles, table in enumerate(tables):
        assert table in template.encode(b"", request, 1000.0, bundles=bool(bundles))
