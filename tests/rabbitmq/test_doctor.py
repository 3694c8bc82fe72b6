"""A doctor names what is wrong with a set-up, ends in any case, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from yarl import URL

from rabibridge import RMQServer
from rabibridge._operations.doctor import examine
from rabibridge_core.operations import Examination
from rabibridge_core.operations.findings import Finding, Report, Status
from rabibridge_core.settings import load_settings
from tests.rabbitmq.operators import add_letter, declare_dead_letters
from tests.rabbitmq.support import Stage, ctl, vhost_of
from tests.support.services import new_echo
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core.transport import ServiceQueue
    from tests.rabbitmq.users import Users
    from tools.broker import Broker

LIMIT = 10.0


async def _examined(url: str, *, tls: ssl.SSLContext | None = None, limit: float = LIMIT, **what: Any) -> list[Finding]:
    report = Report()
    settings = load_settings(url=url, ssl=tls)
    async with asyncio.timeout(2 * PATIENCE):
        await examine(settings, Examination(limit=limit, **what), report)
    return report.findings


def _bad(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return [
        (finding.check, finding.subject, str(finding.status))
        for finding in findings
        if finding.status is not Status.OK
        and finding.text != "nothing beyond this could be checked: there is no connection"
    ]


def _only(findings: list[Finding], check: str) -> Finding:
    (found,) = [finding for finding in findings if finding.check == check]
    return found


async def test_nothing_is_wrong_and_nothing_is_left_behind(governed: Broker, vhost_url: str) -> None:
    async def there() -> list[Any]:
        vhost = vhost_of(vhost_url)
        return [await ctl(governed, f"list_{what}", "-p", vhost, "name") for what in ("queues", "exchanges")]

    before = await there()
    findings = await _examined(vhost_url)
    assert _bad(findings) == []
    assert {finding.check for finding in findings} == {
        "dns", "tcp", "tls", "broker", "login", "alarm", "permission", "clock", "workers", "dead letters",
    }  # fmt: skip
    assert await there() == before


@pytest.mark.parametrize(
    ("change", "check", "says", "advice"),
    [
        (lambda url: url.with_password("wrong"), "credentials", "'guest' or the password", "authenticate_user"),
        (lambda url: url.with_user("nobody"), "credentials", "'nobody'", "authenticate_user"),
        (lambda url: url.with_path("/nowhere"), "virtual host", "'nowhere' does not exist", "add_vhost nowhere"),
        (lambda url: url.with_host("no-such-host.invalid"), "dns", "cannot be resolved", "host name"),
        (lambda url: url.with_port(9), "tcp", "nobody listens", "rabbitmq-diagnostics listeners"),
    ],
    ids=["password", "user", "virtual host", "name", "port"],
)
async def test_what_keeps_one_out(amqp_url: str, change: Any, check: str, says: str, advice: str) -> None:
    findings = await _examined(str(change(URL(amqp_url))))
    (found,) = [finding for finding in findings if finding.status is Status.FAILURE and finding.check == check]
    assert says in found.text
    assert advice in found.advice
    assert findings[-1].text.startswith("nothing beyond this")
    assert len(_bad(findings)) == 1


async def test_a_user_of_other_virtual_hosts(users: Users, governed: Broker, vhost_url: str) -> None:
    url = await users.add("", "", "")
    await ctl(governed, "clear_permissions", "-p", vhost_of(vhost_url), str(URL(url).user))
    found = _only(await _examined(url), "virtual host")
    assert "may not use" in found.text
    assert f"set_permissions -p {vhost_of(vhost_url)} {URL(url).user}" in found.advice


_ALL = ".*"


@pytest.mark.parametrize(
    ("role", "configure", "write", "read", "missing"),
    [
        ("client", "^amq\\.gen.*$", "^rpc$", "^amq\\.gen.*$", []),
        ("client", _ALL, "^amq.*$", _ALL, [("client: write 'rpc'", "failure")]),
        ("client", "^rpc.*$", _ALL, _ALL, [("client: configure 'amq.gen-*'", "failure")]),
        ("client", _ALL, _ALL, "^rpc.*$", [("client: read 'amq.gen-*'", "failure")]),
        ("server", "^(rpc.*|amq\\.gen.*)$", "^(rpc_.*|amq\\.(gen|default).*)$", "^(rpc.*|amq\\.gen.*)$", []),
        ("server", "^(rpc|rpc_any.*|rpc\\.dead|amq.*)$", _ALL, _ALL, [
            ("server: configure 'rpc_async_add'", "failure"),
        ]),
        ("server", _ALL, "^(rpc_any|amq.*)$", _ALL, [
            ("server: write 'rpc_async_add'", "failure"), ("server: read 'rpc'", "warning"),
            ("server: read 'rpc_any'", "warning"), ("server: read 'rpc_any_sync'", "warning"),
        ]),
        ("server", _ALL, _ALL, "^(rpc|rpc_any.*|rpc\\.dead|amq.*)$", [("server: read 'rpc_async_add'", "failure")]),
        ("server", _ALL, _ALL, "^(rpc.+|amq.*)$", [("server: read 'rpc'", "failure")]),
        ("server", _ALL, "^(rpc.*|amq\\.gen.*)$", _ALL, [("server: write 'amq.default'", "failure")]),
        ("server", "^(rpc_async.*|amq.*)$", "^(rpc_async.*|amq.*)$", "^(rpc|rpc_async.*|amq.*)$", [
            ("server: configure 'rpc'", "warning"), ("server: configure 'rpc_any'", "warning"),
            ("server: read 'rpc_any'", "warning"), ("server: configure 'rpc_any_sync'", "warning"),
            ("server: read 'rpc_any_sync'", "warning"), ("server: write 'rpc_any'", "warning"),
            ("server: configure 'rpc.dead'", "warning"), ("operator: read 'rpc.dead'", "warning"),
        ]),
        ("server", "^rpc.*$", _ALL, _ALL, [("server: configure 'amq.gen-*'", "warning")]),
    ],
    ids=[
        "a client needs no more", "client write", "client configure", "client read", "a server needs no more",
        "server configure", "server write", "server read", "server read exchange", "server reply", "server bare",
        "server own queue",
    ],
)  # fmt: skip
async def test_each_permission(
    users: Users, stage: Stage, role: str, configure: str, write: str, read: str, missing: list[tuple[str, str]]
) -> None:
    await stage.serve(new_echo())  # the exchanges exist
    (queue,) = _queues(stage, "add")
    findings = await _examined(await users.add(configure, write, read), role=role, queues=[queue])
    bad = [(subject, status) for check, subject, status in _bad(findings) if check == "permission"]
    assert bad == missing
    assert all("rabbitmqctl set_permissions" in one.advice for one in findings if "lacks it" in one.text)


def _queues(stage: Stage, name: str, **limits: Any) -> list[ServiceQueue]:
    async def function() -> None: ...

    server = RMQServer(url=stage.url)
    function.__name__ = name
    return list(server.add_service(function, **limits).queues)


async def test_queues_with_other_limits_without_workers_and_dead_letters(stage: Stage, raw: Any) -> None:
    name = await stage.serve(new_echo(), queue_size=10)
    (other,) = _queues(stage, name, queue_size=20)
    (same,) = _queues(stage, name, queue_size=10)
    (new,) = _queues(stage, "new")
    await declare_dead_letters(raw)
    await add_letter(raw, 1)
    findings = await _examined(stage.url, queues=[other, new], role="client")
    checks = {(finding.check, finding.subject): finding for finding in findings}
    found = checks["queue", other.name]
    assert found.status is Status.FAILURE
    assert "queue_size is 10 on the broker, 20 here" in found.text
    assert checks["queue", new.name].status is Status.OK
    assert checks["consumers", other.name].text.startswith("1 consumer,")
    assert "rabibridge dead list" in checks["dead letters", "rpc.dead"].advice
    await stage.close()  # the workers
    await raw.basic_publish(b"", routing_key=same.name)
    findings = await _examined(stage.url, queues=[same], role="client")
    checks = {(finding.check, finding.subject): finding for finding in findings}
    assert checks["queue", same.name].status is Status.OK
    assert checks["consumers", same.name].status is Status.WARNING
    assert "no worker serves it, 1 call waiting" in checks["consumers", same.name].text
    assert ("queue", new.name) not in checks


async def test_a_clock_that_is_wrong(vhost_url: str) -> None:
    for offset, says in ((3600, "ahead of"), (-3600, "behind")):
        found = _only(await _examined(vhost_url, clock=lambda by=offset: time.time() + by, role="client"), "clock")
        assert found.status is Status.WARNING
        assert says in found.text
        assert 3590 < float(found.text.split()[4]) < 3610


@pytest.mark.parametrize(
    ("set_limit", "alarm", "reset"),
    [
        (("set_vm_memory_high_watermark", "0.0000001"), "memory", ("set_vm_memory_high_watermark", "0.4")),
        (("set_disk_free_limit", "100000GB"), "disk space", ("set_disk_free_limit", "50MB")),
    ],
    ids=["memory", "disk"],
)
async def test_an_alarm(own_node: Broker, set_limit: Any, alarm: str, reset: Any) -> None:
    await asyncio.to_thread(own_node.ctl, *set_limit)
    try:
        findings = await _examined(own_node.fresh_vhost())
    finally:
        await asyncio.to_thread(own_node.ctl, *reset)
    found = _only(findings, "alarm")
    assert (found.status, found.subject) == (Status.FAILURE, alarm)
    assert "accepts no messages" in found.text
    assert alarm in found.advice
    assert ("permission", "client: write 'rpc'", "warning") in _bad(findings)
    assert findings[-1].check == "dead letters"


@asynccontextmanager
async def _listening(answer: Any, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def _forward_to(url: str) -> Any:
    """Return what passes everything on to a broker, as a TLS listener in front of it."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = URL(url)
        up_reader, up_writer = await asyncio.open_connection(address.host, address.port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(2**16):
                sink.write(data)
                await sink.drain()
            sink.close()

        try:
            await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))
        finally:
            up_writer.close()

    return forward


