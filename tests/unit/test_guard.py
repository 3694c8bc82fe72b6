"""One message at a time: what is signed, what is encrypted, and that each check refuses on its own."""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabibridge_core._security.cancels import open_cancel, sign_cancel
from rabibridge_core._security.fields import FieldsError, decode_headers, encode_headers, join, split
from rabibridge_core._security.signature import (
    ENCRYPTED,
    ENCRYPTED_TYPE,
    SIGNATURE,
    Content,
    bound_bytes,
    format_signature,
    format_signer,
    parse_signature,
    signed_start,
)
from rabibridge_core.errors import ConfigurationError, ContentRejectedError, KeyUnknownError, SignatureError
from tests.unit.signing_support import (
    AES,
    CHACHA,
    ED_CLIENT,
    ED_SERVER,
    GATEWAY,
    HMAC,
    OTHER,
    guard_of,
    line,
    public,
)

if TYPE_CHECKING:
    from rabibridge_core._security.guard import Guard

CONTENT = Content(b"body", "application/json", "zstd", {"rb-key": "k", "n": 1, "rb-stream": "8,1024"})
PLACE: dict[str, Any] = {"reply_address": b"amq.gen-1", "persistent": True}
FIELDS = st.lists(st.one_of(st.none(), st.binary(max_size=6)), max_size=6)
VALUES = st.one_of(
    st.text(max_size=5), st.binary(max_size=5), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats()
)
HEADERS = st.dictionaries(st.text(max_size=4), VALUES, max_size=4)


@given(FIELDS, FIELDS)
def test_no_two_lists_of_fields_are_joined_to_the_same_bytes(one: list[bytes | None], two: list[bytes | None]) -> None:
    assert (join(*one) == join(*two)) == (one == two)
    assert split(join(*one)) == one


@given(HEADERS)
def test_headers_come_back_with_their_types(headers: dict[str, Any]) -> None:
    back = decode_headers(encode_headers(headers))
    assert encode_headers(back) == encode_headers(headers)
    assert {name: type(value) for name, value in back.items()} == {name: type(v) for name, v in headers.items()}


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (split, decode_headers):
        try:
            read(data)
        except FieldsError:
            continue


@given(st.binary(min_size=1, max_size=12), st.data())
def test_bytes_that_move_from_one_field_to_the_next_break_the_signature(text: bytes, data: st.DataObject) -> None:
    guard = guard_of()
    first, second = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))
    sealed = guard.seal("request", text[:first], CONTENT._replace(body=text[first:]), reply_address=b"")
    moved = sealed._replace(body=text[second:])
    if first == second:
        assert guard.open("request", text[:second], moved, reply_address=b"").content.body == text[first:]
    else:
        with pytest.raises(SignatureError):
            guard.open("request", text[:second], moved, reply_address=b"")


@pytest.mark.parametrize("cipher", ["", "aes", "cha"])
@pytest.mark.parametrize("kind", ["hmac", "ed25519"])
def test_what_is_sealed_is_opened(kind: str, cipher: str) -> None:
    client, server = _sides(kind, encryption_id=cipher)
    sealed = client.seal("request", b"7", CONTENT, target="async_f", timeout=5.0, **PLACE)
    opened = server.open("request", b"7", sealed, targets=("x", "async_f"), **PLACE)
    assert opened.content == CONTENT
    assert opened.encrypted_with == cipher
    assert opened.deadline is not None
    assert opened.deadline - opened.sent == pytest.approx(5000, abs=10)
    if cipher:
        assert b"body" not in sealed.body
        assert sealed.headers is not None
        assert sealed.headers.keys() == {SIGNATURE, ENCRYPTED, "rb-key"}
    reply = server.seal("reply", b"7", CONTENT)
    assert client.open("reply", b"7", reply).content == CONTENT


def _sides(kind: str, **rules: Any) -> tuple[Guard, Guard]:
    shared = f"{AES}\n{CHACHA}"
    if kind == "hmac":
        return guard_of(f"{HMAC}\n{shared}", **rules), guard_of(f"{HMAC}\n{shared}", **rules)
    client = guard_of(f"{ED_CLIENT}\n{shared}", "gateway", **rules)
    return client, guard_of(f"{ED_SERVER}\n{shared}", "worker", **rules)


