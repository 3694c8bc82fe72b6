from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.rpc import RpcServer

if TYPE_CHECKING:
    from pathlib import Path

    from rabibridge_testing import FakeBroker

HEAVY = (
    "aio_pika",
    "aiormq",
    "cloudpickle",
    "email",  # which importlib.metadata brings
    "importlib.metadata",
    "pamqp",
    "pydantic",
    "pydantic_settings",
    "tomllib",
    "typer",
    "uvloop",
    "watchfiles",
    "yarl",
    "zstandard",
)


@pytest.mark.parametrize("module", ["rabibridge", "rabibridge_core", "rabibridge.mq"])
def test_importing_it_loads_no_heavy_module(module: str) -> None:
    program = f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


def test_a_small_call_is_made_and_served_without_the_libraries_that_it_does_not_need() -> None:
    program = (
        "import asyncio, sys\n"
        "from rabibridge import RMQClient\n"
        "from rabibridge_core.plugins.resolver import override_transport\n"
        "from rabibridge_testing import FakeBroker\n"
        "async def double(x):\n"
        "    return 2 * x\n"
        "async def main():\n"
        "    broker = FakeBroker()\n"
        "    broker.add_service(double)\n"
        "    with override_transport(broker.transport_for):\n"
        "        async with RMQClient() as client:\n"
        "            assert await client.remote_call('double', (21,)) == 42\n"
        "asyncio.run(main())\n"
        "libraries = ('aio_pika', 'cloudpickle', 'pydantic', 'tomllib', 'typer', 'watchfiles', 'zstandard')\n"
        "print(*(name for name in libraries if name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


async def test_reloading_without_watchfiles_says_what_to_install(
    fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    async with RpcServer() as server:
        server.load_plugins(tmp_path)
        with pytest.raises(ConfigurationError, match=r"rabibridge-core\[reload\]"):
            await server.run_serve(reload=True)


def test_importing_it_connects_to_nothing_and_reads_no_settings() -> None:
    program = (
        "import sys\n"
        "def hook(event, args):\n"
        "    if event.startswith('socket.connect'):\n"
        "        raise SystemExit(f'{event}: {args}')\n"
        "    if event == 'open' and str(args[0]).endswith(('.env', '.toml')):\n"
        "        raise SystemExit(f'{event}: {args}')\n"
        "sys.addaudithook(hook)\n"
        "import rabibridge, rabibridge.mq\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_core_and_testing_load_without_the_rabbitmq_package() -> None:
    program = "import sys, rabibridge_core, rabibridge_testing; sys.exit('rabibridge' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)


def test_rabibridge_offers_the_very_objects_of_the_core() -> None:
    import rabibridge
    import rabibridge_core

    assert rabibridge_core.__file__ is not None, "a package of its own, not a namespace"
    shared = set(rabibridge.__all__) & set(rabibridge_core.__all__)
    assert {"QueueFullError", "register_call", "ServiceSchema", "ConnectionState"} <= shared
    for name in shared:
        assert getattr(rabibridge, name) is getattr(rabibridge_core, name)
