"""Pickles: the codec reads none but those that it was told to trust, and signs its own."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from rabibridge_core._codec.codec import Codec
from rabibridge_core._codec.compression import MAGIC, compress
from rabibridge_core.errors import ConfigurationError, ContentRejectedError
from tests.unit.codec_support import KEY, PICKLE, REJECTED, SIGNED_PICKLE


class Canary:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("squeeze", [bytes, compress])
@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        (PICKLE, None),
        (PICKLE.upper(), None),
        (SIGNED_PICKLE, None),
        ("application/x-python-cloudpickle", None),
        ("application/msgpack", None),
        ("application/msgpack", "zstd"),
        ("application/json", None),
        ("application/x-python-serialize", None),
        (None, None),
        ("", "identity"),
    ],
)
def test_a_pickle_is_never_unpickled_by_who_did_not_ask_for_it(
    tmp_path: Path, squeeze: Any, content_type: str | None, encoding: str | None
) -> None:
    canary = tmp_path / "sang"
    body = squeeze(pickle.dumps(Canary(canary)))
    for codec in (Codec(), Codec(serializer="json"), Codec(signing_key=KEY), Codec(trust_broker=True)):
        with pytest.raises(REJECTED):
            codec.decode(body, content_type, encoding)
    assert not canary.exists()


def test_the_canary_sings_when_it_is_unpickled(tmp_path: Path) -> None:
    canary = tmp_path / "sang"
    Codec(serializer="pickle", trust_broker=True).decode(pickle.dumps(Canary(canary)))
    assert canary.exists()


def test_only_signed_pickles_are_unpickled_where_there_is_a_key(tmp_path: Path) -> None:
    canary = tmp_path / "sang"
    codec = Codec(serializer="pickle", accept=["cloudpickle"], signing_key=KEY)
    good, _, _ = codec.encode(Canary(canary), b"call 7")
    raw = pickle.dumps(Canary(canary))
    forged = [
        (raw, PICKLE, b"call 7"),
        (raw, None, b"call 7"),
        (raw, SIGNED_PICKLE, b"call 7"),
        (good, PICKLE, b"call 7"),
        (good, None, b"call 7"),
        (good, "application/x-python-cloudpickle; signed=hmac-sha256", b"call 7"),
        (good, f"{PICKLE}; signed=none", b"call 7"),
        (good, f"{SIGNED_PICKLE}; signed=hmac-sha256", b"call 7"),
        (good, SIGNED_PICKLE, b"call 8"),
        (good, SIGNED_PICKLE, b""),
        (
            Codec(serializer="pickle", signing_key=KEY[::-1]).encode(Canary(canary), b"call 7")[0],
            SIGNED_PICKLE,
            b"call 7",
        ),
        (b"\x02" + good[1:], SIGNED_PICKLE, b"call 7"),
        (good[:32], SIGNED_PICKLE, b"call 7"),
        (good + b"x", SIGNED_PICKLE, b"call 7"),
        (good[:1] + bytes(32) + good[33:], SIGNED_PICKLE, b"call 7"),
    ]
    for body, content_type, context in forged:
        with pytest.raises(ContentRejectedError):
            codec.decode(body, content_type, None, context)
    with pytest.raises(ContentRejectedError, match="compression inside"):
        codec.decode(good, SIGNED_PICKLE, "zstd", b"call 7")
    assert not canary.exists()
    codec.decode(good, SIGNED_PICKLE, None, b"call 7")
    assert canary.exists()


def test_a_signed_body_is_compressed_inside() -> None:
    codec = Codec(serializer="pickle", signing_key=KEY)
    body, content_type, encoding = codec.encode("a" * 5000, b"c")
    assert (content_type, encoding) == (SIGNED_PICKLE, None)
    assert body[33:37] == MAGIC
    assert len(body) < 100
    assert codec.decode(memoryview(body), content_type.upper(), "identity", b"c") == "a" * 5000


def test_pickle_without_key_or_trust_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match=r"signing_key.*trust_broker=True"):
        Codec(serializer="pickle")
    with pytest.raises(ConfigurationError, match=r"signing_key.*trust_broker=True"):
        Codec(accept=["cloudpickle"])


def test_a_trusted_broker_lets_unsigned_pickles_of_0_1_2_pass() -> None:
    codec = Codec(serializer="pickle", trust_broker=True)
    assert codec.decode(pickle.dumps([(1,), {}])) == [(1,), {}]
    assert codec.decode(compress(pickle.dumps([(1,), {}]))) == [(1,), {}]
    assert codec.encode([0, 1])[1:] == (PICKLE, None)


def test_a_key_can_be_introduced_worker_by_worker() -> None:
    before = Codec(serializer="pickle", trust_broker=True)
    between = Codec(serializer="pickle", trust_broker=True, signing_key=KEY)
    after = Codec(serializer="pickle", signing_key=KEY)
    for sender, reader in [(before, between), (between, before), (between, after), (after, between)]:
        assert reader.decode(*sender.encode([1, 2], b"c"), b"c") == [1, 2]
    with pytest.raises(ContentRejectedError, match="signature"):
        between.decode(*after.encode([1, 2], b"c"), b"another call")
