"""Signatures of bodies, and the content types that announce them."""

from __future__ import annotations

import pytest

from rabibridge_core._codec.signing import Signer, is_signed
from rabibridge_core.errors import ContentRejectedError
from tests.unit.codec_support import KEY, PICKLE, SIGNED_PICKLE


def test_a_signature_depends_on_every_part_and_on_where_parts_end() -> None:
    signer = Signer(KEY)
    signature = signer.sign(b"ab", b"c")
    assert len(signature) == 32
    assert signer.verify(signature, b"ab", memoryview(b"c"))
    for parts in [(b"a", b"bc"), (b"abc",), (b"ab", b"c", b""), (b"c", b"ab"), (b"ab", b"d")]:
        assert not signer.verify(signature, *parts)
    assert not signer.verify(signature[:-1], b"ab", b"c")


@pytest.mark.parametrize(
    ("content_type", "signed"),
    [
        (None, False),
        ("", False),
        (PICKLE, False),
        (f"{PICKLE}; charset=signed", False),
        ("application/signed; charset=utf-8", False),
        (SIGNED_PICKLE, True),
        (f"{PICKLE};charset=utf-8;SIGNED=HMAC-SHA256", True),
    ],
)
def test_only_the_parameter_of_the_content_type_announces_a_signature(content_type: str | None, signed: bool) -> None:
    assert is_signed(content_type) is signed


@pytest.mark.parametrize("parameters", ["signed", "signed=none", "signed=hmac-sha256; signed=hmac-sha256"])
def test_an_unknown_signature_is_not_taken_for_none(parameters: str) -> None:
    with pytest.raises(ContentRejectedError, match="signed=hmac-sha256"):
        is_signed(f"{PICKLE}; {parameters}")
