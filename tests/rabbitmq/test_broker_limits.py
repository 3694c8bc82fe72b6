"""Limits that an operator sets on the broker: one error names the limit and how to raise it, and nothing churns."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiormq.exceptions import ConnectionNotAllowed
from yarl import URL

from rabibridge import ConfigurationError, ConnectionLostError, RMQClient
from rabibridge._connection.broker_limits import broker_limit
from rabibridge._connection.channel_numbers import ChannelNumbers, UserLimit
from rabibridge._connection.error_translation import translated
from rabibridge_core.settings import load_settings
from tests.rabbitmq.support import ctl, vhost_of
from tests.support.services import new_echo
from tests.support.waiting import soon

if TYPE_CHECKING:
    from tests.rabbitmq.support import Stage
    from tests.rabbitmq.users import Users
    from tools.broker import Broker

_TOO_MANY = "NOT_ALLOWED - number of channels opened for user 'x y' has reached the maximum allowed user limit of 9"


async def _limited(users: Users, broker: Broker, **limits: int) -> tuple[str, str]:
    """Return the URL and the name of a new user with these limits."""
    url = await users.add(".*", ".*", ".*")
    name = URL(url).user
    assert name is not None
    await _limit(broker, name, **limits)
    return url, name


async def _limit(broker: Broker, name: str, **limits: int) -> None:
    named = {limit.replace("_", "-"): maximum for limit, maximum in limits.items()}
    await ctl(broker, "set_user_limits", name, json.dumps(named))


async def test_a_server_whose_user_may_open_too_few_channels(stage: Stage, users: Users, governed: Broker) -> None:
    url, name = await _limited(users, governed, max_channels=5)
    functions = [new_echo() for _ in range(8)]
    for function in functions:
        stage.register(function)
    server = await stage.server(*functions, start=False, url=url)
    with pytest.raises(ConfigurationError) as refused:
        await soon(server.run_serve())
    for told in ("8 services need 16 channels", f"{name!r} 5 in all", f"rabbitmqctl set_user_limits {name} '{{"):
        assert told in str(refused.value)


async def test_a_server_that_fits_into_the_limit_of_its_user_serves(
    stage: Stage, users: Users, governed: Broker
) -> None:
    url, _ = await _limited(users, governed, max_channels=14)
    functions = [new_echo() for _ in range(6)]
    names = [stage.register(function) for function in functions]
    await stage.server(*functions, url=url)
    client = await stage.client()
    calls = [client.remote_call(service, (service,), timeout=30) for service in names]
    assert await soon(asyncio.gather(*calls)) == names


async def test_a_client_whose_user_may_open_no_channel(stage: Stage, users: Users, governed: Broker) -> None:
    url, name = await _limited(users, governed, max_channels=0)
    client = RMQClient(url=url)
    with pytest.raises(ConfigurationError, match=rf"the user '{name}' 0 in all connections together"):
        await soon(client.connect())
    await _limit(governed, name, max_channels=10)
    again = RMQClient(url=url)
    await soon(again.connect())
    await again.close()
    await client.close()


async def test_what_exceeds_the_limit_later_leaves_the_other_services_alone(
    stage: Stage, users: Users, governed: Broker
) -> None:
    url, name = await _limited(users, governed, max_channels=100)
    service = stage.register(echo := new_echo())
    server = await stage.server(echo, url=url)
    client = await stage.client()
    assert await client.remote_call(service, ("before",), timeout=30) == "before"
    await _limit(governed, name, max_channels=await _channels(governed, name) + 2)

    async def add_many() -> None:
        for number in range(100):
            server.add_service(new_echo(), name=f"{service}_{number}")
            await server.wait_serving(f"{service}_{number}")

    with pytest.raises(ConfigurationError, match="rabbitmqctl set_user_limits"):
        await soon(add_many())
    assert await client.remote_call(service, ("after",), timeout=30) == "after"


async def _channels(broker: Broker, user: str) -> int:
    rows = await ctl(broker, "list_connections", "user", "channels")
    return sum(int(channels) for name, channels in rows if name == user)


async def test_a_user_that_may_not_connect_at_all(users: Users, governed: Broker) -> None:
    url, name = await _limited(users, governed, max_connections=0)
    client = RMQClient(url=url)
    with pytest.raises(
        ConfigurationError, match=rf"limit .?0.? is reached; .*set_user_limits {name} .*max-connections"
    ):
        await soon(client.connect())


async def test_a_user_whose_connections_are_all_in_use(stage: Stage, users: Users, governed: Broker) -> None:
    url, name = await _limited(users, governed, max_connections=1)
    first = await stage.client(url=url)
    second = RMQClient(settings=replace(load_settings(url=url), connect_timeout=0.5))
    with pytest.raises(ConnectionLostError, match=rf"limit .?1.? is reached; .*set_user_limits {name} .*max-connect"):
        await soon(second.connect())
    await first.close()
    await soon(second.connect())
    await second.close()


async def test_more_queues_than_the_virtual_host_may_have(stage: Stage, governed: Broker) -> None:
    vhost = vhost_of(stage.url)
    await ctl(governed, "set_vhost_limits", "-p", vhost, '{"max-queues": 0}')
    server = stage.new_server()
    server.add_service(new_echo(), name="one_too_many")
    with pytest.raises(ConfigurationError) as refused:
        await soon(server.connect())
    for told in ("a limit of the broker is reached", f"set_vhost_limits -p {vhost} ", "max-queues"):
        assert told in str(refused.value)
    assert "different properties" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "maximum", "remedy"),
    [
        ("NOT_ALLOWED - connection refused: node connection limit (7) is reached", 7, "connection_max"),
        ("NOT_ALLOWED - access to vhost 'a b' refused for user 'u': connection limit (1) is reached", 1, "-p 'a b'"),
        ("PRECONDITION_FAILED - cannot declare queue 'q': queue limit in cluster (3) is reached", 3, "cluster_queue"),
        ("PRECONDITION_FAILED - cannot declare exchange 'e': exchange limit of 3 is reached", 3, "cluster_exchange"),
    ],
)
def test_limits_of_a_whole_broker(text: str, maximum: int, remedy: str) -> None:
    limit = broker_limit(text)
    assert limit is not None
    assert limit.maximum == maximum
    assert remedy in limit.remedy
    assert broker_limit("NOT_ALLOWED - vhost 'limit' not found") is None


def test_a_limit_that_was_met_is_tried_again_ever_more_rarely() -> None:
    now = 1000.0
    limit = UserLimit(lambda: now)
    numbers = ChannelNumbers(2047, limit)
    assert numbers.maximum == 2047
    for closed_for in (60, 120, 240):
        limit.learn(_TOO_MANY, 12)
        assert numbers.maximum == 9
        now += closed_for - 1
        assert numbers.maximum == 9
        now += 1
        assert numbers.maximum == 2047
    now += 7200
    limit.learn(_TOO_MANY, 12)  # after a long time without it, as if it were the first time
    now += 60
    assert numbers.maximum == 2047


def test_the_text_of_earlier_versions() -> None:
    limit = UserLimit(lambda: 0.0)
    limit.learn(_TOO_MANY.replace("9", "(9)"), 12)
    assert limit.maximum == 9


def test_what_other_connections_hold_is_found_by_trying_one_less() -> None:
    limit = UserLimit(lambda: 0.0)
    numbers = ChannelNumbers(2047, limit)
    for opened in (8, 7):
        limit.learn(_TOO_MANY, opened)
        assert numbers.maximum == opened - 1
    used = set(range(1, 7))
    with pytest.raises(ConfigurationError, match=r"all 6 channels .* 'x y' 9 in all .*set_user_limits 'x y'"):
        numbers.free(used)
    limit.learn("CONNECTION_FORCED - shutdown", 100)
    assert numbers.maximum == 6


async def test_too_many_channels_cost_a_connection_and_refuse_no_other() -> None:
    with pytest.raises(ConnectionLostError, match="number of channels"), translated("what"):
        raise ConnectionNotAllowed(_TOO_MANY)
    with pytest.raises(ConfigurationError, match="does not allow"), translated("what"):
        raise ConnectionNotAllowed("NOT_ALLOWED - vhost x not found")
