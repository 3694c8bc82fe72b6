"""The examples that no page shows run, too."""

from __future__ import annotations

import pytest

from tests.docs.blocks import ROOT
from tests.docs.processes import clean_environment, run_python, running

ANY_BROKER = ROOT / "examples" / "any_broker"
SHOP = ROOT / "examples" / "shop"


def test_the_shop(vhost_url: str) -> None:
    environment = clean_environment(vhost_url)
    with running(SHOP / "shop_server.py", environment):
        printed = run_python(["shop_client.py"], SHOP, environment)
    assert printed.splitlines() == [
        "2 x tea: 5.00",
        "there is only 1 tea left",
        "{'tea': 1, 'cup': 1}",
    ]


@pytest.fixture(params=["memory", "RabbitMQ", "Redis"])
def any_url(request: pytest.FixtureRequest) -> str:
    """The URL of a broker of each kind."""
    if request.param == "memory":
        return "memory://"
    url: str = request.getfixturevalue("vhost_url" if request.param == "RabbitMQ" else "redis_url")
    return url


def test_one_program_on_every_broker(any_url: str) -> None:
    printed = run_python(["greetings.py"], ANY_BROKER, clean_environment(any_url))
    assert printed.splitlines() == [
        "result: Hello, Ada!",
        "error of the function: builtins.ValueError nobody to greet",
        "no such service: NoRouteError",
        "stream: [3, 2, 1]",
        "too late: ended at its deadline",
        "too many at once: some are refused: True",
    ]


def test_the_demo_in_one_process() -> None:
    printed = run_python(["in_memory.py"], ROOT / "examples" / "demo", clean_environment("memory://"))
    assert "no_such_function() -> NoRouteError" in printed
    assert printed.endswith("the same client stays usable: fibonacci(20) = 6765\n")


def test_the_trace() -> None:
    pytest.importorskip("opentelemetry.sdk")
    printed = run_python(["tracing.py"], ROOT / "examples", clean_environment("memory://"))
    kinds = [line.split()[:2] for line in printed.splitlines()]
    assert ["prices", "SERVER"] in kinds
    assert kinds.count(["price", "CLIENT"]) == kinds.count(["price", "SERVER"]) > 0
