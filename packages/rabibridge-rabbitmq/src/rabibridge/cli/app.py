"""The commands ``run``, ``call``, ``ping`` and ``version``.

The address and password of the broker come from the environment or the configuration file, never from an argument,
which every user of the machine could read in the process list.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from rabibridge.cli.targets import load_target
from rabibridge.mq import RMQBase, RMQClient, RMQServer
from rabibridge_core._reporting.error_text import printable
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import RabiBridgeError, RemoteExecutionError

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["app"]

T = TypeVar("T")

_log = get_logger(__name__)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Serve and call functions over RabbitMQ. RABIBRIDGE_URL or the configuration file defines the connection.",
)


@app.command()
def run(
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
    """Serve the functions decorated with @register_call until SIGTERM or SIGINT."""
    if log_level is not None and not logging.getLevelNamesMapping().get(log_level.upper()):
        raise typer.BadParameter(
            f"{log_level!r} is not a log level; use DEBUG, INFO, WARNING, ERROR or CRITICAL", param_hint="--log-level"
        )
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _set_log_level(log_level or "INFO")

    async def serve() -> None:
        server = RMQServer()
        _set_log_level(log_level or server.settings.log_level or "INFO")
        _log.info("event loop: %s", type(asyncio.get_running_loop()).__module__.partition(".")[0])
        for target in targets:
            load_target(server, target)
        async with server:
            await server.run_serve(reload=reload)

    _run(serve())


@app.command()
def call(
    name: Annotated[str, typer.Argument(help="Name of the service.")],
    args: Annotated[
        list[str] | None,
        typer.Argument(help="Positional arguments as JSON; anything that is not valid JSON is passed as a string."),
    ] = None,
    kwargs: Annotated[str, typer.Option(help="Keyword arguments as a JSON object.")] = "{}",
    kind: Annotated[Literal["async", "sync", "any"], typer.Option(help="Kind of the function.")] = "any",
    timeout: Annotated[float, typer.Option(help="Timeout of the whole call, in seconds.")] = 10.0,
) -> None:
    """Call a function and print its result as JSON. The exit status is 1 if the call fails."""
    try:
        keywords = json.loads(kwargs)
    except ValueError as error:
        raise typer.BadParameter(f"not valid JSON: {error}", param_hint="--kwargs") from error
    if not isinstance(keywords, dict):
        raise typer.BadParameter(f'must be a JSON object such as {{"b": 1}}, got {kwargs}', param_hint="--kwargs")

    async def call_it() -> Any:
        async with RMQClient() as client:
            return await client.remote_call(
                name, [_value(text) for text in args or []], keywords, kind, timeout=timeout
            )

    result = _run(call_it())
    typer.echo(_json(result))


@app.command()
def ping() -> None:
    """Connect to the broker and print how long it took. The exit status is 1 if the broker cannot be reached."""

    async def connect() -> float:
        started = time.perf_counter()
        async with RMQBase():
            return time.perf_counter() - started

    typer.echo(f"connected in {_run(connect()) * 1000:.1f} ms")


@app.command("version")
def show_version() -> None:
    """Print the version."""
    typer.echo(version("rabibridge-rabbitmq"))


def _set_log_level(name: str) -> None:
    level = logging.getLevelNamesMapping()[name.upper()]
    logging.getLogger().setLevel(level)
    logging.getLogger("aiormq").setLevel(max(level, logging.INFO))  # at DEBUG it logs complete messages


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _json(result: Any) -> str:
    """Return a result as JSON without characters that control a terminal."""
    text = json.dumps(result, ensure_ascii=False, default=repr)
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop if it is installed; print errors of RabiBridge as one line, without a traceback."""
    try:
        import uvloop
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(work)
    except RabiBridgeError as error:
        # What the worker and the broker say must not control the terminal.
        typer.echo(f"error: {printable(str(error))}", err=True)
        if isinstance(error, RemoteExecutionError) and error.remote_traceback:
            typer.echo(printable(error.remote_traceback.rstrip(), lines=True), err=True)
        raise typer.Exit(1) from error
