"""The key ring: what it accepts, when a key is valid, and the file that it is read from."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._security import key_ring
from rabibridge_core._security.key_ring import KeyRing, parse_ring
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.rpc import RpcClient
from tests.unit.signing_support import AES, ED_CLIENT, HMAC, OTHER, line, settings_of

if TYPE_CHECKING:
    from pathlib import Path

URL = "memory://ring"


def test_lines_semicolons_comments_and_dates() -> None:
    ring = parse_ring(f"# keys\n{HMAC} 2030-01-01T00:00:00Z  # old\n\n{OTHER} ; {AES};", "the test")
    assert list(ring) == ["hmac", "other", "aes"]
    assert ring["hmac"].not_after == 1893456000.0
    assert ring["aes"].not_after is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no key"),
        ("hmac hmac-sha256", "must have an id, an algorithm"),
        ("a/b hmac-sha256 aGFsbG8=", "an id has 1 to 64"),
        (f"{HMAC}\n{HMAC}", "two keys with the id 'hmac'"),
        ("k hmac-sha256 !!!", "not base64"),
        (line("k", "hmac-sha256", b"short"), "has 5 bytes; 16 are needed"),
        (line("k", "ed25519", b"x" * 31), "a key of Ed25519 has 32"),
        (line("k", "aes-256-gcm", b"x" * 16), "a key of aes-256-gcm has 32"),
        (line("k", "none", b"x" * 32), "'none' is no algorithm"),
        (line("k", "HS256", b"x" * 32), "is no algorithm"),
        (f"{HMAC} tomorrow", "is no date"),
    ],
)
def test_what_is_wrong_is_said_without_the_key(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        parse_ring(text, "the test")
    for word in text.split():
        assert len(word) < 20 or word not in str(caught.value)


def test_a_key_is_valid_until_its_date_and_a_jump_of_the_clock_counts_at_once() -> None:
    now = [1000.0]
    ring = KeyRing(parse_ring(f"{HMAC} 1970-01-01T00:16:42Z", "the test"), lambda: now[0])
    assert ring.find("hmac") is not None
    now[0] = 1002.0
    assert ring.find("hmac") is not None
    now[0] = 1002.001
    assert ring.find("hmac") is None
    assert list(ring.ids) == []
    now[0] = 10.0
    assert list(ring.ids) == ["hmac"]


def test_a_file_is_read_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_ring, "_LOOK_EVERY", 0.0)
    file = tmp_path / "keys"

    def write(text: str) -> None:
        file.write_text(text)
        file.chmod(0o600)
        os.utime(file, ns=(time.time_ns(), time.time_ns()))

    write(HMAC)
    ring = KeyRing.from_file(str(file), "the test")
    assert list(ring.ids) == ["hmac"]
    write(f"{HMAC}\n{OTHER}")
    assert list(ring.ids) == ["hmac", "other"]
    write("nonsense")  # such as a file that is being written: the keys stay
    assert list(ring.ids) == ["hmac", "other"]
    file.unlink()
    assert ring.find("hmac") is None
    write(OTHER)
    assert list(ring.ids) == ["other"]
    assert "other" in repr(ring)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(HMAC)
    file.chmod(0o666)
    with pytest.raises(ConfigurationError, match="keys"):
        KeyRing.from_file(str(file), "the test")


@pytest.mark.parametrize(
    ("ring", "signing_id", "options", "problem"),
    [
        (HMAC, None, {}, "signing_key_id does not say which one signs"),
        (HMAC, "other", {}, "there is no such key"),
        (f"{HMAC} 2001-01-01T00:00:00Z", "hmac", {}, "or it has expired"),
        (AES, "aes", {}, "aes-256-gcm, which cannot sign"),
        (ED_CLIENT, "worker", {}, "ed25519-public, which cannot sign"),
        (HMAC, "hmac", {"encryption_key_id": "hmac"}, "hmac-sha256, which cannot encrypt"),
        (HMAC, "hmac", {"encryption_key_id": "aes"}, "there is no such key"),
        (HMAC, "hmac", {"require_encryption": True}, "does not say which key encrypts"),
        (HMAC, "hmac", {"key_ring": "/nowhere"}, "both signing_keys and key_ring"),
        (None, "hmac", {}, "signing_key_id is given, but no keys"),
        (None, None, {}, "require_signature is given, but no keys"),
        (None, None, {"require_signature": None, "require_encryption": True}, "require_encryption is given, but no"),
        (None, None, {"require_signature": None, "key_ring": "/nowhere"}, "/nowhere"),
    ],
)
def test_half_a_configuration_refuses_to_start(
    ring: str, signing_id: str, options: dict[str, object], problem: str
) -> None:
    settings = settings_of(URL, ring, signing_id, **options)
    with pytest.raises(ConfigurationError, match=problem):
        RpcClient(settings=settings)
