"""No password, key or passphrase is shown by what is wrong with settings, as in ``test_marker``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from rabibridge import RabiBridgeError, RMQClient, RMQServer
from rabibridge.sync import Client
from rabibridge_core.settings import load_settings
from rabibridge_core.settings.encrypted_secrets import encrypt
from rabibridge_core.settings.overview import overview
from tests.security.watch import PASSPHRASE, PASSWORD, SIGNING_KEY

if TYPE_CHECKING:
    from tests.security.watch import Watch


@pytest.mark.usefixtures("clean_place")
@pytest.mark.parametrize(
    "url",
    [
        f"amqp://u:{PASSWORD}@h:port/",
        f"amqp://u:{PASSWORD}@h:99999/",
        f"amqp://u:{PASSWORD}@/",
        f"amqp://u:{PASSWORD}@h/?heartbeat=x",
        f"amqp://u:x?{PASSWORD}@h/",
        f"amqp://u:x?heartbeat={PASSWORD}@h/",
        f"amqp://u:x#{PASSWORD}@h/",
        f"amqp://u:x/{PASSWORD}@h/",
        f"amqp://u:{PASSWORD}@h/a/b",
        f"amqp://u:{PASSWORD}/h",
        f"amqp://u:p@{PASSWORD}@h/",
        f"amqp:/u:{PASSWORD}@h/",
        f"u:{PASSWORD}@h",
        f"nonsense://u:{PASSWORD}@h/",
        f"amqp://u:{PASSWORD}@h/,amqp://u:{PASSWORD}@h:x/",
        f"amqp://:{PASSWORD}@h/",
        f"amqp://u:{PASSWORD}%ff@h/",
        f"memory://u:{PASSWORD}@h/",
    ],
)
def test_odd_urls(url: str, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("argument", "variable"):
        arguments: dict[str, Any] = {"url": url} if place == "argument" else {}
        if place == "variable":
            monkeypatch.setenv("RABIBRIDGE_URL", url)
        for kind in (load_settings, RMQClient, RMQServer):
            try:
                watch.thing("what was made", kind(**arguments))
            except RabiBridgeError as error:
                watch.error(f"{place} of {kind.__name__}", error)
    watch.thing("overview", overview())


@pytest.mark.usefixtures("clean_place")
def test_wrong_settings_and_wrong_passphrases(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("rabibridge.toml").write_text(
        f'[rabbitmq]\nRABBITMQ_HOST = "h"\nRABBITMQ_PORT = 1\nRABBITMQ_USERNAME = "u"\n'
        f'RABBITMQ_PASSWORD = "{PASSWORD}"\n[app]\nSIGNING_KEY = "{SIGNING_KEY}"\nMAX_BODY = 1\n'
        f'[secret]\nSECRET = "{PASSPHRASE}"\n'
    )
    encrypted = encrypt(PASSWORD, "another passphrase")
    monkeypatch.setenv("RABIBRIDGE_PASSPHRASE", PASSPHRASE)
    wrong: list[dict[str, Any]] = [{}, {"password": encrypted}, {"url": f"amqp://u:{encrypted}@h/"}]
    wrong += [{"password": PASSWORD, "port": 0}, {"url": f"amqp://u:{PASSWORD}@h:port/"}]
    for arguments in wrong:
        for kind in (load_settings, Client):
            with pytest.raises(RabiBridgeError) as failed:
                kind(**arguments)
            watch.error(kind.__name__, failed.value)
    Path("rabibridge.toml").write_text(f'[rabbitmq]\nRABBITMQ_PASSWORD = "{PASSWORD}\n')
    with pytest.raises(RabiBridgeError) as failed:
        load_settings()
    watch.error("broken file", failed.value)


@pytest.mark.parametrize("way", ["variable", "argument", "argument beside a wrong one", "argument of a server"])
@pytest.mark.parametrize("fits", [True, False])
async def test_the_password_of_a_private_key(
    fits: bool, way: str, watch: Watch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    issued = trustme.CA().issue_cert("client")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    lock = serialization.BestAvailableEncryption(PASSWORD.encode() if fits else b"another")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
    (tmp_path / "key").write_bytes(pem)
    (tmp_path / "certificate").write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "1")
    monkeypatch.setenv("RABIBRIDGE_TLS_CERT_FILE", str(tmp_path / "certificate"))
    monkeypatch.setenv("RABIBRIDGE_TLS_KEY_FILE", str(tmp_path / "key"))
    given: dict[str, Any] = {"url": "amqps://u:p@127.0.0.1:1/"}
    if way == "variable":
        monkeypatch.setenv("RABIBRIDGE_TLS_KEY_PASSWORD", PASSWORD)
    else:
        given["tls_key_password"] = PASSWORD
    if way == "argument beside a wrong one":
        given["auth_mechanism"] = "both"
    try:
        client = (RMQServer if way == "argument of a server" else RMQClient)(**given)
        watch.thing("settings", client.settings, client.settings.transport)
        async with client:
            pytest.fail("nothing is there")
    except RabiBridgeError as error:
        watch.error("private key", error)
