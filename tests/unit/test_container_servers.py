"""Brokers in containers, without Docker: which broker is taken, and what testcontainers is asked for.

What it is asked for is compared with testcontainers itself; that a container of it runs, nothing here shows.
"""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import pytest

from rabibridge_testing import servers
from rabibridge_testing._servers.containers import ContainerNode, ContainerRedis, containers_work
from rabibridge_testing.servers import BrokerError, GivenBroker, PrivateNode

if TYPE_CHECKING:
    from rabibridge_testing.servers import Broker


testcontainers: Any = import_module("testcontainers.core.container")
_REAL = testcontainers.DockerContainer


class Container:
    """A container of testcontainers in which nothing runs."""

    made: list[Container]
    fails = False

    def __init__(self, image: str) -> None:
        self.image, self.asked = image, ["made"]
        self.made.append(self)

    def _note(self, what: str) -> Self:
        assert callable(getattr(_REAL, what)), f"testcontainers has no {what}"
        self.asked.append(what)
        return self

    def with_exposed_ports(self, port: int) -> Self:
        self.ports = [port]
        return self._note("with_exposed_ports")

    def waiting_for(self, strategy: Any) -> Self:
        assert type(strategy).__name__ == "LogMessageWaitStrategy"
        return self._note("waiting_for")

    def start(self) -> Self:
        if self.fails:
            raise OSError("no such image")
        return self._note("start")

    def stop(self) -> None:
        self._note("stop")

    def get_container_host_ip(self) -> str:
        self._note("get_container_host_ip")
        return "127.0.0.1"

    def get_exposed_port(self, port: int) -> str:
        assert port in self.ports
        self._note("get_exposed_port")
        return "1234"

    def exec(self, command: list[str]) -> Any:
        self._note("exec")
        return SimpleNamespace(exit_code=int("broken" in command), output=" ".join(command).encode())


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Container]:
    """The containers that are made."""
    Container.made = []
    monkeypatch.setattr(testcontainers, "DockerContainer", Container)
    monkeypatch.setattr(ContainerNode, "answers", lambda self: True)
    return Container.made


def test_a_rabbitmq_in_a_container(made: list[Container]) -> None:
    with ContainerNode() as node:
        assert (made[0].image, made[0].ports) == ("rabbitmq:4", [5672])
        assert node.url == "amqp://guest:guest@127.0.0.1:1234/"
        assert node.ctl("list_queues") == "rabbitmqctl --quiet --timeout 60 list_queues"
        with pytest.raises(BrokerError, match="rabbitmqctl broken failed on <ContainerNode"):
            node.ctl("broken")
    assert made[0].asked[-1] == "stop"
    with pytest.raises(BrokerError, match="does not run"):
        node.ctl("list_queues")


def test_a_redis_in_a_container(made: list[Container]) -> None:
    with ContainerRedis() as server:
        assert (made[0].image, made[0].ports) == ("valkey/valkey:8", [6379])
        assert server.url == "redis://127.0.0.1:1234/0"
    assert made[0].asked[-1] == "stop"


def test_a_container_that_cannot_be_started_is_removed(made: list[Container], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Container, "fails", True)
    with pytest.raises(OSError, match="no such image"):
        ContainerNode().start()
    assert made[0].asked[-1] == "stop"


def test_without_docker_there_are_no_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    assert not containers_work()


@pytest.mark.parametrize(
    ("url", "installed", "docker", "taken"),
    [
        ("amqp://elsewhere/", "rabbitmq-server", True, GivenBroker),
        ("", "rabbitmq-server", True, PrivateNode),
        ("", None, True, ContainerNode),
        ("", None, False, type(None)),
    ],
)
def test_which_broker_is_taken(
    url: str, installed: str | None, docker: bool, taken: type[Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(servers.URL_VARIABLE, url)
    monkeypatch.setattr(servers, "find_server", lambda: installed)
    monkeypatch.setattr(servers, "containers_work", lambda: docker)
    monkeypatch.setattr(PrivateNode, "__init__", lambda self: None)
    assert type(servers.provide_rabbitmq()) is taken
