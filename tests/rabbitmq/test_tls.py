"""TLS on a real node: what is accepted, and what is refused with an error that says why."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from rabibridge import ConfigurationError, RMQClient, RMQServer
from rabibridge._operations.doctor import examine
from rabibridge.sync import Client
from rabibridge_core.operations import Examination
from rabibridge_core.operations.findings import Finding, Report, Status
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import ConnectionState
from tests.support.tls_broker import YESTERDAY, Pair
from tests.support.waiting import PATIENCE, soon

if TYPE_CHECKING:
    from tests.support.tls_broker import TLSBroker


async def refusal(url: str, **options: Any) -> str:
    """Return what connect() says, which must be at once."""
    client = RMQClient(settings=load_settings(url=url, options=options))
    started = time.monotonic()
    with pytest.raises(ConfigurationError) as refused:
        await soon(client.connect())
    assert time.monotonic() - started < PATIENCE
    assert type(refused.value) is ConfigurationError
    assert client.state is ConnectionState.CLOSED
    await client.close()
    return str(refused.value)


def read(path: str) -> bytes:
    return Path(path).read_bytes()


def files(broker: TLSBroker, pair: Pair | None = None, **more: Any) -> dict[str, Any]:
    own = {"tls_cert_file": pair.certificate, "tls_key_file": pair.key} if pair else {}
    return {"tls_ca_file": broker.ca, **own, **more}


def of_files(broker: TLSBroker, pair: Pair) -> dict[str, Any]:
    """Return the same as arguments of clients and servers."""
    return {"tls_ca_file": Path(broker.ca), "tls_cert_file": pair.certificate, "tls_key_file": pair.key}


async def test_the_ways_to_set_it_up(tls_broker: TLSBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await tls_broker.add_user("three")
    pair = tls_broker.client("three")
    parameters = {"cacertfile": tls_broker.ca, "certfile": pair.certificate, "keyfile": pair.key}
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    external = f"?{query}&auth_mechanism=external&verify=verify_peer&server_name_indication=localhost"
    async with RMQClient(url=tls_broker.url(login="", query=external)) as client:
        assert client.health()
        users = await tls_broker.ctl("list_connections", "user", "auth_mechanism", "ssl_protocol")
        assert "three\tEXTERNAL\ttlsv1.3" in users
    async with RMQClient(url=tls_broker.url(query=f"?{query}")) as client:  # a password as well
        assert client.health()
    context = ssl.create_default_context(cafile=tls_broker.ca)
    context.load_cert_chain(*pair)
    async with RMQClient(url=tls_broker.url(), ssl=context) as client:
        assert client.health()
    given = of_files(tls_broker, pair)
    async with RMQClient(url=tls_broker.url(login=""), auth_mechanism="external", **given) as client:
        assert client.health()
    server = RMQServer(url=tls_broker.url(), **given)
    server.add_service(lambda: "served", name="by_arguments")
    async with server.serving():

        def call() -> Any:
            with Client(url=tls_broker.url(), **given) as client:
                return client.remote_call("by_arguments", ftype="sync", timeout=PATIENCE)

        assert await soon(asyncio.to_thread(call)) == "served"
    file = tmp_path / "named.toml"
    file.write_text(
        f'[rabbitmq]\nRABBITMQ_HOST = "127.0.0.1"\nRABBITMQ_PORT = {tls_broker.port}\nRABBITMQ_SSL = true\n[app]\n'
        f'TLS_CA_FILE = "{tls_broker.ca}"\nTLS_CERT_FILE = "{pair.certificate}"\nTLS_KEY_FILE = "{pair.key}"\n'
    )
    monkeypatch.setenv("RABIBRIDGE_CONFIG", str(file))
    monkeypatch.setenv("RABIBRIDGE_AUTH_MECHANISM", "external")
    async with RMQClient() as client:
        assert client.health()


async def test_certificates_of_the_broker_that_are_not_accepted(tls_broker: TLSBroker) -> None:
    stranger = trustme.CA()
    bad = {
        "issued by an authority that is not trusted": tls_broker.issue("127.0.0.1", by=stranger),
        "has expired: renew it on the broker": tls_broker.issue("127.0.0.1", not_after=YESTERDAY),
        "is not for '127.0.0.1'": tls_broker.issue("other.example"),
    }
    for text, server in bad.items():
        port = await tls_broker.listen(server)
        assert text in await refusal(tls_broker.url(port), **files(tls_broker))
    port = await tls_broker.listen(bad["is not for '127.0.0.1'"])
    url = tls_broker.url(port, query="?server_name_indication=other.example")
    async with RMQClient(settings=load_settings(url=url, options=files(tls_broker))) as client:
        assert client.health()
    assert "not for 'wrong.example'" in await refusal(url.replace("other", "wrong"), **files(tls_broker))


async def test_a_self_signed_certificate(tls_broker: TLSBroker) -> None:
    own = trustme.CA()
    certificate = tls_broker.folder / "self-signed.pem"
    own.cert_pem.write_to_path(str(certificate))
    key = certificate.with_suffix(".key")
    own.private_key_pem.write_to_path(str(key))
    port = await tls_broker.listen(Pair(str(certificate), str(key)))
    assert "is self-signed, and not one that is trusted" in await refusal(tls_broker.url(port), **files(tls_broker))


@pytest.mark.parametrize("version", ["tlsv1.3", "tlsv1.2"])
async def test_certificates_of_the_client_that_the_broker_does_not_accept(tls_broker: TLSBroker, version: str) -> None:
    port = await tls_broker.listen(options=f", {{versions, ['{version}']}}", client_needed=True)
    url = tls_broker.url(port)
    assert "requires a client certificate: set tls_cert_file" in await refusal(url, **files(tls_broker))
    other = tls_broker.client("guest", by=trustme.CA())
    said = await refusal(url, **files(tls_broker, other))
    assert f"does not trust the authority that has issued the client certificate in {other.certificate}" in said
    expired = tls_broker.client("guest", not_after=YESTERDAY)
    assert "has expired: renew it" in await refusal(url, **files(tls_broker, expired))


async def test_a_revoked_certificate(tls_broker: TLSBroker) -> None:
    revoked, good = tls_broker.client("guest"), tls_broker.client("guest")
    checked = await tls_broker.revoke(revoked)
    for version in ("tlsv1.3", "tlsv1.2"):
        port = await tls_broker.listen(options=f"{checked}, {{versions, ['{version}']}}", client_needed=True)
        url = tls_broker.url(port)
        assert "is revoked" in await refusal(url, **files(tls_broker, revoked))
        async with RMQClient(settings=load_settings(url=url, options=files(tls_broker, good))) as client:
            assert client.health()


async def test_tls_where_there_is_none_and_the_reverse(tls_broker: TLSBroker) -> None:
    plain = tls_broker.node.port
    assert f"{plain}/: this port does not speak TLS" in await refusal(tls_broker.url(plain), **files(tls_broker))
    url = tls_broker.url().replace("amqps", "amqp")
    assert f"port {tls_broker.port} expects TLS: use amqps://" in await refusal(url)
    old = await tls_broker.listen(options=", {versions, ['tlsv1.1']}")
    assert "offers no version of TLS from 1.2 on" in await refusal(tls_broker.url(old), **files(tls_broker))


async def test_only_the_exact_common_name_is_the_user(tls_broker: TLSBroker) -> None:
    await tls_broker.add_user("gateway")
    options: dict[str, Any] = {"auth_mechanism": "external"}
    url = tls_broker.url(login="")
    exact = files(tls_broker, tls_broker.client("gateway"), **options)
    async with RMQClient(settings=load_settings(url=url, options=exact)) as client:
        assert client.health()
    for name in ("gateway,O=x", "Gateway", "gateway ", " gateway", "g\u0430teway", "gateway\u200b"):
        said = await refusal(url, **files(tls_broker, tls_broker.client(name), **options))
        assert f"has no user for the client certificate with the common name {name!r}" in said
    several = tls_broker.client("gateway", organization_name="CN=guest")
    async with RMQClient(settings=load_settings(url=url, options=files(tls_broker, several, **options))):
        assert "gateway\tEXTERNAL" in await tls_broker.ctl("list_connections", "user", "auth_mechanism")


async def test_a_broker_without_external(tls_broker: TLSBroker) -> None:
    pair = tls_broker.client("guest")
    await tls_broker.ctl("eval", "application:set_env(rabbit, auth_mechanisms, ['PLAIN']).")
    try:
        said = await refusal(tls_broker.url(login=""), **files(tls_broker, pair, auth_mechanism="external"))
        assert "does not offer the log-in EXTERNAL, only PLAIN" in said
        assert "rabbitmq_auth_mechanism_ssl" in said
        await tls_broker.ctl("eval", "application:set_env(rabbit, auth_mechanisms, ['EXTERNAL']).")
        said = await refusal(tls_broker.url(), **files(tls_broker, pair))
        assert "does not offer the log-in PLAIN, only EXTERNAL" in said
    finally:
        await tls_broker.ctl("eval", "application:set_env(rabbit, auth_mechanisms, ['EXTERNAL', 'PLAIN']).")


async def test_files_that_cannot_be_used(tls_broker: TLSBroker, caplog: pytest.LogCaptureFixture) -> None:
    pair, other = tls_broker.client("guest"), tls_broker.client("guest")
    url, folder = tls_broker.url(), tls_broker.folder
    key = serialization.load_pem_private_key(read(pair.key), None)
    locked = folder / "locked.key"
    locked.touch(mode=0o600)
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open-sesame"),
        )
    )
    text = folder / "text.pem"
    text.write_text("no certificate")
    encrypted = Pair(pair.certificate, str(locked))
    for options, says in (
        (files(tls_broker, tls_ca_file=str(folder / "none.pem")), "none.pem with the authorities, which tls_ca_file"),
        (files(tls_broker, tls_ca_file=str(text)), "text.pem holds no certificates in PEM"),
        (files(tls_broker, tls_ca_file=str(folder)), "is a folder"),
        (files(tls_broker, Pair(pair.certificate, other.key)), "do not belong together"),
        (files(tls_broker, Pair(pair.certificate, str(text))), "must hold a certificate and its private key"),
        (files(tls_broker, encrypted), "is encrypted: set tls_key_password"),
        (files(tls_broker, encrypted, tls_key_password="wrong"), "tls_key_password does not open"),
    ):
        assert says in await refusal(url, **options)
    opened = files(tls_broker, encrypted, tls_key_password="open-sesame")
    async with RMQClient(settings=load_settings(url=url, options=opened)) as client:
        assert client.health()
        assert "open-sesame" not in repr(client.settings)
    if os.name == "posix":
        os.chmod(other.key, 0o644)
        for _ in range(2):
            async with RMQClient(settings=load_settings(url=url, options=files(tls_broker, other))):
                pass
        warned = [message for message in caplog.messages if "may read the private key" in message]
        assert len(warned) == 1
        assert f"{other.key} (mode 644): run chmod o-r on it" in warned[0]
        os.chmod(other.key, 0o602)
        assert "may be written by others" in await refusal(url, **files(tls_broker, other))


async def test_the_other_host_is_used_if_the_first_has_a_bad_certificate(tls_broker: TLSBroker) -> None:
    bad = await tls_broker.listen(tls_broker.issue("other.example"))
    good = await tls_broker.listen()
    settings = load_settings(url=[tls_broker.url(bad), tls_broker.url(good)], options=files(tls_broker))
    async with RMQClient(settings=settings) as client:
        assert client.health()
    client = RMQClient(settings=replace(settings, endpoints=settings.endpoints[:1] * 2))
    with pytest.raises(ConfigurationError, match="not for"):
        await soon(client.connect())
    await client.close()


async def examined(url: str, **options: Any) -> list[Finding]:
    report = Report()
    await soon(examine(load_settings(url=url, options=options), Examination(limit=PATIENCE, role="client"), report))
    return [finding for finding in report.findings if finding.check in ("tls", "login")]


async def test_doctor_names_what_is_wrong_with_certificates(tls_broker: TLSBroker) -> None:
    url, soon_over = tls_broker.url(login=""), datetime.now(UTC) + timedelta(days=5)
    own, broker, login = await examined(url, **files(tls_broker, tls_broker.client("guest"), auth_mechanism="external"))
    assert (own.status, broker.status, login.status) == (Status.OK,) * 3
    assert "client certificate of 'guest', valid for another" in own.text
    assert "the user of the client certificate" in login.text
    short = tls_broker.client("guest", not_after=soon_over)
    if os.name == "posix":
        os.chmod(short.key, 0o644)
        own, key, *_ = await examined(url, **files(tls_broker, short, auth_mechanism="external"))
        assert (key.status, key.subject) == (Status.WARNING, short.key)
        assert "may read the private key" in key.text
    assert (own.status, own.text) == (Status.WARNING, "client certificate of 'guest', valid for another 5 days")
    _, _, login, _ = await examined(url, **files(tls_broker, tls_broker.client("nobody"), auth_mechanism="external"))
    assert (login.status, login.check) == (Status.FAILURE, "login")
    assert "no user for the client certificate with the common name 'nobody'" in login.text
    for pair, says, advice in (
        (None, "requires a client certificate", "tls_cert_file"),
        (tls_broker.client("guest", not_after=YESTERDAY), "has expired", "renew it"),
        (tls_broker.client("guest", by=trustme.CA()), "does not trust the authority", "ssl_options.cacertfile"),
    ):
        *_, found, _ = await examined(tls_broker.url(), **files(tls_broker, pair))
        assert (found.check, found.status) == ("tls", Status.FAILURE)
        assert says in found.text
        assert advice in found.advice
