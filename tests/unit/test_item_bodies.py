"""The bodies of streams with large items: when compression is tried, and what may be read unchecked."""

from __future__ import annotations

import random

import pytest

from rabibridge_core._codec.codec import Codec
from rabibridge_core._codec.decoding_cost import has_many_claims, is_few_strings
from rabibridge_core.errors import ContentRejectedError, SerializationError

RANDOM = random.Random(7)
DENSE, SPARSE = RANDOM.randbytes(20_000), bytes(20_000)


def test_what_cannot_be_compressed_is_tried_less_and_less_and_what_can_is_found_again() -> None:
    codec = Codec()
    items = codec.items()
    dense, sparse = items.encode(DENSE), items.encode(SPARSE)
    for _ in range(3):
        assert items.join([dense])[2] is None
    # It is tried again after two and four messages more, and then all of them are compressed.
    encodings = [items.join([sparse])[2] for _ in range(20)]
    assert encodings[-1] == "zstd"
    assert encodings == sorted(encodings, key=lambda encoding: encoding is not None)
    assert encodings.index("zstd") < 8
    for item in (dense, sparse):
        body, content_type, encoding = items.join([item])
        (value,) = codec.decode(body, content_type, encoding)
        assert value in (DENSE, SPARSE)


def test_a_body_over_the_limit_is_compressed_all_the_same() -> None:
    codec = Codec(max_body=64_000)
    items = codec.items()
    dense = items.encode(DENSE)
    for _ in range(8):
        items.join([dense])
    body, content_type, encoding = items.join([items.encode(bytes(100_000))])
    assert encoding == "zstd"
    assert codec.decode(body, content_type, encoding) == [bytes(100_000)]
    with pytest.raises(ContentRejectedError, match="max_body"):
        items.join([items.encode(RANDOM.randbytes(100_000))])


@pytest.mark.parametrize("value", [b"\xdc" * 5000, "\u00dc" * 5000, b"\xdd" * 70_000])
def test_one_long_string_claims_nothing(value: bytes | str) -> None:
    codec = Codec(compress_threshold=None)
    body = codec.encode([value])[0]
    assert is_few_strings(body)
    assert codec.decode(body, "application/msgpack") == [value]


def test_a_few_long_strings_claim_nothing() -> None:
    codec = Codec(compress_threshold=None)
    values = [b"\xdc" * 5000, "\u00dc" * 5000, b"\xdd" * 70_000]
    body = codec.encode(values)[0]
    assert is_few_strings(body)
    assert codec.decode(body, "application/msgpack") == values
    assert not is_few_strings(body[:-1])
    assert not is_few_strings(codec.encode([*values, 1])[0])
    assert not is_few_strings(codec.encode([values] * 2)[0])
    assert not is_few_strings(codec.encode([])[0])


def test_a_string_with_more_behind_it_is_not_one_string() -> None:
    claims = b"\xdd\x7f\xff\xff\xff" * 2000
    inside = b"\x91\xc5" + (100).to_bytes(2, "big") + claims
    assert not is_few_strings(inside)
    assert has_many_claims(inside)
    with pytest.raises(SerializationError):
        Codec().decode(b"\x92\xc5" + (100).to_bytes(2, "big") + bytes(100) + claims, "application/msgpack")
    assert not is_few_strings(b"\x91")
    assert not is_few_strings(b"\x91\xc7\x01\x01x")