def _tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


async def test_tls(vhost_url: str) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    plain = URL(vhost_url)

    async def tls_of(server: ssl.SSLContext | None, scheme: str, client: ssl.SSLContext | None) -> Finding:
        async with _listening(_forward_to(vhost_url), server) as port:
            url = plain.with_port(port)
            findings = await _examined(str(url.with_scheme(scheme)), tls=client, role="client")
        return _only(findings, "tls")

    good = await tls_of(_tls(authority, "127.0.0.1"), "amqps", trusting)
    assert good.status is Status.OK
    assert good.text.startswith("TLSv1.3, certificate valid for another")
    for server, scheme, client, says, advice in (
        (None, "amqps", trusting, "this port speaks plain AMQP", "5671"),
        (_tls(authority, "127.0.0.1"), "amqp", None, "this port expects TLS", "amqps://"),
        (_tls(authority, "other.example"), "amqps", trusting, "is not for '127.0.0.1'", "host name"),
        (_tls(stranger, "127.0.0.1"), "amqps", trusting, "an authority that is not trusted", "tls_ca_file"),
    ):
        found = await tls_of(server, scheme, client)
        assert found.status is Status.FAILURE
        assert says in found.text
        assert advice in found.advice


async def test_what_is_no_broker(amqp_url: str) -> None:
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)

    for answer, says in ((http, "HTTP server"), (silent, "no answer within 0.3 s"), (closing, "does not speak AMQP")):
        async with _listening(answer) as port:
            findings = await _examined(str(URL(amqp_url).with_port(port)), limit=0.3)
        assert says in _only(findings, "protocol").text


async def test_the_second_host_is_examined_where_the_first_is_down(vhost_url: str) -> None:
    findings = await _examined(f"{URL(vhost_url).with_port(9)},{vhost_url}", role="client")
    assert _bad(findings) == [("tcp", "127.0.0.1:9", "warning")]
    assert "dead letters" in {finding.check for finding in findings}
