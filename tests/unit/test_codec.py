from __future__ import annotations

import contextlib
import os
import pickle
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rabibridge_core._codec.codec import Codec
from rabibridge_core._codec.compression import MAGIC, compress
from rabibridge_core._codec.serializers import SerializerRegistry
from rabibridge_core._codec.signing import Signer
from rabibridge_core.errors import ConfigurationError, ContentRejectedError, SerializationError
from rabibridge_core.settings import Secret, Settings
from tests.unit.codec_support import KEY, PICKLE, REJECTED, SIGNED_PICKLE

MIB = 1024 * 1024

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    max_leaves=10,
)
codecs = st.sampled_from(
    [
        Codec(),
        Codec(serializer="json", compress_threshold=0),
        Codec(serializer="pickle", signing_key=KEY, compress_threshold=50),
        Codec(serializer="cloudpickle", trust_broker=True),
    ]
)


class Verbatim:
    """A plug-in's serializer, whose bodies are the bytes it is given."""

    name = "verbatim"
    content_type = "application/octet-stream"

    def __init__(self, *, trusted_only: bool = False, error: Exception | None = None) -> None:
        self.trusted_only = trusted_only
        self.error = error

    def dumps(self, value: object) -> bytes:
        if self.error is not None:
            raise self.error
        assert isinstance(value, bytes)
        return value

    def loads(self, data: bytes | bytearray | memoryview) -> Any:
        if self.error is not None:
            raise self.error
        return bytes(data)


@given(codecs, values, st.binary(max_size=20))
def test_what_is_encoded_is_decoded(codec: Codec, value: object, context: bytes) -> None:
    body, content_type, content_encoding = codec.encode([value, {}], context)
    assert codec.decode(body, content_type, content_encoding, context) == [value, {}]


def test_a_small_body_is_plain_msgpack_as_0_1_2_expects_it() -> None:
    body, content_type, encoding = Codec().encode([(1, 2), {}])
    assert (content_type, encoding) == ("application/msgpack", None)
    assert body == msgpack.packb([[1, 2], {}])
    assert Codec().decode(body) == [[1, 2], {}]


def test_a_large_body_is_one_zstd_frame_as_0_1_2_expects_it() -> None:
    body, content_type, encoding = Codec().encode([["a" * 5000], {}])
    assert (content_type, encoding) == ("application/msgpack", "zstd")
    assert len(body) < 100
    assert msgpack.unpackb(zstandard.ZstdDecompressor().decompress(body)) == [["a" * 5000], {}]
    assert Codec().decode(body) == [["a" * 5000], {}]


def test_compression_begins_above_the_threshold_and_only_where_it_helps() -> None:
    codec = Codec(compress_threshold=100)
    assert len(codec.encode("a" * 98)[0]) == 100
    assert codec.encode("a" * 98)[2] is None
    assert codec.encode("a" * 99)[2] == "zstd"
    assert codec.encode(os.urandom(99))[2] is None
    assert Codec(compress_threshold=None).encode("a" * 100_000)[2] is None


@pytest.mark.parametrize("noise", [0.0, 0.5, 0.9, 1.0])
def test_a_large_body_is_compressed_unless_its_samples_are_noise(noise: float) -> None:
    body = os.urandom(int(noise * MIB)) + bytes(MIB - int(noise * MIB))
    encoded, _, encoding = Codec().encode(body)
    assert encoding == (None if noise == 1.0 else "zstd")
    assert Codec().decode(encoded, "application/msgpack", encoding) == body


def test_a_body_that_fits_only_if_compressed_is_compressed_whatever_its_samples_say() -> None:
    body = os.urandom(300 * 1024) * 2
    assert Codec(max_body=400 * 1024).encode(body)[2] == "zstd"


@pytest.mark.parametrize("name", ["msgpack", "json"])
def test_a_reply_comes_in_the_format_of_its_request(name: str) -> None:
    server, client = Codec(), Codec(serializer=name)
    content_type = client.encode([[], {}])[1]
    assert server.encode([0, None], content_type=content_type)[1] == content_type
    assert server.encode([0, None], content_type=content_type.upper() + "; charset=utf-8")[1] == content_type


