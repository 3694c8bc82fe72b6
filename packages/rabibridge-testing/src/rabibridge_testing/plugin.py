"""The pytest plug-in: provides the fixtures ``fake_broker``, ``rabbitmq`` and ``redis``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_testing._fake.context import fake_broker_context
from rabibridge_testing._fixtures import OPTION, chosen_transport, rabbitmq, redis, servers_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from rabibridge_testing._fake.fake_broker import FakeBroker

__all__ = ["fake_broker", "pytest_addoption", "pytest_configure", "pytest_runtest_call", "rabbitmq", "redis"]

if "rabibridge_testing.conformance" not in sys.modules:  # pytest 8 warns of a module that is imported already
    pytest.register_assert_rewrite("rabibridge_testing.conformance")

_SCOPE, _STRICT, _AUTO_ADVANCE = "rabibridge_scope", "rabibridge_strict", "rabibridge_auto_advance"
_NO_NETWORK, _ALLOWED_HOSTS = "rabibridge_no_network", "rabibridge_allowed_hosts"
_MARKER = "fake_broker"
_SCOPES = ("function", "class", "module", "package", "session")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of the configuration file."""
    parser.addini(_SCOPE, f"the scope of the fixture fake_broker: {', '.join(_SCOPES)}", default="function")
    parser.addini(OPTION, "what fake_broker runs on: fake, rabbitmq or redis", default="")
    parser.getgroup("rabibridge").addoption(
        "--rabibridge-transport",
        dest=OPTION,
        default=None,
        metavar="fake|rabbitmq|redis",
        help="run the tests with the fixture fake_broker on a real broker (default: fake, the broker in memory)",
    )
    parser.addini(_STRICT, "whether fake_broker is strict unless a test says otherwise", type="bool", default=False)
    text = "whether the clock of fake_broker advances whenever nothing can run, unless a test says otherwise"
    parser.addini(_AUTO_ADVANCE, text, type="bool", default=False)
    text = "whether network connections are refused in tests with fake_broker, unless a test says otherwise"
    parser.addini(_NO_NETWORK, text, type="bool", default=False)
    parser.addini(
        _ALLOWED_HOSTS, f"hosts that may be connected to in spite of {_NO_NETWORK}", type="linelist", default=[]
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and choose what ``fake_broker`` runs on."""
    config.addinivalue_line(
        "markers", f"{_MARKER}(strict=True, auto_advance=True, no_network=True): how fake_broker is in this test"
    )
    servers_of(config).use(chosen_transport(config))


def _scope(fixture_name: str, config: pytest.Config) -> str:
    scope = str(config.getini(_SCOPE) if _knows(config) else "function")
    if scope not in _SCOPES:
        raise pytest.UsageError(f"{_SCOPE} is {scope!r}; use one of {', '.join(_SCOPES)}")
    return scope


def _knows(config: pytest.Config) -> bool:
    """Tell whether the options are declared: not, where a conftest imports the fixture and the plug-in is blocked."""
    try:
        config.getini(_SCOPE)
    except (KeyError, ValueError):
        return False
    return True


@pytest.fixture(scope=_scope)  # type: ignore[arg-type]  # one of the scopes, once it is called
def fake_broker(request: pytest.FixtureRequest) -> Iterator[FakeBroker]:
    """Connect every client and server that connects in this test to an in-memory broker, and return that broker.

    Those that a module made when it was imported are among them, unless they were connected before the test. The
    configured broker is not used. The fixture is synchronous, so it works with every pytest plug-in that runs async
    tests on asyncio. Its scope is the option ``rabibridge_scope`` of the configuration file, ``function`` by default.
    """
    options = {
        "auto_advance": _option(request, "auto_advance", _AUTO_ADVANCE),
        "no_network": _option(request, "no_network", _NO_NETWORK),
        "allowed_hosts": _option(request, "allowed_hosts", _ALLOWED_HOSTS, []),
    }
    with fake_broker_context(**options) as broker:
        broker.strict = _option(request, "strict", _STRICT)
        if request.scope == "function":
            _of_tests.append(broker)
        yield broker
        if broker in _of_tests:
            _of_tests.remove(broker)


_of_tests: list[FakeBroker] = []
"""The brokers that end with the test that runs now."""


def _option(request: pytest.FixtureRequest, name: str, ini: str, otherwise: Any = False) -> Any:
    marker = request.node.get_closest_marker(_MARKER)
    if marker is not None and name in marker.kwargs:
        return marker.kwargs[name]
    return request.config.getini(ini) if _knows(request.config) else otherwise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Verify strict brokers within the test, so that it fails itself; what failed in its body comes first."""
    try:
        result = yield
        for broker in _of_tests:
            broker.verify()
    finally:
        for broker in _of_tests:
            broker.strict = False
    return result
