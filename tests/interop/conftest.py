from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika  # type: ignore[import-untyped]  # it ships no types
import pytest

from rabibridge import RMQClient, RMQServer
from tools.peers import PeerError, PeerProcess, peer_home, peer_python

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from rabibridge_testing._servers.base import Broker

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.interop)
            item.add_marker(pytest.mark.timeout(300))  # the first one that needs the peer also installs it


@pytest.fixture(scope="session")
def python_of_peer() -> Path:
    try:
        return peer_python()
    except PeerError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def url(rabbitmq: Broker) -> str:
    """The default virtual host: 0.1.2 knows no other."""
    return rabbitmq.url_of("/")


@pytest.fixture
def service_name(url: str, unique_name: Callable[[str], str]) -> Iterator[str]:
    """A name for a service, whose queues are removed when the test is over."""
    name = unique_name("interop")
    yield name
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        for kind in ("async", "sync"):
            channel.queue_delete(f"rpc_{kind}_{name}")


class Peers:
    """Starts processes of 0.1.2."""

    def __init__(self, python: Path, folder: Path, broker: Broker, processes: ExitStack) -> None:
        self._python = python
        self._folder = folder
        self._address: dict[str, Any] = {
            "host": broker.host,
            "port": broker.port,
            "username": broker.username,
            "password": broker.password,
        }
        self._processes = processes

    def client(self, serializer: str = "msgpack") -> PeerProcess:
        return self._start("calls.py", serializer, self._address)

    def server(self, name: str, limits: Mapping[str, int] = {}, serializer: str = "msgpack") -> PeerProcess:
        return self._start("serves.py", serializer, self._address | {"name": name, "limits": limits})

    def _start(self, script: str, serializer: str, config: dict[str, Any]) -> PeerProcess:
        home = peer_home(self._folder, self._python, serializer)
        process = PeerProcess(self._python, home, HERE / "peer_scripts" / script, config)
        self._processes.enter_context(process)
        assert process.event() == {"event": "ready"}
        return process


@pytest.fixture
def peers(python_of_peer: Path, tmp_path: Path, rabbitmq: Broker) -> Iterator[Peers]:
    with ExitStack() as processes:
        yield Peers(python_of_peer, tmp_path, rabbitmq, processes)


@pytest.fixture(scope="module")
def peer_client(
    python_of_peer: Path, tmp_path_factory: pytest.TempPathFactory, rabbitmq: Broker
) -> Iterator[PeerProcess]:
    """A client of 0.1.2 with msgpack, shared by the tests of a module."""
    with ExitStack() as processes:
        yield Peers(python_of_peer, tmp_path_factory.mktemp("peer"), rabbitmq, processes).client()


@asynccontextmanager
async def serving(server: RMQServer) -> AsyncIterator[None]:
    async with server:
        running = asyncio.create_task(server.run_serve())
        yield
        server.stop()
        await running


@pytest.fixture
async def serve(url: str, service_name: str) -> AsyncIterator[Callable[..., Awaitable[RMQServer]]]:
    """Serve a function under the test's service name on a server of ours, here in this process, until the test ends."""
    async with AsyncExitStack() as servers:

        async def start(function: Callable[..., Any], serializer: str | None = None, **limits: Any) -> RMQServer:
            function.__name__ = service_name
            server = RMQServer(url=url, serializer=serializer)
            server.add_service(function, **limits)
            await servers.enter_async_context(serving(server))
            return server

        yield start


@pytest.fixture
async def client(url: str) -> AsyncIterator[RMQClient]:
    async with RMQClient(url=url) as client:
        yield client
