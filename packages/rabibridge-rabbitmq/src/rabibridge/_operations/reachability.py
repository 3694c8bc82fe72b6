"""Finds out why a host cannot be reached, layer by layer: its name, its port, TLS, and what answers there.

Nothing here hangs: each step has its time, and a name is looked up in a daemon thread, which nobody waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pamqp.frame
from pamqp.commands import Connection
from pamqp.exceptions import PAMQPException

from rabibridge._connection.tls_errors import tls_refusal
from rabibridge._connection.tls_probe import alert_of
from rabibridge._operations.certificate_checks import failure_of, tls_finding
from rabibridge._operations.peers import describe_answer
from rabibridge_core._concurrency.daemon_executor import DaemonExecutor
from rabibridge_core._tls.setup import tls_setup
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.operations.findings import Finding, Report, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge.settings import RabbitMQSettings
    from rabibridge_core.settings.endpoints import Endpoint

__all__ = ["Peer", "reach"]

_HEADER = b"AMQP\x00\x00\x09\x01"
_FRAME_HEAD = 7
_START_MAX = 128 * 1024


class Peer(NamedTuple):
    """What answers at an address.

    Attributes:
        start: the first method of a broker; ``None``: something else answers, or nothing.
        answer: the first bytes of anything else.
        certificate: that of the peer if TLS was verified.
        tls_version: the version of TLS; empty without TLS.
    """

    start: Connection.Start | None
    answer: bytes = b""
    certificate: dict[str, Any] | None = None
    tls_version: str = ""


async def reach(endpoint: Endpoint, own: RabbitMQSettings, limit: float, findings: Report) -> Peer | None:
    """Look up, connect, set up TLS and ask for the protocol; return the broker, or ``None`` where that fails.

    Args:
        endpoint: which broker.
        own: how TLS is set up.
        limit: the time for each step, in seconds.
        findings: to which one line for each step is added.
    """
    addresses = await _resolve(endpoint, limit, findings)
    for number, address in enumerate(addresses):
        if await _connects(endpoint, address, limit, findings, last=number == len(addresses) - 1):
            return await _greet(endpoint, own, address, limit, findings)
    return None


async def _resolve(endpoint: Endpoint, limit: float, findings: Report) -> list[str]:
    host = endpoint.host
    look_up = partial(socket.getaddrinfo, host, endpoint.port, type=socket.SOCK_STREAM)
    try:
        async with asyncio.timeout(limit):
            found = await asyncio.get_running_loop().run_in_executor(DaemonExecutor(1, "doctor-dns"), look_up)
    except TimeoutError:
        problem, advice = f"no name server answered within {limit:g} s", "check /etc/resolv.conf and the network"
    except (OSError, UnicodeError) as error:
        problem = f"the name cannot be resolved: {error.args[-1] if error.args else error}"
        advice = "check the host name in the configuration, and that this machine's name server knows it"
    else:
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        findings.append(Finding("dns", host, Status.OK, ", ".join(addresses)))
        return addresses
    findings.append(Finding("dns", host, Status.FAILURE, problem, advice))
    return []


async def _connects(endpoint: Endpoint, address: str, limit: float, findings: Report, *, last: bool) -> bool:
    subject = f"{address}:{endpoint.port}"
    try:
        async with asyncio.timeout(limit), _opened(address, endpoint.port, None, ""):
            findings.append(Finding("tcp", subject, Status.OK, "connected"))
            return True
    except TimeoutError:
        problem = f"no answer within {limit:g} s"
        advice = "a firewall drops the packets, or the host is down: check its security group and routes"
    except ConnectionRefusedError:
        problem = "nobody listens there"
        advice = "check the port (5672, or 5671 for TLS), and that RabbitMQ runs: rabbitmq-diagnostics listeners"
    except OSError as error:
        problem, advice = str(error), "check the address and the network"
    findings.append(Finding("tcp", subject, Status.FAILURE if last else Status.WARNING, problem, advice))
    return False


async def _greet(
    endpoint: Endpoint, own: RabbitMQSettings, address: str, limit: float, findings: Report
) -> Peer | None:
    subject = f"{address}:{endpoint.port}"
    problem = refusal = ""
    peer = Peer(None)
    try:
        setup = tls_setup(endpoint, own)
        context, name = setup or (None, "")
        peer = await _ask(address, endpoint.port, limit, context, name)
        if setup and peer.tls_version and peer.start is None and not peer.answer:
            alert = await alert_of(address, endpoint.port, setup, limit)
            refusal = tls_refusal(alert, endpoint, own) if alert else ""
    except ConfigurationError as error:
        refusal = str(error)
    except ssl.SSLError as error:
        problem = error.reason or str(error)
        answers_in_tls = isinstance(error, ssl.SSLCertVerificationError) or "ALERT" in problem
        refusal = tls_refusal(error, endpoint, own) if answers_in_tls else ""
    except TimeoutError:
        problem = f"no answer within {limit:g} s"
    except (OSError, EOFError) as error:
        problem = str(error) or "it closes the connection"
    if refusal:
        findings.append(failure_of(subject, refusal))
        return None
    if peer.start is not None:
        findings.append(tls_finding(endpoint, subject, peer))
        return peer
    findings.append(await _misfit(endpoint, address, limit, peer, problem))
    return None


async def _misfit(endpoint: Endpoint, address: str, limit: float, peer: Peer, problem: str) -> Finding:
    """Find out whether the other of TLS and plain AMQP is spoken there."""
    subject, with_tls = f"{address}:{endpoint.port}", bool(endpoint.ssl)
    other = Peer(None)
    with contextlib.suppress(OSError, EOFError, TimeoutError):
        other = await _ask(address, endpoint.port, limit, None if with_tls else _unverified(), endpoint.host)
    if other.start is not None and with_tls:
        return Finding(
            "tls",
            subject,
            Status.FAILURE,
            "TLS is asked for, but this port speaks plain AMQP",
            "use the port for TLS, 5671 as a rule; or, in a network that nobody else can read, amqp:// instead of "
            "amqps:// (ssl = false)",
        )
    if other.tls_version:
        return Finding(
            "tls",
            subject,
            Status.FAILURE,
            "plain AMQP is asked for, but this port expects TLS",
            "use amqps:// instead of amqp:// (ssl = true), or the port without TLS, 5672 as a rule",
        )
    if with_tls and not peer.tls_version:
        return Finding(
            "tls",
            subject,
            Status.FAILURE,
            f"TLS cannot be set up: {problem}",
            "check the versions of TLS and, if the broker asks for one, the client's certificate",
        )
    text, advice = describe_answer(peer.answer, problem)
    return Finding("protocol", subject, Status.FAILURE, text, advice)


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent but the protocol header
    return context


@contextlib.asynccontextmanager
async def _opened(
    address: str, port: int, context: ssl.SSLContext | None, host: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(
        address, port, ssl=context, server_hostname=host if context else None
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _ask(address: str, port: int, limit: float, context: ssl.SSLContext | None, host: str) -> Peer:
    """Send the protocol header and read the first frame.

    Raises:
        TimeoutError, OSError, EOFError: there is none.
    """
    async with asyncio.timeout(limit), _opened(address, port, context, host) as (reader, writer):
        tls = writer.get_extra_info("ssl_object")
        certificate, version = (tls.getpeercert(), tls.version() or "TLS") if tls else (None, "")
        writer.write(_HEADER)
        frame = b""
        try:
            frame = head = await reader.readexactly(_FRAME_HEAD)
            size = int.from_bytes(head[3:7], "big")
            if head[:3] != b"\x01\x00\x00" or size > _START_MAX:
                return Peer(None, head, certificate, version)
            frame = head + await reader.readexactly(size + 1)
            _, _, start = pamqp.frame.unmarshal(frame)
        except asyncio.IncompleteReadError as error:
            return Peer(None, error.partial, certificate, version)
        except OSError as error:
            if not version or isinstance(error, ssl.SSLError):  # an alert that follows the handshake
                raise
            return Peer(None, b"", certificate, version)
        except (PAMQPException, ValueError, TypeError, LookupError):
            return Peer(None, frame[:_FRAME_HEAD], certificate, version)
        return Peer(start if isinstance(start, Connection.Start) else None, b"", certificate, version)
