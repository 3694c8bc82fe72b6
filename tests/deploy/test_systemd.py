"""The unit of deploy/ under a systemd: start, reload, watchdog, death, stop.

It is used as it is, but for where the broker is, a shorter watchdog, and the file with the password: credentials need
mounts that not every container allows.
"""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from rabibridge import RMQClient
from tests.deploy.test_files import DEPLOY
from tests.support.own_python import needs_own_python
from tests.support.systemd import LIBRARIES, PYTHONPATH, Systemd, why_not
from tests.support.waiting import PATIENCE, until, until_true

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rabibridge_testing._servers.base import Broker

_UNIT = "rabibridge.service"
_SERVICES = """
import asyncio
import os
from collections.abc import AsyncIterator

from rabibridge import register_call


@register_call
async def pid():
    return os.getpid()


@register_call
async def slow() -> AsyncIterator[str]:
    yield "begun"
    await asyncio.sleep(2)
    yield "done"
"""
pytestmark = [pytest.mark.timeout(600), needs_own_python]


@pytest.fixture(scope="module")
def url(rabbitmq: Broker) -> str:
    return rabbitmq.fresh_vhost()


@pytest.fixture(scope="module")
def systemd(url: str) -> Iterator[Systemd]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    broker = URL(url)
    with Systemd() as systemd:
        systemd.write(f"/run/systemd/system/{_UNIT}", (DEPLOY / "systemd" / _UNIT).read_text())
        systemd.write(
            f"/run/systemd/system/{_UNIT}.d/tests.conf",
            "[Service]\n"
            f"Environment=RABBITMQ_HOST={broker.host} RABBITMQ_PORT={broker.port} RABBITMQ_USERNAME={broker.user}\n"
            f"Environment=RABBITMQ_VIRTUALHOST={broker.path[1:]} PYTHONPATH={PYTHONPATH} LD_LIBRARY_PATH={LIBRARIES}\n"
            "LoadCredential=\nEnvironment=RABIBRIDGE_PASSWORD_FILE=/etc/rabibridge/password\n"
            "StandardError=append:/run/log/rabibridge\n"
            "WatchdogSec=5\n",
        )
        systemd.write("/run/log/.keep", "")
        systemd.write("/etc/rabibridge/password", broker.password or "")
        systemd.write("/srv/rabibridge/services.py", _SERVICES)
        systemd.ctl("daemon-reload")
        yield systemd


async def test_the_unit_under_systemd(systemd: Systemd, url: str) -> None:
    systemd.ctl("start", _UNIT)  # returns when the unit says that it is ready
    first = systemd.show(_UNIT, "MainPID")
    assert systemd.show(_UNIT, "SubState") == "running"
    async with RMQClient(url=url) as client:

        async def answers() -> int:
            worker: int = await client.options(idempotent=True, timeout=PATIENCE).remote_call("pid")
            return worker

        def restarted(times: int) -> bool:
            return systemd.show(_UNIT, "NRestarts") == str(times)

        before = {await answers() for _ in range(20)}

        systemd.ctl("reload", _UNIT)

        async def replaced() -> bool:
            return await answers() not in before

        await until_true(replaced)
        assert systemd.show(_UNIT, "MainPID") == first
        await until(lambda: systemd.show(_UNIT, "SubState") == "running")

        for restarts, sent in enumerate((signal.SIGSTOP, signal.SIGKILL), start=1):  # the first is the watchdog's
            systemd.kill(int(systemd.show(_UNIT, "MainPID")), sent)
            await until(partial(restarted, restarts))
            await until(lambda: systemd.show(_UNIT, "SubState") == "running")
            assert await answers()
        assert systemd.show(_UNIT, "MainPID") != first

        items = client.options(timeout=PATIENCE).stream("slow")
        assert await anext(items) == "begun"
        systemd.ctl("stop", "--no-block", _UNIT)
        assert [item async for item in items] == ["done"]
    await until(lambda: systemd.show(_UNIT, "ActiveState") == "inactive")
    assert systemd.show(_UNIT, "Result") == "success"
    assert not [each for each in systemd.processes() if "rabibridge" in each and "systemd" not in each]
