"""``rabibridge run``."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from rabibridge.cli.lazy import command_app
from rabibridge.cli.runtime import check_log_level, log_to_stderr, run, set_log_level
from rabibridge.cli.targets import load_target
from rabibridge.mq import RMQServer
from rabibridge_core._reporting.loggers import get_logger

__all__ = ["app"]

_log = get_logger(__name__)

app = command_app()


@app.command()
def serve(
    targets: Annotated[
        list[str], typer.Argument(help="Modules (app.services), Python files (services.py) or plug-in folders.")
    ],
    reload: Annotated[bool, typer.Option(help="Reload services when files in a plug-in folder change.")] = False,
    log_level: Annotated[
        str | None,
        typer.Option(
            help="DEBUG, INFO, WARNING, ERROR or CRITICAL. Default: RABIBRIDGE_LOG_LEVEL or the configuration file, "
            "else INFO."
        ),
    ] = None,
) -> None:
    """Serve functions until SIGTERM or SIGINT."""
    check_log_level(log_level)
    log_to_stderr(log_level or "INFO")

    async def work() -> None:
        server = RMQServer()
        set_log_level(log_level or server.settings.log_level or "INFO")
        _log.info("event loop: %s", type(asyncio.get_running_loop()).__module__.partition(".")[0])
        for target in targets:
            load_target(server, target)
        async with server:
            await server.run_serve(reload=reload)

    run(work())
