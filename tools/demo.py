"""Show RabiBridge at work: a broker, a server process and a client process. It cleans up after itself.

``python -m tools.demo`` starts a RabbitMQ, ``python -m tools.demo redis`` a Redis, and ``memory`` neither.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from tools.apt import apt_install
from tools.broker import Broker, BrokerError, GivenBroker, provide_broker
from tools.redis_server import URL_VARIABLE, PrivateRedis, find_redis_server

_FOLDER = Path(__file__).parents[1] / "examples" / "demo"
_READY_TIMEOUT = 60.0
_CLIENT_TIMEOUT = 120.0
_STOP_TIMEOUT = 30.0


def _environment(url: str) -> dict[str, str]:
    return os.environ | {"RABIBRIDGE_URL": url}


async def _run_script(name: str, url: str) -> int:
    script = await asyncio.create_subprocess_exec(sys.executable, str(_FOLDER / name), env=_environment(url))
    try:
        return await asyncio.wait_for(script.wait(), _CLIENT_TIMEOUT)
    finally:
        if script.returncode is None:
            script.kill()
            await script.wait()


async def _two_processes(url: str) -> int:
    server = await asyncio.create_subprocess_exec(
        sys.executable, str(_FOLDER / "server.py"), env=_environment(url), stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    try:
        ready = await asyncio.wait_for(server.stdout.readline(), _READY_TIMEOUT)
        if not ready:
            print(f"The server ended with status {await server.wait()} before it was ready.", file=sys.stderr)
            return 1
        print(f"{ready.decode().strip()} Process {server.pid}, from {_FOLDER.name}/server.py", flush=True)
        return await _run_script("client.py", url)
    finally:
        if server.returncode is None:
            server.terminate()
            try:
                await asyncio.wait_for(server.wait(), _STOP_TIMEOUT)
            except TimeoutError:
                server.kill()
                await server.wait()


def _provide() -> Broker | None:
    try:
        broker = provide_broker(allow_install=True)
    except BrokerError as error:
        print(error, file=sys.stderr)
        return None
    if broker is None:
        print("No RabbitMQ can be had here: no rabbitmq-server, no Docker, and no way to install one.")
    return broker


def _in_memory() -> int:
    print("The demo runs on the in-memory broker, in one process.", flush=True)
    return asyncio.run(_run_script("in_memory.py", "memory://"))


def _over_rabbitmq() -> int:
    print("Starting a RabbitMQ ...", flush=True)
    broker = _provide()
    if broker is None:
        return _in_memory()
    with broker:
        whose = "yours" if isinstance(broker, GivenBroker) else "a private one, gone when the demo ends"
        print(f"RabbitMQ answers on {broker.host}:{broker.port} ({whose}).", flush=True)
        return asyncio.run(_two_processes(broker.url))


def _over_redis() -> int:
    print("Starting a Redis ...", flush=True)
    if url := os.environ.get(URL_VARIABLE):
        return asyncio.run(_two_processes(url))
    if find_redis_server() is None and not apt_install("redis-server"):
        print("No Redis can be had here: no redis-server, no valkey-server, and no way to install one.")
        return _in_memory()
    with PrivateRedis() as server:
        print(f"Redis answers on 127.0.0.1:{server.port} (a private one, gone when the demo ends).", flush=True)
        return asyncio.run(_two_processes(server.url))


_BROKERS = {"rabbitmq": _over_rabbitmq, "redis": _over_redis, "memory": _in_memory}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__)
    parser.add_argument("broker", nargs="?", choices=list(_BROKERS), default="rabbitmq", help="what carries the calls")
    status = _BROKERS[parser.parse_args().broker]()
    print("\nDone: server and client are stopped." if status == 0 else "\nThe demo failed.")
    return status


if __name__ == "__main__":
    sys.exit(main())
