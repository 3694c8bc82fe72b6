"""Finds out what ``schema`` and ``stubs`` describe: a target as ``run`` takes it, an OpenRPC document, or workers."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rabibridge.cli.exit_codes import ExitCode
from rabibridge.cli.output import print_line, print_warning
from rabibridge.cli.runtime import run
from rabibridge.cli.targets import load_server, use_app_dir
from rabibridge.settings import RABBITMQ
from rabibridge_core._reporting.error_text import printable
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.schemas import InterfaceDescription
from rabibridge_core.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rabibridge_core.introspection import Services
    from rabibridge_core.settings import Settings

__all__ = ["described_source", "described_targets", "described_workers", "end_with_failures", "write"]

_NOWHERE = "amqp://none:none@no-broker.invalid/"


def described_targets(targets: Sequence[str], app_dir: str, *, factory: bool) -> InterfaceDescription:
    """Return what is served by targets, as ``rabibridge run`` takes them. No broker is needed.

    Raises:
        RabiBridgeError: a target cannot be loaded or offers nothing.
    """

    async def load() -> InterfaceDescription:
        from rabibridge._api.server import RMQServer

        use_app_dir(app_dir)
        server = await load_server(targets, factory=factory, make=lambda: RMQServer(settings=settings))
        return InterfaceDescription.of_server(server.services)

    settings = _settings()
    return run(load())


def _settings() -> Settings:
    """Return the settings; where no broker is configured, with one that is never asked.

    A server that the target makes reads them for itself, and could not be made otherwise.
    """
    try:
        return load_settings(transport_name=RABBITMQ.name)
    except ConfigurationError:
        os.environ.setdefault("RABIBRIDGE_URL", _NOWHERE)
        return load_settings(transport_name=RABBITMQ.name)


def described_source(source: str, app_dir: str, *, factory: bool = False) -> InterfaceDescription:
    """Return what an OpenRPC document describes, a file that ends in .json or ``-``; or what a target serves.

    Raises:
        RabiBridgeError: there is no such thing, or it cannot be used.
    """
    if source != "-" and not source.endswith(".json"):
        return described_targets([source], app_dir, factory=factory)
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
        return InterfaceDescription.of_openrpc(json.loads(text))
    except ConfigurationError as error:  # a ValueError, too
        raise ConfigurationError(f"{source}: {error}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{source} cannot be read as JSON: {error}") from error


def described_workers(names: Sequence[str], timeout: float) -> InterfaceDescription:
    """Return what running workers tell, of all services or of those named.

    Raises:
        Exit: no worker has told anything.
    """

    async def ask() -> Services:
        from rabibridge.mq import RMQClient

        async with RMQClient() as client:
            return await client.services(timeout=timeout)

    found = run(ask())
    for worker, reason in found.refused:
        print_warning(f"{printable(worker)} does not tell: {printable(reason)}")
    wanted = [each for each in found if each.workers and (not names or each.name in names)]
    for each in wanted:
        if each.differing:
            print_warning(f"{printable(each.name)}: its workers differ; the latest started one is described")
    missing = [name for name in names if all(name != each.name for each in wanted)]
    if missing or not wanted:
        what = f"serves {', '.join(map(repr, missing))}" if missing else "has answered"
        print_warning(f"error: no worker that {what} has answered" if missing else f"error: no worker {what}")
        raise typer.Exit(ExitCode.NO_ROUTE)
    return InterfaceDescription.of_workers(wanted)


def write(text: str, output: Path | None) -> None:
    """Write a text to a file, at once and whole, or to standard output.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    if output is None:
        print_line(text.rstrip("\n"))
        return
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(output)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigurationError(f"{output} cannot be written: {error}") from error


def end_with_failures(described: InterfaceDescription) -> None:
    """Say what could not be described.

    Raises:
        Exit: there are services that are not described at all.
    """
    for note in described.undescribed:
        print_warning(f"warning: {printable(note)}")
    for name, why in described.failures.items():
        print_warning(f"error: service {printable(name)} is left out: {printable(why)}")
    if described.failures:
        raise typer.Exit(ExitCode.CONFIGURATION)
