"""The bytes that are signed, against what an earlier version has signed and against hmac of the standard library."""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabibridge_core._security.keys import HmacKey
from rabibridge_core._security.signature import (
    ENCRYPTED,
    ENCRYPTED_TYPE,
    SIGNATURE,
    Content,
    format_signer,
    signed_start,
)
from tests.unit.signing_support import AES, ED_CLIENT, HMAC, guard_of

if TYPE_CHECKING:
    from rabibridge_core._security.guard import Guard

HEADERS: dict[str, Any] = {"rb-key": "k", "n": -1, "on": True, "part": 1.5, "raw": b"\0"}
CONTENT = Content(b"body", "application/json", "zstd", HEADERS)
SIGNED = "0123456789abcdef 1 1800000000125 1800000005125 async_gr\u00f6\u00dfe"
BY_HMAC = f"1 hmac {SIGNED} KOmVq6XVMVgYjnjl5XSYqBp46BLay5o6807cTthFOOY"
BY_ED25519 = (
    f"1 gateway {SIGNED} 67sPqIX0y931zrldJY8F0NMYcGuks4O641-7hXl091HRT7-FSQn4VTkV4L-rouosX83nDfhjCZUlM_eO6_O3Aw"
)
OF_ENCRYPTED = f"1 hmac {SIGNED} yD6TXJjFf1QzIWHtTR3lr5Eu6aaHMq8LRToTjDkxSsY"
ENCRYPTED_BODY = base64.b64decode(
    "AS+3vyJavLP4TUm9IdMi8VJi8u2JALc/Cl3vLQEGlIHlZUxWufmGOQ4qrelLYZ/bWtG3UC6vfcKFytcK7RE7gTpc+3F3ngNO9VA3"
    "EIRRuHhX9aZdlMi7WwLwIi9UKNP+qHXJvXOiiSl/nk2825d7ox2fZbNFbV3nhttjwzTnjxTCm4zMH9+ONDKX5PbWZfsqRuwc5XAk"
    "T5Ln0dWnqDb6stoBynBt2ISO9AdnIueVNa36UB507tm9iG0jXkmskvTOeucKV9ZmWkUZweQVcLwlsq8drWjswcpNNiBzqXMuNpbq"
    "Q8Rk"
)
PLACE: dict[str, Any] = {"reply_address": b"amq.gen-1", "persistent": True}


def guard(kind: str) -> Guard:
    if kind == "ed25519":
        return guard_of(ED_CLIENT, "gateway", namespace="billing", wall=lambda: 1_800_000_000.125)
    return guard_of(f"{HMAC}\n{AES}", namespace="billing", wall=lambda: 1_800_000_000.125)


@pytest.mark.parametrize(
    ("kind", "sealed"),
    [
        ("hmac", CONTENT._replace(headers={**HEADERS, SIGNATURE: BY_HMAC, "rb-timeout": 5})),
        ("ed25519", CONTENT._replace(headers={**HEADERS, SIGNATURE: BY_ED25519})),
        (
            "aes",
            Content(ENCRYPTED_BODY, ENCRYPTED_TYPE, None, {"rb-key": "k", ENCRYPTED: "aes", SIGNATURE: OF_ENCRYPTED}),
        ),
    ],
)
def test_what_the_version_before_has_sealed_is_opened(kind: str, sealed: Content) -> None:
    opened = guard(kind).open("request", b"call-7", sealed, targets=("async_gr\u00f6\u00dfe",), **PLACE)
    assert opened.content == CONTENT
    assert (opened.sent, opened.deadline) == (1_800_000_000_125, 1_800_000_005_125)
    guard(kind).admit(opened)


@pytest.mark.parametrize(("kind", "header"), [("hmac", BY_HMAC), ("ed25519", BY_ED25519)])
def test_the_same_message_gets_the_signature_that_the_version_before_gave_it(kind: str, header: str) -> None:
    signer = guard(kind)
    sender = SIGNED.partition(" ")[0]
    signer._signer = format_signer(signer.rules.signing_id, sender)
    signer._starts["request"] = signed_start("request", "billing", signer.rules.signing_id, sender)
    sealed = signer.seal("request", b"call-7", CONTENT, target="async_gr\u00f6\u00dfe", timeout=5.0, **PLACE)
    assert sealed == CONTENT._replace(headers={**HEADERS, SIGNATURE: header})


@given(st.binary(min_size=16, max_size=200), st.binary(max_size=300), st.binary(max_size=5000))
def test_the_keyed_hash_is_hmac_sha256(secret: bytes, bound: bytes, body: bytes) -> None:
    field = b"+" + len(body).to_bytes(8, "big") + body
    expected = hmac.digest(secret, bound + field, "sha256")
    key = HmacKey(secret)
    assert key.sign(bound, body) == expected
    assert key.verify(expected, bound, body)
    assert not key.verify(expected, bound, body + b"x")
