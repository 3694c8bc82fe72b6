"""Print what the tests run on: ``python -m tools.ran_on``. Python, RabbitMQ, Erlang and the installed dependencies."""

from __future__ import annotations

import asyncio
import importlib.metadata
import platform
import re
import sys

import aiormq

from tools.broker import BrokerError, provide_broker

PACKAGES = ("rabibridge-core", "rabibridge-rabbitmq", "rabibridge-redis", "rabibridge-telemetry", "rabibridge-testing")


def report(*, dependencies: bool = False) -> str:
    """Return lines that name the versions of Python, RabbitMQ and Erlang.

    Args:
        dependencies: whether to add the installed version of each direct dependency of the packages.

    Raises:
        BrokerError: a RabbitMQ is installed, and does not start.
    """
    lines = [f"Python {platform.python_version()}, {_broker()}"]
    if dependencies:
        lines.append(", ".join(f"{name} {version}" for name, version in _dependencies().items()))
    return "Ran on: " + "\n        ".join(lines)


def _broker() -> str:
    broker = provide_broker()
    if broker is None:
        return "no RabbitMQ"
    with broker:
        return asyncio.run(_versions(broker.url))


async def _versions(url: str) -> str:
    connection = await aiormq.connect(url)
    try:
        properties = connection.server_properties
    finally:
        await connection.close()
    product, version, erlang = (str(properties[key]) for key in ("product", "version", "platform"))
    return f"{product} {version} on {erlang}"


def _dependencies() -> dict[str, str]:
    """Return the installed version of each direct dependency of the packages, extras included."""
    names = {
        match[0]
        for package in PACKAGES
        for requirement in importlib.metadata.requires(package) or ()
        if (match := re.match(r"[\w.-]+", requirement)) and match[0] not in PACKAGES
    }
    versions: dict[str, str] = {}
    for name in sorted(names):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


if __name__ == "__main__":
    try:
        print(report(dependencies=True))
    except BrokerError as error:
        sys.exit(str(error))
