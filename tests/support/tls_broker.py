"""A node of RabbitMQ with TLS, whose certificates are made on the spot."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from rabibridge_testing._servers.ports import free_ports
from tests.docs.blocks import blocks_of
from tools.broker import PrivateNode

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

PLUGIN = "rabbitmq_auth_mechanism_ssl"
YESTERDAY = datetime.now(UTC) - timedelta(days=1)
_PAGE = Path("docs/tls.md")


class Pair(NamedTuple):
    """A certificate and its key, in files."""

    certificate: str
    key: str


def write_pair(issued: trustme.LeafCert, certificate: Path) -> Pair:
    """Write a certificate, with those of intermediate authorities, and its key beside it."""
    key = certificate.with_suffix(".key")
    key.touch(mode=0o600)
    key.write_bytes(issued.private_key_pem.bytes())
    certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    return Pair(str(certificate), str(key))


def documented_configuration() -> str:
    """Return the rabbitmq.conf that docs/tls.md recommends."""
    (found,) = [block.text for block in blocks_of(_PAGE) if "ssl_options.cacertfile" in block.text]
    return found


class TLSBroker:
    """A node with the configuration of docs/tls.md: whoever connects to its port needs a client certificate.

    Further listeners have options of their own. Users have the password "secret".

    Attributes:
        node: the node.
        authority: issues the certificates that it trusts.
        folder: where the certificates are.
        ca: the file with the certificate of the authority.
        port: the port for TLS.
    """

    def __init__(self) -> None:
        """Start it."""
        self.folder = Path(tempfile.mkdtemp(prefix="rabibridge-tls-"))
        self.authority = trustme.CA()
        self.ca = str(self.folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca)
        self._count = 0
        server = self.issue("127.0.0.1", "localhost")
        (self.port,) = free_ports(1)
        configuration = documented_configuration()
        for pattern, value in {
            r"listeners\.ssl\.default = \d+": f"listeners.ssl.1 = 127.0.0.1:{self.port}",
            r"(ssl_options\.cacertfile) = .+": rf"\1 = {self.ca}",
            r"(ssl_options\.certfile) = .+": rf"\1 = {server.certificate}",
            r"(ssl_options\.keyfile) = .+": rf"\1 = {server.key}",
        }.items():
            configuration, found = re.subn(pattern, value, configuration)
            assert found == 1, pattern
        self.node = PrivateNode(plugins=[PLUGIN], configuration=configuration)
        self.node.start()

    def close(self) -> None:
        """Stop it, and remove the certificates."""
        self.node.stop()
        shutil.rmtree(self.folder)

    def issue(self, *names: str, by: trustme.CA | None = None, **options: Any) -> Pair:
        """Return a new certificate."""
        self._count += 1
        issued = (by or self.authority).issue_cert(*names, **options)
        return write_pair(issued, self.folder / f"{self._count}.pem")

    def client(self, common_name: str, **options: Any) -> Pair:
        """Return a new certificate for a client."""
        return self.issue("client.example", common_name=common_name, **options)

    def write_client(self, common_name: str, folder: Path) -> None:
        """Write ca.pem, client.pem and client.key into a folder."""
        write_pair(self.authority.issue_cert("client.example", common_name=common_name), folder / "client.pem")
        shutil.copy(self.ca, folder / "ca.pem")

    async def add_user(self, name: str) -> str:
        """Add a user with all permissions."""
        await self.ctl("add_user", name, "secret")
        await self.ctl("set_permissions", name, ".*", ".*", ".*")
        return name

    async def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl beside the event loop."""
        return await asyncio.to_thread(self.node.ctl, *arguments)

    async def listen(self, server: Pair | None = None, options: str = "", *, client_needed: bool = False) -> int:
        """Listen on another port too.

        Args:
            server: the certificate; None: one that is right.
            options: further options of the listener, as Erlang terms, each with a comma in front.
            client_needed: whether a client needs a certificate.

        Returns:
            The port.
        """
        (port,) = free_ports(1)
        server = server or self.issue("127.0.0.1")
        needed = str(client_needed).lower()
        await self.ctl(
            "eval",
            f'ok = rabbit_networking:start_ssl_listener({{"127.0.0.1", {port}, inet}}, [{{cacertfile, "{self.ca}"}}, '
            f'{{certfile, "{server.certificate}"}}, {{keyfile, "{server.key}"}}, {{verify, verify_peer}}, '
            f"{{fail_if_no_peer_cert, {needed}}}{options}], 1).",
        )
        return port

    def url(self, port: int | None = None, login: str = "guest:guest@", query: str = "") -> str:
        """Return a URL with TLS."""
        return f"amqps://{login}127.0.0.1:{port or self.port}/{query}"

    async def revoke(self, pair: Pair) -> str:
        """Revoke one certificate, which only one test may do; return the option of a listener that heeds it."""
        path = self._revocation_of(pair)
        await self.ctl("eval", f'ok = ssl_crl_cache:insert({{file, "{path}"}}).')
        return ", {crl_check, peer}"

    def _revocation_of(self, pair: Pair) -> Path:
        issuer = x509.load_pem_x509_certificate(self.authority.cert_pem.bytes())
        key = serialization.load_pem_private_key(self.authority.private_key_pem.bytes(), None)
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.subject)
        number = x509.load_pem_x509_certificate(Path(pair.certificate).read_bytes()).serial_number
        entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now)
        builder = builder.add_revoked_certificate(entry.build())
        builder = builder.last_update(now - timedelta(hours=1)).next_update(now + timedelta(days=1))
        path = self.folder / "revoked.crl"
        signed = builder.sign(cast("EllipticCurvePrivateKey", key), hashes.SHA256())
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return path
