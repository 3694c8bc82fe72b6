"""Settings: encrypted secrets, ours and those of RabiBridge 0.1."""

from __future__ import annotations

import base64
import builtins
from pathlib import Path
from typing import Any

import pytest

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings import Secret, load_settings
from rabibridge_core.settings.encrypted_secrets import decrypt, decrypt_old, encrypt, is_encrypted
from rabibridge_core.settings.file_check import check_file
from tests.support.secret_frames import secrets_in
from tests.unit.settings_support import PASSWORD, error_of, only, write_file

PASSPHRASE = "correct horse battery"
BROKER = {"RABBITMQ_HOST": "h", "RABBITMQ_PORT": "5672", "RABBITMQ_USERNAME": "u"}
OLD_SECRET = "your secret that no one knows"
# Written by rabibridge 0.1.2, and what it read from them, where it could read them.
OLD = {
    "VozYkZmhNRIBiUIyjWQi4xP+mKtoMcROzdFbjrrRVps=": "p@ss wörd €",
    "WxDNNSoxdIlB9B1/7t11L2oAHSC20zcUaHcen5d7sXg=": "hunter2-s3cr3t",
    "WWtFMjx0l3SmQxeFlQRVOw==": "abcd1234",
    "anHFuyCnaTajZ/7iUAacuw==": "hunter2-s3cr3t",
    "QGnVWbdxIQCTtWAMsG4SWw==": "abcd1234",
}


@pytest.fixture(scope="module")
def encrypted() -> str:
    return encrypt(PASSWORD, PASSPHRASE)


def _old_file(password: str, secret: str = OLD_SECRET) -> None:
    write_file(
        '[rabbitmq]\nRABBITMQ_HOST = "h"\nRABBITMQ_PORT = 5672\nRABBITMQ_USERNAME = "u"\n'
        f'RABBITMQ_PASSWORD = "{password}"\n[secret]\nSECRET = "{secret}"\n',
        "config/env.toml",
    )


def test_what_was_encrypted_is_one_word_that_differs_every_time_and_comes_back(encrypted: str) -> None:
    other = encrypt(PASSWORD, PASSPHRASE)
    assert encrypted.startswith("rabibridge-secret:v1:")
    assert encrypted.split() == [encrypted]
    assert encrypted != other
    assert PASSWORD not in encrypted
    assert [decrypt(f" {text}\n", PASSPHRASE) for text in (encrypted, other)] == [PASSWORD, PASSWORD]


