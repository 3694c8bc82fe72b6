"""The fixture fake_broker, where pytest loads the plug-in by itself, where it is imported, and where both happen."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import fork_server
from tests.support.fork_server import server_of_pytest

if TYPE_CHECKING:
    from pathlib import Path

_TEST = """
import asyncio

from rabibridge_core.rpc import RpcClient


def test_it(fake_broker):
    async def double(number):
        return 2 * number

    async def call():
        async with RpcClient() as client:
            return await client.remote_call("double", (21,))

    fake_broker.add_service(double)
    assert asyncio.run(call()) == 42
    assert [call.service for call in fake_broker.calls] == ["double"]
"""
_LESS = [
    word
    for name in ("asyncio", "benchmark", "cacheprovider", "faker", "hypothesispytest", "xdist")
    for word in ("-p", f"no:{name}")
]
_IMPORT = "from rabibridge_testing import fake_broker\n"


@pytest.mark.parametrize(
    ("loads", "conftest"),
    [
        pytest.param("all", "", id="loaded"),
        pytest.param("all", _IMPORT, id="loaded and imported"),
        pytest.param("all", f"{_IMPORT}import rabibridge_testing.conformance\n", id="loaded, the suite too"),
        pytest.param("all", 'pytest_plugins = ["rabibridge_testing"]\n', id="loaded and named"),
        pytest.param("others", _IMPORT, id="blocked and imported"),
        pytest.param("others", f"import rabibridge_testing.conformance\n{_IMPORT}", id="imported after the suite"),
        pytest.param("none", _IMPORT, id="imported"),
        pytest.param("none", 'pytest_plugins = ["rabibridge_testing.plugin"]\n', id="named as a module"),
    ],
)
def test_the_fixture_works(tmp_path: Path, loads: str, conftest: str) -> None:
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_it.py").write_text(_TEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "RABIBRIDGE"))}
    if loads == "none":
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    options = ["-p", "no:rabibridge_testing"] if loads == "others" else []
    command = ["-m", "pytest", "-q", *_LESS, *options]
    done = fork_server.run(server_of_pytest, command, cwd=tmp_path, env=environment, text=True, timeout=250)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_package_needs_no_pytest() -> None:
    program = "import sys, rabibridge_testing; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], timeout=250, check=True)