@pytest.mark.parametrize("cipher", ["", "aes"])
@pytest.mark.parametrize("kind", ["hmac", "ed25519"])
def test_each_field_of_another_valid_message_is_refused(kind: str, cipher: str) -> None:
    client, server = _sides(kind, encryption_id=cipher)
    other = Content(b"other", "application/x-msgpack", None, {"rb-key": "l", "n": 2})
    one = client.seal("request", b"7", CONTENT, target="async_f", timeout=5.0, **PLACE)
    two = client.seal("request", b"8", other, target="async_g", timeout=9.0, reply_address=b"amq.gen-2")
    assert one.headers is not None
    assert two.headers is not None
    place: dict[str, Any] = {"correlation_id": b"7", "targets": ("async_f", "async_g"), **PLACE}
    assert server.open("request", content=one, **place).content == CONTENT

    changed: dict[str, tuple[Content, dict[str, Any]]] = {
        "body": (one._replace(body=two.body), {}),
        "content type": (one._replace(content_type="text/plain"), {}),
        "no content type": (one._replace(content_type=None), {}),
        "content encoding": (one._replace(content_encoding="identity"), {}),
        "correlation id": (one, {"correlation_id": b"8"}),
        "reply address": (one, {"reply_address": b"amq.gen-2"}),
        "no reply address": (one, {"reply_address": b""}),
        "persistent": (one, {"persistent": False}),
        "a header": (one._replace(headers={**one.headers, "rb-key": "l"}), {}),
        "a header more": (one._replace(headers={**one.headers, "rb-resent": True}), {}),
        "a header less": (one._replace(headers={k: v for k, v in one.headers.items() if k != "rb-key"}), {}),
    }
    words, others = str(one.headers[SIGNATURE]).split(" "), str(two.headers[SIGNATURE]).split(" ")
    for place_of in range(1, len(words)):
        if words[place_of] == others[place_of]:
            others[place_of] = words[place_of] + "1"  # the key, the sender, and perhaps the time
        mixed = [*words[:place_of], others[place_of], *words[place_of + 1 :]]
        changed[f"word {place_of}"] = (one._replace(headers={**one.headers, SIGNATURE: " ".join(mixed)}), {})
    for what, (content, elsewhere) in changed.items():
        with pytest.raises(SignatureError):
            pytest.fail(f"{what}: {server.open('request', content=content, **{**place, **elsewhere})}")


@pytest.mark.parametrize("direction", ["broadcast", "feed", "reply", "copy", "cancel"])
def test_a_request_is_nothing_else(direction: Any) -> None:
    guard = guard_of()
    sealed = guard.seal("request", b"7", CONTENT)
    with pytest.raises(SignatureError, match="changed or moved"):
        guard.open(direction, b"7", sealed)


def test_the_target_alone_the_namespace_alone_and_the_key_alone() -> None:
    guard = guard_of()
    sealed = guard.seal("request", b"7", CONTENT, target="async_view")
    with pytest.raises(SignatureError, match="signed for 'async_view', not for this service"):
        guard.open("request", b"7", sealed, targets=("async_delete", "any:delete"))
    with pytest.raises(SignatureError, match="changed or moved"):
        guard_of(namespace="billing").open("request", b"7", sealed, targets=None)
    with pytest.raises(KeyUnknownError, match="'hmac' is not in the key ring") as caught:
        guard_of(OTHER, "other").open("request", b"7", sealed, targets=None)
    assert caught.value.key_id == "hmac"
    with pytest.raises(SignatureError, match="another one here"):
        guard_of(line("hmac", "hmac-sha256", b"z" * 32)).open("request", b"7", sealed, targets=None)


def test_the_message_does_not_choose_the_algorithm() -> None:
    _, server = _sides("ed25519")
    content = CONTENT._replace(headers={})
    claims = parse_signature((guard_of().seal("request", b"7", content).headers or {})[SIGNATURE])
    start = signed_start("request", "", "gateway", claims.sender)
    signed = bound_bytes(start, claims.words, b"7", None, False, content) + join(content.body)
    signer = format_signer("gateway", claims.sender)
    for forged in (
        hmac.digest(public(GATEWAY), signed, "sha256"),  # the public key, taken for a secret that is shared
        hmac.digest(base64.b64encode(public(GATEWAY)), signed, "sha256"),
        b"",
        b"\0" * 64,
    ):
        header = format_signature(signer, claims.words, forged)
        with pytest.raises(SignatureError, match="wrong"):
            server.open("request", b"7", content._replace(headers={SIGNATURE: header}))
    aes = format_signature(format_signer("aes", claims.sender), claims.words, b"")
    with pytest.raises(SignatureError, match="aes-256-gcm, not for signatures"):
        guard_of().open("request", b"7", content._replace(headers={SIGNATURE: aes}))


