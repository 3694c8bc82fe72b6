"""The fixtures rabbitmq and redis, and fake_broker on real brokers, in runs of pytest of their own.

These take some seconds more than others: each run starts a private node, as it does for its users.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rabibridge_testing.servers import REDIS_URL_VARIABLE, URL_VARIABLE
from tools.broker.fixtures import vhost_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rabibridge_testing.servers import RedisServer

__all__ = ["vhost_url"]

SAMPLE = Path(__file__).with_name("sample")
_LESS = [
    word for name in ("benchmark", "cacheprovider", "hypothesispytest", "timeout") for word in ("-p", f"no:{name}")
]
_AUTO = ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]
_NONE = {URL_VARIABLE: "", REDIS_URL_VARIABLE: "", "PATH": "", "RABIBRIDGE_TEST_REDIS_SERVER": "none-here"}


def environment(given: Mapping[str, str]) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "RABIBRIDGE", "CI"))
    }
    return {**inherited, "MODE": "auto", "PYTHONDONTWRITEBYTECODE": "1", **given}


def run_pytest(folder: Path, *options: str, **given: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", *_LESS, *_AUTO, *options],
        cwd=folder,
        env=environment(given),
        capture_output=True,
        text=True,
        timeout=250,
    )
    return done.stdout + done.stderr


def test_the_sample_project_on_rabbitmq(vhost_url: str) -> None:
    said = run_pytest(
        SAMPLE, "-p", "no:xdist", "--rabibridge-transport=rabbitmq", "sample_async.py", "sample_sync.py",
        **{URL_VARIABLE: vhost_url},
    )  # fmt: skip
    assert "7 passed, 1 skipped" in said, said
    assert "fake_broker.lose_connection needs the broker in memory, and this test runs on RabbitMQ" in said


def test_the_sample_project_on_redis(redis: RedisServer) -> None:
    said = run_pytest(
        SAMPLE, "-p", "no:xdist", "sample_async.py", "sample_sync.py",
        **{REDIS_URL_VARIABLE: redis.url, "RABIBRIDGE_TEST_TRANSPORT": "redis"},
    )  # fmt: skip
    assert "7 passed, 1 skipped" in said, said
    assert "runs on Redis" in said


TESTS = """
import os
import pytest
from rabibridge import RMQClient


@pytest.mark.parametrize("number", range(8))
async def test_it(fake_broker, redis, number):
    print("AT", os.environ["PYTEST_XDIST_WORKER"], redis.url)
    fake_broker.stub("add", returns=number)
    async with RMQClient() as client:
        assert await client.call("add") == number
    fake_broker.assert_called_once("add")
"""


def test_processes_of_xdist_have_servers_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    said = run_pytest(tmp_path, "-n2", "-rP", "--rabibridge-transport=redis", **{REDIS_URL_VARIABLE: ""})
    assert "8 passed" in said, said
    found = set(re.findall(r"AT (\w+) (redis://\S+)", said))
    assert len(found) == len({worker for worker, _ in found}) == len({url for _, url in found}) > 1


WAITS = """
import sys


def test_it({fixture}):
    print("AT", {fixture}.url, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("fixture", ["redis", "rabbitmq"])
def test_a_killed_run_leaves_no_server(fixture: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(fixture)  # skips where there is none
    (tmp_path / "test_it.py").write_text(WAITS.format(fixture=fixture))
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-s", *_LESS, "-p", "no:xdist"],
        cwd=tmp_path,
        env=environment({URL_VARIABLE: "", REDIS_URL_VARIABLE: "", "TMPDIR": str(tmp_path)}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stdout is not None
        port = next(int(found[1]) for line in run.stdout if (found := re.search(r"AT \S+:(\d+)/", line)))
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            os.killpg(run.pid, signal.SIGKILL)
            with contextlib.suppress(ConnectionError):
                while connection.recv(64):  # ends when the server does
                    pass
    deadline = time.monotonic() + 60
    while left := list(tmp_path.glob("rabibridge-*")):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)  # another process removes it


@pytest.mark.parametrize("ci", ["", "true"])
def test_without_a_server_tests_are_skipped_or_fail_where_ci_is_set(ci: str, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "from rabibridge_testing import servers\n"
        "servers.find_server = servers.find_redis_server = lambda: None\n"
        "servers.containers_work = lambda: False\n"
    )
    (tmp_path / "test_it.py").write_text(
        "def test_rabbitmq(rabbitmq):\n    pass\n\n\ndef test_redis(redis):\n    pass\n"
    )
    said = run_pytest(tmp_path, "-p", "no:xdist", **{**_NONE, "CI": ci} if ci else _NONE)
    containers = "install rabibridge-testing[containers] where Docker"
    assert f"no RabbitMQ: install rabbitmq-server, {containers} runs, or" in said
    assert f"no Redis: install redis-server or valkey-server, {containers}" in said
    assert ("2 errors" if ci else "2 skipped") in said


def test_a_transport_that_there_is_not_is_refused(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, "-p", "no:xdist", "--rabibridge-transport=kafka")
    assert "--rabibridge-transport is 'kafka'; use one of fake, rabbitmq, redis" in said