def test_a_reply_to_a_format_that_is_not_accepted_comes_in_the_own_one() -> None:
    assert Codec(serializer="json").encode([0, None], content_type=PICKLE)[1] == "application/json"
    signing = Codec(serializer="pickle", signing_key=KEY)
    assert signing.encode([0, None], content_type=SIGNED_PICKLE)[1] == SIGNED_PICKLE
    assert signing.encode([0, None], content_type="application/json")[1] == "application/json"


@pytest.mark.parametrize("encoding", [None, "", "identity", "utf-8", "UTF-8"])
def test_a_json_body_of_another_library_is_read(encoding: str | None) -> None:
    assert Codec().decode(b"[[1], {}]", "application/json; charset=utf-8", encoding) == [[1], {}]
    assert Codec().decode(b"[[1], {}]", "application/json", encoding) == [[1], {}]


def test_an_unknown_content_encoding_is_refused() -> None:
    for encoding in ("gzip", "zstd, gzip", "x" * 1000):
        with pytest.raises(ContentRejectedError, match="content encoding"):
            Codec().decode(b"\x90", "application/msgpack", encoding)


def test_a_body_that_says_zstd_and_is_not_is_an_error() -> None:
    with pytest.raises(SerializationError):
        Codec().decode(b"\x90", "application/msgpack", "zstd")


def test_accepts() -> None:
    assert Codec().accepts(None)
    assert Codec().accepts("application/JSON")
    assert not Codec().accepts(PICKLE)
    assert Codec(accept=["pickle"], trust_broker=True).accepts(PICKLE)


def test_too_large_to_send() -> None:
    with pytest.raises(ContentRejectedError, match=r"takes 205 bytes on the wire, more than max_body=200"):
        Codec(max_body=200).encode(os.urandom(203))
    with pytest.raises(ContentRejectedError, match=r"takes \d+ bytes as msgpack, more than max_decompressed=5000"):
        Codec(max_decompressed=5000).encode("a" * 5000)
    assert Codec(max_body=200).encode("a" * 5000)[2] == "zstd"


def test_the_signature_counts_as_part_of_the_body() -> None:
    codec = Codec(serializer="pickle", signing_key=KEY, max_body=300)
    size = len(codec.encode(b"", b"")[0])
    assert len(codec.encode(os.urandom(300 - size))[0]) == 300
    with pytest.raises(ContentRejectedError, match="max_body=300"):
        codec.encode(os.urandom(301 - size))


def test_too_large_to_read() -> None:
    with pytest.raises(ContentRejectedError, match=r"has 201 bytes, more than max_body=200"):
        Codec(max_body=200).decode(bytes(201), "application/x-unknown")


def test_a_bomb_is_refused() -> None:
    bomb = compress(bytes(MIB))
    for encoding in (None, "zstd"):
        with pytest.raises(ContentRejectedError, match="max_decompressed"):
            Codec(max_decompressed=MIB - 1).decode(bomb, "application/msgpack", encoding)


@pytest.mark.parametrize("trusted_only", [True, False])
@pytest.mark.parametrize("size", [4, 10, 5000])
def test_a_body_that_looks_like_zstd_is_not_taken_for_it(trusted_only: bool, size: int) -> None:
    disguised = MAGIC + os.urandom(size - 4)
    for codec in (
        Codec(serializer=Verbatim(trusted_only=trusted_only), trust_broker=True),
        Codec(serializer=Verbatim(trusted_only=trusted_only), signing_key=KEY, compress_threshold=None),
    ):
        assert codec.decode(*codec.encode(disguised)) == disguised
    reader = Codec(serializer=Verbatim(trusted_only=trusted_only), trust_broker=True)
    assert reader.decode(disguised, None, "identity") == disguised