@pytest.mark.parametrize(
    "signature",
    [None, "", "1", 7, b"x", "2 hmac s 1 1 - - AAAA", "1  s 1 1 - - AAAA", "1 hmac s -1 1 - - AAAA",
     "1 hmac s 1 x - - A", "1 hmac s 1 1 - - \u00e9", "none",
     f"1 {'k' * 65} s 1 1 - - AAAA", f"1 hmac s {'9' * 19} 1 - - AAAA"],
)  # fmt: skip
def test_what_is_no_signature(signature: Any) -> None:
    with pytest.raises(SignatureError, match="no form that is known"):
        guard_of().open("request", b"7", Content(b"", None, None, {SIGNATURE: signature} if signature else None))


@pytest.mark.parametrize("value", [[1], None, {"a": 1}])
def test_a_header_of_a_type_that_nobody_signs_is_refused(value: Any) -> None:
    guard = guard_of()
    sealed = guard.seal("request", b"7", CONTENT)
    with pytest.raises(SignatureError, match="a header that nobody signs"):
        guard.open("request", b"7", sealed._replace(headers={**(sealed.headers or {}), "odd": value}))


def test_an_encrypted_body_is_bound_to_its_message_even_by_one_who_can_sign() -> None:
    guard = guard_of(encryption_id="aes")
    one = guard.seal("request", b"7", CONTENT, target="f")
    moved = Content(one.body, ENCRYPTED_TYPE, None, {ENCRYPTED: "aes"})
    again = guard.seal("request", b"8", moved, target="f", encrypt_with="")
    with pytest.raises(SignatureError, match="does not decrypt it"):
        guard.open("request", b"8", again, targets=None)


@pytest.mark.parametrize(
    ("key_id", "problem"),
    [("hmac", "hmac-sha256, not for encryption"), ("gone", "'gone' is not in the key ring")],
)
def test_a_key_that_does_not_decrypt(key_id: str, problem: str) -> None:
    sealed = guard_of().seal("reply", b"7", Content(b"x", ENCRYPTED_TYPE, None, {ENCRYPTED: key_id}))
    with pytest.raises(SignatureError, match=problem):
        guard_of().open("reply", b"7", sealed)


def test_plain_text_is_not_passed_on_where_encryption_is_required() -> None:
    guard = guard_of(encryption_id="aes", require_encryption=True, require_signature=True)
    with pytest.raises(SignatureError, match="require_encryption"):
        guard.open("request", b"7", guard_of().seal("request", b"7", CONTENT))
    refused = guard.refuses_unsigned("application/json")
    assert refused is not None
    assert "require_encryption" in str(refused)


def test_two_messages_never_look_alike() -> None:
    guard = guard_of(encryption_id="aes")
    bodies = {guard.seal("reply", b"7", CONTENT).body for _ in range(100)}
    assert len({body[1:29] for body in bodies}) == 100


def test_what_cannot_be_sealed() -> None:
    now = [0.0]
    guard = guard_of(f"{HMAC} 1970-01-01T00:00:02Z\n{AES}", wall=lambda: now[0], encryption_id="aes", max_body=100)
    with pytest.raises(ContentRejectedError, match="encrypted, more than max_body=100"):
        guard.seal("reply", b"7", CONTENT._replace(body=b"x" * 100))
    now[0] = 2.1
    with pytest.raises(ConfigurationError, match="'hmac'"):
        guard.seal("reply", b"7", CONTENT)


def test_cancellations_carry_their_signature_behind_the_id() -> None:
    guard = guard_of()
    cancel = sign_cancel(guard, "async_f", b"1 2")
    assert open_cancel(guard, cancel, ("any:f", "async_f")) == b"1 2"
    assert open_cancel(guard, b"1 2", ("async_f",)) is None
    with pytest.raises(SignatureError, match="not for this service"):
        open_cancel(guard, cancel, ("async_g",))
    with pytest.raises(SignatureError, match="changed or moved"):
        open_cancel(guard, b"9" + cancel, ("async_f",))
    assert sign_cancel(guard, "async_" + "f" * 200, b"1") == b""