# The first and the last byte of the salt, the nonce, the encrypted text and its tag.
@pytest.mark.parametrize("at", [0, 15, 16, 27, 28, -17, -16, -1])
def test_every_change_is_noticed_with_one_clear_error(encrypted: str, at: int) -> None:
    head, _, body = encrypted.rpartition(":")
    sealed = bytearray(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    sealed[at] ^= 1
    with pytest.raises(ConfigurationError, match=r"the passphrase is not the one .* or the text was changed"):
        decrypt(f"{head}:{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}", PASSPHRASE)


@pytest.mark.parametrize("body", ["", "x", "AAAA", "é", "A" * 200, "A B"])
def test_what_is_no_ciphertext_is_refused_as_changed(body: str) -> None:
    with pytest.raises(ConfigurationError, match="or the text was changed"):
        decrypt(f"rabibridge-secret:v1:{body}", PASSPHRASE)


def test_a_wrong_passphrase_a_later_version_and_a_short_passphrase_are_refused(encrypted: str) -> None:
    with pytest.raises(ConfigurationError, match="the passphrase is not the one") as found:
        decrypt(encrypted, PASSPHRASE + "!")
    assert not secrets_in(found.value, PASSWORD)
    later = encrypted.replace(":v1:", ":v2:")
    assert is_encrypted(later)
    with pytest.raises(ConfigurationError, match="does not know"):
        decrypt(later, PASSPHRASE)
    with pytest.raises(ConfigurationError, match="fewer than 12"):
        encrypt(PASSWORD, "x" * 11)


@pytest.mark.usefixtures("clean_place")
def test_an_encrypted_secret_stands_wherever_the_secret_can(encrypted: str, env: Any) -> None:
    Path("passphrase").write_text(f"{PASSPHRASE}\n")
    Path("secret").write_text(f"{encrypted}\n")
    env(**BROKER, RABIBRIDGE_PASSPHRASE_FILE="passphrase")
    assert only(load_settings(password=encrypted)).password == Secret(PASSWORD)
    assert only(load_settings(password=Secret(encrypted))).password == Secret(PASSWORD)
    assert only(load_settings(url=f"amqp://u:{encrypted}@h/")).password == Secret(PASSWORD)
    env(RABBITMQ_PASSWORD=encrypted, RABIBRIDGE_SIGNING_KEY=encrypt("k" * 16, PASSPHRASE))
    found = load_settings()
    assert (only(found).password, found.signing_key) == (Secret(PASSWORD), Secret("k" * 16))
    env(RABBITMQ_PASSWORD="", RABIBRIDGE_PASSWORD_FILE="secret")
    assert only(load_settings()).password == Secret(PASSWORD)
    assert only(load_settings(url="amqp://u@h/")).password == Secret(PASSWORD)
    env(RABIBRIDGE_PASSWORD_FILE="")
    write_file(f'[rabbitmq]\nRABBITMQ_PASSWORD = "{encrypted}"\n')
    assert only(load_settings()).password == Secret(PASSWORD)
    env(RABIBRIDGE_PASSPHRASE_FILE="", RABIBRIDGE_PASSPHRASE=PASSPHRASE)
    assert only(load_settings()).password == Secret(PASSWORD)


@pytest.mark.usefixtures("clean_place")
def test_a_missing_or_wrong_passphrase_names_the_place_and_shows_nothing(encrypted: str, env: Any) -> None:
    env(**BROKER, RABBITMQ_PASSWORD=encrypted)
    text = error_of()
    assert "the secret (the environment variable RABBITMQ_PASSWORD) is encrypted, and there is no passphrase" in text
    assert "RABIBRIDGE_PASSPHRASE_FILE" in text
    env(RABIBRIDGE_PASSPHRASE="another passphrase")
    with pytest.raises(ConfigurationError) as found:
        load_settings()
    assert "the secret (the environment variable RABBITMQ_PASSWORD) cannot be decrypted: the passphrase" in str(
        found.value
    )
    assert not secrets_in(found.value, "another passphrase")
    assert encrypted not in str(found.value)


@pytest.mark.usefixtures("clean_place")
def test_a_passphrase_in_the_configuration_file_is_an_unknown_key() -> None:
    write_file(f'[app]\nPASSPHRASE = "{PASSPHRASE}"\n')
    text = error_of(require_broker=False)
    assert "PASSPHRASE" in text
    assert PASSPHRASE not in text


@pytest.mark.parametrize(("text", "password"), OLD.items())
def test_ciphertexts_of_version_0_1_are_read(text: str, password: str) -> None:
    assert decrypt_old(text, OLD_SECRET) == password


@pytest.mark.parametrize("text", ["", "file-pass", "AAAA", "é", "A" * 64, next(iter(OLD))[:20] + "A" * 24])
def test_what_is_no_ciphertext_of_version_0_1_is_none(text: str) -> None:
    assert decrypt_old(text, OLD_SECRET) is None


@pytest.mark.usefixtures("clean_place")
def test_a_file_of_version_0_1_is_read_with_a_warning(caplog: pytest.LogCaptureFixture, env: Any) -> None:
    text, password = next(iter(OLD.items()))
    _old_file(text)
    with caplog.at_level("WARNING"):
        assert only(load_settings()).password == Secret(password)
    (record,) = caplog.records
    message = record.getMessage()
    assert "RABBITMQ_PASSWORD under [rabbitmq]" in message
    assert "whoever can read the file can read the password" in message
    assert "rabibridge secret encrypt" in message
    assert text not in message
    assert password not in message
    checked = check_file(Path("config/env.toml").absolute())
    assert (checked.faults, len(checked.warnings)) == ([], 1)
    env(RABBITMQ_PASSWORD="plain")
    assert only(load_settings()).password == Secret("plain")


@pytest.mark.usefixtures("clean_place")
def test_a_file_of_version_0_1_with_a_wrong_secret_says_what_to_do() -> None:
    text = next(iter(OLD))
    _old_file(text, "another secret")
    message = error_of()
    assert "It cannot be decrypted with that secret" in message
    assert "environment variable RABBITMQ_PASSWORD" in message
    assert text not in message
    (fault,) = check_file(Path("config/env.toml").absolute()).faults
    assert fault == message


@pytest.mark.usefixtures("clean_place")
def test_our_own_form_takes_precedence_over_the_secret_in_the_file(encrypted: str, env: Any) -> None:
    _old_file(encrypted)
    env(RABIBRIDGE_PASSPHRASE=PASSPHRASE)
    assert only(load_settings()).password == Secret(PASSWORD)


@pytest.mark.usefixtures("clean_place")
def test_without_cryptography_the_extra_is_named(encrypted: str, env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    env(RABIBRIDGE_PASSPHRASE="never used before")
    needed = "needs the package cryptography: pip install 'rabibridge-core[crypto]'"
    assert needed in error_of(url=f"amqp://u:{encrypted}@h/")
    _old_file(next(iter(OLD)))
    assert f"Reading it {needed}" in error_of()
    with pytest.raises(ConfigurationError, match="encrypting a secret needs"):
        encrypt(PASSWORD, PASSPHRASE)
