"""The methods of declarations, read by pamqp: what a broker reads is what was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec

from rabibridge._amqp import control_methods as methods
from rabibridge._amqp.frames import FrameError

if TYPE_CHECKING:
    from collections.abc import Sequence

_names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60).map(lambda text: f"q{text}"[:60])
_channels = st.integers(1, 65535)


def _read(data: bytes) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    while data:
        used, channel, frame = pamqp.frame.unmarshal(data)
        found.append((channel, frame))
        data = data[used:]
    return found


def _sent(channel: int, *sent: bytes) -> Sequence[dict[str, Any]]:
    """Return what the broker reads, without the values that pamqp takes for granted."""
    read = _read(methods.method_frames(channel, sent))
    assert {number for number, _ in read} == {channel}
    return [{"method": frame.name, **{key: value for key, value in frame if key != "ticket"}} for _, frame in read]


@given(_channels, _names, st.dictionaries(st.sampled_from(["x-a", "x-b"]), st.integers(0, 2**40) | st.text(max_size=9)))
def test_declarations(channel: int, name: str, arguments: dict[str, Any]) -> None:
    (declared,) = _sent(channel, methods.declare_queue(name, arguments))
    assert declared == {
        "method": "Queue.Declare", "queue": name, "passive": False, "durable": True, "exclusive": False,
        "auto_delete": False, "nowait": True, "arguments": arguments,
    }  # fmt: skip
    (deleted,) = _sent(channel, methods.delete_unused(name))
    assert deleted == {"method": "Queue.Delete", "queue": name, "if_unused": True, "if_empty": True, "nowait": False}


@given(_channels, _names, _names, _names, st.booleans())
def test_bindings(channel: int, queue: str, exchange: str, key: str, nowait: bool) -> None:
    bound, passed = _sent(
        channel, methods.bind_queue(queue, exchange, key, nowait=nowait), methods.bind_exchange(queue, exchange, key)
    )
    common = {"routing_key": key, "arguments": {}}
    assert bound == {"method": "Queue.Bind", "queue": queue, "exchange": exchange, "nowait": nowait} | common
    assert passed == {"method": "Exchange.Bind", "destination": queue, "source": exchange, "nowait": True} | common


@given(_channels, _names, st.integers(0, 65535), st.binary(min_size=1, max_size=9).map(lambda tag: tag.hex().encode()))
def test_consuming(channel: int, queue: str, prefetch: int, tag: bytes) -> None:
    opened, limited, consumed, cancelled, confirmed, closed = _sent(
        channel, methods.CHANNEL_OPEN, methods.qos(prefetch), methods.consume(queue, tag),
        methods.cancel(tag), methods.cancel_ok(tag), methods.channel_close(),
    )  # fmt: skip
    assert opened["method"] == "Channel.Open"
    assert limited == {"method": "Basic.Qos", "prefetch_size": 0, "prefetch_count": prefetch, "global_": False}
    assert consumed == {
        "method": "Basic.Consume", "queue": queue, "consumer_tag": tag.decode(), "no_local": False, "no_ack": False,
        "exclusive": False, "nowait": False, "arguments": {},
    }  # fmt: skip
    assert cancelled == {"method": "Basic.Cancel", "consumer_tag": tag.decode(), "nowait": False}
    assert confirmed == {"method": "Basic.CancelOk", "consumer_tag": tag.decode()}
    assert (closed["method"], closed["reply_code"]) == ("Channel.Close", 200)


@pytest.mark.parametrize(
    ("identifier", "answer"),
    [
        (methods.CHANNEL_OPEN_OK, spec.Channel.OpenOk()),
        (methods.CHANNEL_CLOSE_OK, spec.Channel.CloseOk()),
        (methods.BIND_OK, spec.Queue.BindOk()),
        (methods.DELETE_OK, spec.Queue.DeleteOk(0)),
        (methods.QOS_OK, spec.Basic.QosOk()),
        (methods.CONSUME_OK, spec.Basic.ConsumeOk("c")),
        (methods.CANCEL_OK, spec.Basic.CancelOk("c")),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_identifiers_of_answers(identifier: bytes, answer: Any) -> None:
    assert pamqp.frame.marshal(answer, 1)[7:11] == identifier


def test_a_name_that_is_too_long_is_refused_before_it_is_sent() -> None:
    with pytest.raises(FrameError, match="at most 255 bytes"):
        methods.bind_queue("q" * 256, "rpc", "key", nowait=False)
