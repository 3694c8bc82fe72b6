"""A serializer that is at fault is named, where it is given or where it fails, and ends nothing but its own call."""

from __future__ import annotations

import gc
import json
from asyncio import CancelledError
from typing import Any

import pytest

from rabibridge_core._codec.codec import Codec
from rabibridge_core._codec.serializers import JsonSerializer
from rabibridge_core._protocol.payloads import encode_request
from rabibridge_core.errors import ConfigurationError, SerializationError


class Own:
    """JSON under a content type of its own; ``encoded`` and ``decoded`` replace what it returns, or are raised."""

    name = "own"
    content_type = "application/x-own"
    trusted_only = False

    def __init__(self, encoded: Any = None, decoded: BaseException | None = None) -> None:
        self.encoded = encoded
        self.decoded = decoded

    def dumps(self, value: object) -> Any:
        if isinstance(self.encoded, BaseException):
            raise self.encoded
        return json.dumps(value).encode() if self.encoded is None else self.encoded

    def loads(self, data: bytes | bytearray | memoryview) -> Any:
        if self.decoded is not None:
            raise self.decoded
        return json.loads(bytes(data))


@pytest.mark.parametrize("returned", ["[1]", 5, [1]])
def test_what_is_no_bytes_is_the_fault_of_a_serializer_that_is_named(returned: object) -> None:
    with pytest.raises(SerializationError, match=f"'own' returned {type(returned).__name__} from dumps"):
        Codec(serializer=Own(returned)).encode([1])


def test_none_is_no_bytes() -> None:
    class Forgetful(Own):
        def dumps(self, value: object) -> Any:
            return None

    with pytest.raises(SerializationError, match="returned NoneType from dumps"):
        Codec(serializer=Forgetful()).encode([1])


@pytest.mark.parametrize("buffer", [bytearray, memoryview])
def test_any_buffer_is_sent_as_bytes(buffer: Any) -> None:
    body, _, _ = Codec(serializer=Own(buffer(b"[1]"))).encode([1])
    assert body == b"[1]"
    assert type(body) is bytes


@pytest.mark.parametrize(
    "raised",
    [ValueError("x"), MemoryError("x"), SystemExit(3), CancelledError(), GeneratorExit()],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_serializer_raises_is_an_error_of_its_body(raised: BaseException) -> None:
    with pytest.raises(SerializationError, match="own cannot encode"):
        Codec(serializer=Own(raised)).encode([1])
    with pytest.raises(SerializationError, match="cannot be decoded as own"):
        Codec(serializer=Own(decoded=raised)).decode(b"[1]")


def test_an_interrupt_from_the_keyboard_is_no_error_of_a_body() -> None:
    with pytest.raises(KeyboardInterrupt):
        Codec(serializer=Own(KeyboardInterrupt())).encode([1])
    with pytest.raises(KeyboardInterrupt):
        Codec(serializer=Own(decoded=KeyboardInterrupt())).decode(b"[1]")


@pytest.mark.parametrize("serializer", ["msgpack", "json"])
def test_whatever_the_class_of_a_value_raises_is_an_error_of_that_value(serializer: str) -> None:
    class Odd(dict[str, int]):
        def items(self) -> Any:
            raise SystemExit

    with pytest.raises(SerializationError, match="cannot encode"):
        Codec(serializer=serializer).encode(Odd(a=1))


@pytest.mark.parametrize("value", [1j, [{"a": [object()]}], 2**80, "\udc80"], ids=["complex", "inside", "int", "text"])
@pytest.mark.parametrize("serializer", ["msgpack", "json"])
def test_a_value_that_cannot_be_encoded_leaves_nothing_for_the_collector(serializer: str, value: Any) -> None:
    codec = Codec(serializer=serializer)
    if codec.refusal(value) is None:
        pytest.skip("it can be encoded")
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(SerializationError, match="call of 'f': args"):
            encode_request(codec, (1, value), {}, b"1", "f")
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("accept", [5, b"json", object()])
def test_accept_is_checked_where_it_is_given(accept: Any) -> None:
    with pytest.raises(ConfigurationError, match="accept is"):
        Codec(accept=accept)


@pytest.mark.parametrize("wrong", [object(), JsonSerializer, None, 5])
def test_objects_that_are_no_serializers_are_refused_where_they_are_given(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="neither the name of a serializer nor a serializer"):
        Codec(accept=[wrong])
    if wrong is not None:
        with pytest.raises(ConfigurationError, match="neither the name of a serializer nor a serializer"):
            Codec(serializer=wrong)
