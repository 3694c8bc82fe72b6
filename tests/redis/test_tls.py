"""TLS to a Redis server: the same settings and the same errors as with RabbitMQ."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from rabibridge_core import ConfigurationError, register_call
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_core.settings import load_settings
from rabibridge_testing._servers.ports import free_ports
from tests.support.redis_fixture import needs_redis_server
from tools.redis_server import PrivateRedis

if TYPE_CHECKING:
    from collections.abc import Iterator


class TLSServers:
    """Two ports for TLS, of which one asks for client certificates, and one port without.

    Attributes:
        open_port: the port that asks for none.
        closed_port: the port that asks for one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca)
        certificate, key = self.issue("server", "127.0.0.1", "redis.example")
        self.open_port, self.closed_port = free_ports(2)
        own = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", self.ca)
        self.servers = [
            PrivateRedis("--tls-port", str(port), *own, "--tls-auth-clients", clients)
            for port, clients in ((self.open_port, "no"), (self.closed_port, "yes"))
        ]

    def issue(self, name: str, *names: str, by: trustme.CA | None = None) -> tuple[str, str]:
        issued = (by or self.authority).issue_cert(*names)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        key.touch(mode=0o600)
        key.write_bytes(issued.private_key_pem.bytes())
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        return str(certificate), str(key)

    def url(self, port: int, query: str = "") -> str:
        return f"rediss://127.0.0.1:{port}/0{query}"


@pytest.fixture(scope="module")
def tls() -> Iterator[TLSServers]:
    """Servers of their own: the others have no TLS."""
    needs_redis_server()
    with tempfile.TemporaryDirectory(prefix="rabibridge-redis-tls-") as folder:
        servers = TLSServers(Path(folder))
        try:
            try:
                for server in servers.servers:
                    server.start()
            except RuntimeError as error:
                if "Failed finding TLS support" not in str(error):
                    raise
                pytest.skip("this server was built without TLS")
            yield servers
        finally:
            for server in servers.servers:
                server.stop()


@register_call
async def echo(value: int) -> int:
    return value


async def calls(url: str, **arguments: str) -> int:
    server = RpcServer(url=url, **arguments)  # type: ignore[arg-type]
    server.add_service(echo)
    async with server.serving(), RpcClient(url=url, **arguments) as client:  # type: ignore[arg-type]
        return int(await client.remote_call("echo", (7,), timeout=60))


async def test_calls_over_tls(tls: TLSServers, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await calls(tls.url(tls.open_port, f"?cacertfile={tls.ca}")) == 7
    monkeypatch.setenv("RABIBRIDGE_TLS_CA_FILE", tls.ca)
    assert await calls(tls.url(tls.open_port)) == 7


async def test_calls_with_a_client_certificate(tls: TLSServers) -> None:
    certificate, key = tls.issue("client", "client.example")
    query = f"?cacertfile={tls.ca}&certfile={certificate}&keyfile={key}"
    assert await calls(tls.url(tls.closed_port, query)) == 7


async def test_calls_with_a_context(tls: TLSServers) -> None:
    context = ssl.create_default_context(cafile=tls.ca)
    settings = load_settings(url=tls.url(tls.open_port), ssl=context)
    async with RpcClient(settings=settings) as client:
        assert client.health()


async def test_a_server_with_another_name_is_reached_by_server_name(tls: TLSServers) -> None:
    url = f"rediss://localhost:{tls.open_port}/0?cacertfile={tls.ca}"
    with pytest.raises(ConfigurationError, match="certificate is not for 'localhost'"):
        await RpcClient(url=url).connect()
    async with RpcClient(url=f"{url}&server_name_indication=redis.example") as client:
        assert client.health()


async def test_what_is_refused_says_why(tls: TLSServers) -> None:
    stranger = trustme.CA()
    certificate, key = tls.issue("stranger", "client.example", by=stranger)
    plain = tls.servers[0].port
    refused = {
        tls.url(tls.open_port): "issued by an authority that is not trusted: give .* as tls_ca_file",
        tls.url(tls.closed_port, f"?cacertfile={tls.ca}"): "requires a client certificate: set tls_cert_file",
        tls.url(
            tls.closed_port, f"?cacertfile={tls.ca}&certfile={certificate}&keyfile={key}"
        ): "does not trust the authority that has issued the client certificate .*tls-ca-cert-file",
        tls.url(plain, f"?cacertfile={tls.ca}"): "does not speak TLS: use the broker.s port for TLS, the tls-port",
        f"redis://127.0.0.1:{tls.open_port}/0": f"port {tls.open_port} expects TLS: use rediss://",
        tls.url(tls.open_port, "?cacertfile=/nowhere/ca.pem"): "cannot be read",
    }
    for url, why in refused.items():
        with pytest.raises(ConfigurationError, match=why):
            await RpcClient(url=url).connect()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://localhost/0?cacertfile=ca.pem", "tls_ca_file needs TLS, .* write rediss:// instead of redis://"),
        ("rediss://localhost/0?keyfile=client.key", "tls_key_file is set without tls_cert_file"),
        ("redis+sentinel://localhost/0?cacertfile=ca.pem", r"write rediss\+sentinel:// instead of redis\+sentinel://"),
        ("rediss://localhost/0?verify=verify_none", "certificates and host names are always verified"),
    ],
)
async def test_half_a_configuration_is_refused(url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        await RpcClient(url=url).connect()
