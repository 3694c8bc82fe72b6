"""How deep values may be nested: what a sender accepts, a receiver accepts, and what is deeper is refused by both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]
import pytest

from rabibridge import SerializationError
from rabibridge_core._codec.codec import Codec
from rabibridge_core._codec.msgpack_serializer import AnyKeysMsgpackSerializer, MsgpackSerializer

if TYPE_CHECKING:
    from collections.abc import Callable


def nested(depth: int, innermost: Any, wrap: Callable[[Any], Any]) -> Any:
    for _ in range(depth):
        innermost = wrap(innermost)
    return innermost


def _deepest() -> int:
    """Return how deep the msgpack that is installed encodes: 1,024 levels, or 511 as up to 1.1.0."""
    try:
        msgpack.packb(nested(1023, [], lambda value: [value]))
    except ValueError:
        return 511
    return 1024


MOST = _deepest()


@pytest.mark.parametrize("innermost", [7, [], {}, [1] * 5000, '[{\\"', ["a"] * 600], ids=str)
@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"key": value}], ids=["list", "dict"])
@pytest.mark.parametrize(("serializer", "most"), [("msgpack", MOST), ("json", 512)])
def test_what_may_be_sent_may_be_received_however_deep_it_is(
    serializer: str, most: int, wrap: Callable[[Any], Any], innermost: Any
) -> None:
    codec = Codec(serializer=serializer)
    containers = most - isinstance(innermost, list | dict)
    body, content_type, *_ = codec.encode(nested(containers, innermost, wrap))
    received = codec.decode(body, content_type)
    while containers:
        received = received[0] if isinstance(received, list) else received["key"]
        containers -= 1
    assert received == innermost
    with pytest.raises(SerializationError, match=f"{serializer} cannot encode .* nested more than {most:,} levels"):
        codec.encode(nested(most + 1, innermost, wrap))


def test_the_deepest_body_that_msgpack_can_make() -> None:
    empty: tuple[Any, ...] = ([], {})
    for innermost in empty:
        for serializer in (MsgpackSerializer(), AnyKeysMsgpackSerializer()):
            body = serializer.dumps(nested(MOST, innermost, lambda value: [value]))
            assert serializer.loads(body)
            assert serializer.loads_in_steps(body)
            with pytest.raises(SerializationError):
                serializer.loads(b"\x91" * (1025 - MOST) + body)
            with pytest.raises(SerializationError):
                serializer.loads(body + b"\x90")


def test_a_value_that_contains_itself() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(SerializationError, match="or contains itself"):
        Codec().encode(value)


def test_what_is_deeper_is_refused_when_it_is_received() -> None:
    def array(depth: int, first: bytes, last: bytes) -> bytes:
        return first * depth + last

    assert Codec().decode(array(1024, b"\x91", b"\x90"), "application/msgpack")
    with pytest.raises(SerializationError):
        Codec().decode(array(1025, b"\x91", b"\x90"), "application/msgpack")
    assert Codec().decode(array(500, b"[", b"]" * 500), "application/json")
    with pytest.raises(SerializationError):
        Codec().decode(array(100_000, b"[", b"]" * 100_000), "application/json")
