"""Certificates that are replaced while clients and servers run, by good ones and by bad ones."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trustme

from rabibridge import ConfigurationError, ConnectionLostError, RMQClient, RMQServer
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import ConnectionState
from tests.rabbitmq.support import Gate
from tests.support.tls_broker import write_pair
from tests.support.waiting import PATIENCE, soon, until_true

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.tls_broker import TLSBroker


class Running(NamedTuple):
    """A client and a server that log in by the same certificate."""

    broker: TLSBroker
    client: RMQClient
    server: RMQServer
    service: str
    gate: Gate
    user: str
    files: Path

    def replace(self, organization: str, by: trustme.CA | None = None) -> None:
        """Replace the certificate and its key by others for the same user."""
        issued = (by or self.broker.authority).issue_cert(
            "client.example", common_name=self.user, organization_name=organization
        )
        new = write_pair(issued, self.files / "new.pem")
        Path(new.certificate).replace(self.files / "client.pem")
        Path(new.key).replace(self.files / "client.key")

    async def cut(self) -> None:
        before = await self._connections()
        await self.broker.ctl("close_all_connections", "a test has new certificates")

        async def has_noticed() -> bool:
            now = await self._connections()
            return now.isdisjoint(before) and (
                self.client.state is not ConnectionState.READY or len(now) == len(before)
            )

        await until_true(has_noticed)

    async def subjects(self) -> list[str]:
        """Return the subjects of the certificates by which client and server are connected."""
        return [subject for _, subject in await self._listed("peer_cert_subject")]

    async def _connections(self) -> set[str]:
        return {pid for _, pid in await self._listed("pid")}

    async def _listed(self, column: str) -> list[tuple[str, str]]:
        """Return user and column of the connections of this user: those of earlier tests may not have ended yet."""
        lines = (await self.broker.ctl("list_connections", "user", column)).splitlines()
        columns = [line.split("\t") for line in lines]
        return [(user, value) for user, value in (line for line in columns if len(line) == 2) if user == self.user]


@asynccontextmanager
async def running(broker: TLSBroker, folder: Path, name: str) -> AsyncIterator[Running]:
    user, gate = await broker.add_user(name), Gate()
    write_pair(
        broker.authority.issue_cert("client.example", common_name=user, organization_name="first"),
        folder / "client.pem",
    )
    (folder / "ca.pem").write_bytes(Path(broker.ca).read_bytes())  # noqa: ASYNC240 - it is short
    options = {
        "auth_mechanism": "external",
        "tls_ca_file": folder / "ca.pem",
        "tls_cert_file": folder / "client.pem",
        "tls_key_file": folder / "client.key",
    }
    settings = load_settings(url=broker.url(login=""), options=options)
    server = RMQServer(settings=settings)
    server.add_service(gate.function(), name=name)
    async with server, RMQClient(settings=settings) as client:
        serving = asyncio.create_task(server.run_serve())
        try:
            yield Running(broker, client, server, name, gate, user, folder)
        finally:
            await server.close()
            await soon(serving)


async def test_a_new_certificate_is_taken_with_the_next_connection(
    tls_broker: TLSBroker, tmp_path: Path, unique_name: Callable[[str], str]
) -> None:
    async with running(tls_broker, tmp_path, unique_name("rotated")) as run:
        run.gate.opened.set()
        assert await soon(run.client.remote_call(run.service, ("before",))) == "before"
        assert all("O=first" in subject for subject in await run.subjects())
        run.replace("second")
        assert await soon(run.client.remote_call(run.service, ("unchanged",))) == "unchanged"
        await run.cut()

        async def both_are_back() -> bool:
            subjects = await run.subjects()
            return len(subjects) == 2 and all("O=second" in subject for subject in subjects)

        await until_true(both_are_back)
        assert await soon(run.client.remote_call(run.service, ("after",), timeout=PATIENCE)) == "after"


@pytest.mark.parametrize("what", ["client certificate", "authority"])
async def test_a_bad_certificate_fails_calls_at_once_until_it_is_mended(
    tls_broker: TLSBroker,
    tmp_path: Path,
    unique_name: Callable[[str], str],
    caplog: pytest.LogCaptureFixture,
    what: str,
) -> None:
    stranger = trustme.CA()
    says = {
        "client certificate": "does not trust the authority that has issued the client certificate",
        "authority": "was issued by an authority that is not trusted",
    }[what]
    async with running(tls_broker, tmp_path, unique_name("mended")) as run:
        call: Any = asyncio.create_task(run.client.remote_call(run.service, ("in flight",), idempotent=True))
        await run.gate.holds(1)
        if what == "authority":
            stranger.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        else:
            run.replace("bad", by=stranger)
        await run.cut()
        with pytest.raises(ConnectionLostError, match=says):  # it would be sent again on the next connection
            await soon(call)

        async def refused() -> bool:
            return says in str(run.client.last_error) and says in str(run.server.last_error)

        await until_true(refused)
        for _ in range(3):
            with pytest.raises(ConfigurationError, match=says):
                await run.client.remote_call(run.service, ("late",), timeout=10 * PATIENCE)
        for side in (run.client, run.server):
            health = side.health()
            assert not health.ok
            assert health.state is ConnectionState.LOST
            assert any(says in reason for reason in health.reasons)
        assert await run.subjects() == []  # nor is anybody connected without TLS
        told = [record for record in caplog.records if record.levelno == logging.ERROR and says in record.getMessage()]
        assert len(told) == 2, "one line of the client, and one of the server"

        run.gate.opened.set()
        if what == "authority":
            tls_broker.authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        else:
            run.replace("mended")

        async def mended() -> bool:
            try:
                return bool(await run.client.remote_call(run.service, ("after",), timeout=PATIENCE) == "after")
            except ConfigurationError:
                return False

        await until_true(mended)
        assert run.client.health()
