"""Real brokers in pytest: the fixtures ``rabbitmq`` and ``redis``, and ``fake_broker`` on them."""

from __future__ import annotations

import os
import secrets
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Literal, NoReturn, TypeAlias, TypeVar, get_args

import pytest

from rabibridge_testing._fake.context import brokers_made_by
from rabibridge_testing._fake.real_broker import RealBroker
from rabibridge_testing.servers import NO_RABBITMQ, NO_REDIS, GivenBroker, provide_rabbitmq, provide_redis

if TYPE_CHECKING:
    from rabibridge_testing.servers import Broker, RedisServer

__all__ = ["OPTION", "RealServers", "TransportName", "chosen_transport", "missing", "rabbitmq", "redis", "servers_of"]

T = TypeVar("T")
TransportName: TypeAlias = Literal["fake", "rabbitmq", "redis"]

OPTION: Final = "rabibridge_transport"
"""The option of the configuration file; the one of the command line is ``--rabibridge-transport``."""
_VARIABLE = "RABIBRIDGE_TEST_TRANSPORT"
_TRANSPORTS: tuple[TransportName, ...] = get_args(TransportName)


def missing(reason: str) -> NoReturn:
    """Skip the test for this reason, or fail it where the variable ``CI`` is set: nothing is left out there unseen."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _skip(reason: str) -> NoReturn:
    pytest.skip(reason)


def _there(server: T | None, reason: str) -> T:
    return missing(reason) if server is None else server


class RealServers:
    """The real brokers of one run of pytest: each is started when it is first needed, and runs until the end."""

    def __init__(self) -> None:
        """Start nothing."""
        self._stack = ExitStack()
        self._rabbitmq: Broker | None = None
        self._redis: RedisServer | None = None

    def rabbitmq(self) -> Broker:
        """Return the RabbitMQ, which runs."""
        if self._rabbitmq is None:
            self._rabbitmq = self._stack.enter_context(_there(provide_rabbitmq(), NO_RABBITMQ))
        return self._rabbitmq

    def redis(self) -> RedisServer:
        """Return the Redis, which runs."""
        if self._redis is None:
            self._redis = self._stack.enter_context(_there(provide_redis(), NO_REDIS))
        return self._redis

    def use(self, transport: TransportName) -> None:
        """Let the contexts of ``fake_broker`` be on this transport."""
        if transport != "fake":
            self._stack.enter_context(brokers_made_by(self._on_rabbitmq if transport == "rabbitmq" else self._on_redis))

    def _on_rabbitmq(self, strict: bool, auto_advance: bool) -> RealBroker:
        """Return a broker with a virtual host of its own, or a namespace on a RabbitMQ of somebody else."""
        _refuse_clock(auto_advance)
        broker = self.rabbitmq()
        apart = _namespace() if isinstance(broker, GivenBroker) else ""
        url = broker.fresh_vhost()
        return RealBroker(
            url, "RabbitMQ", _skip, namespace=apart, strict=strict, finished=lambda: broker.give_back(url)
        )

    def _on_redis(self, strict: bool, auto_advance: bool) -> RealBroker:
        _refuse_clock(auto_advance)
        return RealBroker(self.redis().url, "Redis", _skip, namespace=_namespace(), strict=strict)

    def stop(self) -> None:
        """Stop what was started."""
        self._stack.close()


def _refuse_clock(auto_advance: bool) -> None:
    if auto_advance:
        _skip("a clock that advances by itself needs the broker in memory: --rabibridge-transport=fake")


def _namespace() -> str:
    return f"test-{secrets.token_hex(6)}"


_SERVERS = pytest.StashKey[RealServers]()


def servers_of(config: pytest.Config) -> RealServers:
    """Return the real brokers of a run of pytest."""
    if _SERVERS not in config.stash:
        servers = config.stash[_SERVERS] = RealServers()
        config.add_cleanup(servers.stop)
    return config.stash[_SERVERS]


def chosen_transport(config: pytest.Config) -> TransportName:
    """Return what ``fake_broker`` runs on: as the command line, the environment or the configuration file say.

    Raises:
        pytest.UsageError: there is no such transport.
    """
    given = (
        ("--rabibridge-transport", config.getoption(OPTION)),
        (_VARIABLE, os.environ.get(_VARIABLE)),
        (OPTION, config.getini(OPTION)),
    )
    for source, value in given:
        if value:
            if value not in _TRANSPORTS:
                raise pytest.UsageError(f"{source} is {value!r}; use one of {', '.join(_TRANSPORTS)}")
            return next(name for name in _TRANSPORTS if name == value)
    return "fake"


@pytest.fixture(scope="session")
def rabbitmq(request: pytest.FixtureRequest) -> Broker:
    """A RabbitMQ that runs as long as the tests: its ``url``, and ``fresh_vhost()`` for tests that must not meet.

    Each process of pytest-xdist has a node of its own, with its own name, ports and data, unless the variable
    ``RABIBRIDGE_TEST_URL`` names one for all. A node ends with the process that started it, however that ends. Where
    none can be had, tests are skipped, or fail if ``CI`` is set; see :mod:`rabibridge_testing.servers`.
    """
    return servers_of(request.config).rabbitmq()


@pytest.fixture(scope="session")
def redis(request: pytest.FixtureRequest) -> RedisServer:
    """A Redis or Valkey that runs as long as the tests: its ``url``. Otherwise as ``rabbitmq``."""
    return servers_of(request.config).redis()
