"""The bodies of streams with large items: when compression is tried, and what may be read unchecked."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from msgpack import ExtType  # type: ignore[import-untyped]

from rabibridge_core._codec.codec import Codec
from rabibridge_core._codec.decoding_cost import has_many_claims, is_few_tokens
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
    for body in (codec.encode([value])[0], codec.encode([[value, 7, None], {"a": value}])[0]):
        assert not has_many_claims(body)
    assert codec.decode(body, "application/msgpack") == [[value, 7, None], {"a": value}]


def test_a_few_long_strings_claim_nothing() -> None:
    codec = Codec(compress_threshold=None)
    values = [b"\xdc" * 5000, "\u00dc" * 5000, b"\xdd" * 70_000]
    body = codec.encode(values)[0]
    assert is_few_tokens(body)
    assert codec.decode(body, "application/msgpack") == values
    assert not is_few_tokens(body[:-1])
    assert is_few_tokens(codec.encode([values] * 2)[0])
    assert not is_few_tokens(codec.encode([values] * 6)[0])
    assert has_many_claims(codec.encode([values] * 6)[0])


@pytest.mark.parametrize(
    "value",
    [
        None, True, 1, -1, 200, -200, 70_000, -70_000, 2**40, -(2**40), 1.5, "", "a", "a" * 40, "a" * 300, "a" * 70_000,
        b"", b"a" * 300, b"a" * 70_000, [], [1] * 5, [1] * 20, {}, {"a": 1}, {str(n): n for n in range(17)}, {1, 2},
        date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), Decimal("1.5"), 2**70, complex(1, 2), UUID(int=1),
        *(ExtType(1, bytes(size)) for size in (1, 2, 4, 8, 16, 17, 300, 70_000)),
    ],
)  # fmt: skip
def test_each_token_is_measured_by_its_size(value: Any) -> None:
    codec = Codec(compress_threshold=None)
    body = codec.encode([value])[0]
    assert is_few_tokens(body) == (not isinstance(value, dict | list) or len(value) < 17)
    assert is_few_tokens(body + b"\x01") == is_few_tokens(body)
    assert not is_few_tokens(body + b"\x01" * 20)
    if len(body) > 40:
        assert not is_few_tokens(body[:-1])


def test_a_string_with_more_behind_it_is_not_one_string() -> None:
    claims = b"\xdd\x7f\xff\xff\xff" * 2000
    inside = b"\x91\xc5" + (100).to_bytes(2, "big") + claims
    assert not is_few_tokens(inside)
    assert has_many_claims(inside)
    with pytest.raises(SerializationError):
        Codec().decode(b"\x92\xc5" + (100).to_bytes(2, "big") + bytes(100) + claims, "application/msgpack")
    assert not is_few_tokens(b"\x91\xc7\x02\x01x")