@given(values)
def test_no_built_in_format_looks_like_zstd(value: object) -> None:
    for name in ("msgpack", "json", "pickle", "cloudpickle"):
        assert Codec(serializer=name, trust_broker=True, compress_threshold=None).encode(value)[0][:4] != MAGIC


def test_whatever_a_plugin_raises_is_one_error() -> None:
    codec = Codec(serializer=Verbatim(error=KeyError("secret")))
    with pytest.raises(SerializationError, match=r"verbatim cannot encode a value of type int: KeyError$"):
        codec.encode(1)
    with pytest.raises(SerializationError, match=r"cannot be decoded as verbatim: KeyError$"):
        codec.decode(b"secret")


def test_names_are_looked_up_where_one_says() -> None:
    known = SerializerRegistry()
    known.add(Verbatim())
    assert Codec(serializer="verbatim", known=known).encode(b"x") == (b"x", "application/octet-stream", None)
    with pytest.raises(ConfigurationError, match="unknown serializer"):
        Codec(serializer="verbatim")


@pytest.mark.parametrize(
    "arguments",
    [
        {"serializer": "yaml"},
        {"accept": ["yaml"]},
        {"max_body": 0},
        {"max_decompressed": -1},
        {"compress_threshold": -1},
        {"signing_key": b"short"},
        {"signing_key": "k" * 32},
    ],
)
def test_settings_that_make_no_sense(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Codec(**arguments)


def test_the_key_shows_nowhere() -> None:
    codec = Codec(serializer="pickle", signing_key=b"a secret that nobody may see ...")
    assert "secret" not in f"{codec!r} {Signer(b'a secret that nobody may see ...')!r}"
    assert repr(codec) == "<Codec pickle, reads pickle, msgpack, json, max_body=8388608, signed>"


def test_a_codec_is_made_as_the_settings_say() -> None:
    configured = Settings(
        serializer="pickle",
        compress_threshold=0,
        max_body=2000,
        max_decompressed=3000,
        signing_key=Secret("k" * 32),
    )
    codec = Codec.from_settings(configured)
    assert repr(codec) == "<Codec pickle, reads pickle, msgpack, json, max_body=2000, signed>"
    assert codec.max_decompressed == 3000
    body, content_type, _ = codec.encode(["a" * 500], b"c")
    assert len(body) < 200
    assert content_type == SIGNED_PICKLE
    assert Codec(serializer="pickle", signing_key=b"k" * 32).decode(body, content_type, None, b"c") == ["a" * 500]
    unsigned = pickle.dumps(1)
    with pytest.raises(ContentRejectedError, match="without a signature"):
        codec.decode(unsigned, PICKLE)
    assert Codec.from_settings(configured, trust_broker=True).decode(unsigned, PICKLE) == 1


def test_arguments_go_before_the_serializers_of_the_settings() -> None:
    codec = Codec.from_settings(Settings(trust_broker=True), serializer="json", accept=["pickle"])
    assert repr(codec) == "<Codec json, reads json, pickle, max_body=8388608, unsigned>"


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_bytes_raise_anything_else(data: st.DataObject) -> None:
    codec = data.draw(st.sampled_from([Codec(), Codec(serializer="json"), Codec(serializer="pickle", signing_key=KEY)]))
    value = data.draw(st.sampled_from([[[1, 2], {}], [["a" * 2000], {"b": 1.5}]]))
    body, content_type, encoding = codec.encode(value, b"c")
    mutated = bytearray(data.draw(st.just(body) | st.binary(max_size=100)))
    for _ in range(data.draw(st.integers(0, 4))):
        if mutated:
            mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    del mutated[data.draw(st.integers(0, len(mutated))) :]
    some_type = data.draw(
        st.sampled_from([content_type, None, "application/json", SIGNED_PICKLE]) | st.text(max_size=30)
    )
    some_encoding = data.draw(st.sampled_from([encoding, None, "zstd", "utf-8"]) | st.text(max_size=10))
    with contextlib.suppress(*REJECTED):
        codec.decode(bytes(mutated), some_type, some_encoding, b"c")
