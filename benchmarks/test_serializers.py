from __future__ import annotations

from typing import Any

import pytest

from rabibridge_core._codec.codec import Codec

_SMALL = [("fibonacci", 10), {"exact": True}]
_LARGE = [[{"id": number, "name": f"item {number}", "price": number / 7} for number in range(1000)], {}]
_VALUES = {"small": _SMALL, "large": _LARGE}
_SERIALIZERS = ["msgpack", "json", "pickle", "cloudpickle"]


def _codec(serializer: str, compress_threshold: int | None = None) -> Codec:
    return Codec(serializer=serializer, compress_threshold=compress_threshold, signing_key=b"0123456789abcdef" * 2)


@pytest.fixture(params=_VALUES)
def value(request: pytest.FixtureRequest, benchmark: Any) -> Any:
    benchmark.group = f"codec, {request.param} value"
    return _VALUES[request.param]


@pytest.mark.parametrize("serializer", _SERIALIZERS)
def test_encode(benchmark: Any, serializer: str, value: Any) -> None:
    body, _, _ = benchmark(_codec(serializer).encode, value, b"1")
    assert body


@pytest.mark.parametrize("serializer", _SERIALIZERS)
def test_decode(benchmark: Any, serializer: str, value: Any) -> None:
    codec = _codec(serializer)
    body, content_type, content_encoding = codec.encode(value, b"1")
    _, kwargs = benchmark(codec.decode, body, content_type, content_encoding, b"1")
    assert kwargs == value[1]


@pytest.mark.benchmark(group="codec, large value, zstd")
def test_encode_compressed(benchmark: Any) -> None:
    _, _, content_encoding = benchmark(_codec("msgpack", 1024).encode, _LARGE)
    assert content_encoding == "zstd"


@pytest.mark.benchmark(group="codec, large value, zstd")
def test_decode_compressed(benchmark: Any) -> None:
    codec = _codec("msgpack", 1024)
    body, content_type, content_encoding = codec.encode(_LARGE)
    assert benchmark(codec.decode, body, content_type, content_encoding) == _LARGE
