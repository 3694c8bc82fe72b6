"""``rabibridge run``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from rabibridge.cli.lazy import command_app
from rabibridge.cli.logs import configure_logging
from rabibridge.cli.monitoring import open_monitor
from rabibridge.cli.runtime import check_log_level, report_errors
from rabibridge.cli.targets import check_targets, watched_files
from rabibridge.cli.worker import ServeOptions
from rabibridge_core._hosting.program import loop_factory
from rabibridge_core._hosting.supervisor.cores import worker_count
from rabibridge_core._hosting.supervisor.options import SupervisorOptions, working_folder
from rabibridge_core._hosting.supervisor.pid_file import pid_file as pid_file_of
from rabibridge_core._hosting.supervisor.supervise import check_can_supervise, supervise

__all__ = ["app"]

app = command_app()

_EXAMPLES = """\b
Examples:
  rabibridge run services.py                       the functions of a file, in this process
  rabibridge run app.services --workers 4          those of a module, in four workers
  rabibridge run app.main:server --workers auto    a server with settings of its own
  rabibridge run services.py --reload              new code is served when the file is saved
  kill -HUP PID                                    replace the workers, without a failed call

The configuration file and variables such as RABIBRIDGE_WORKERS set the same options.
"""


@app.command(epilog=_EXAMPLES)
def serve(
    targets: Annotated[
        list[str],
        typer.Argument(
            help="Modules (app.services), Python files (services.py) or plug-in folders with registered functions; or "
            "one server (app.main:server, main.py:server)."
        ),
    ],
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Serve in N worker processes, under a supervisor; `auto`: one a core. Default: this process serves.",
        ),
    ] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Serve new code when Python files change.")] = False,
    factory: Annotated[bool, typer.Option("--factory", help="The target is a function that returns a server.")] = False,
    app_dir: Annotated[
        Path, typer.Option(help="Import modules from this folder.", exists=True, file_okay=False)
    ] = Path(),
    bind_core: Annotated[
        bool | None, typer.Option("--bind-core/--no-bind-core", help="Bind each worker to one core, by turns.")
    ] = None,
    loop: Annotated[
        Literal["auto", "asyncio", "uvloop"] | None,
        typer.Option(help="Event loop. Default: auto, which is uvloop if it is installed."),
    ] = None,
    drain_timeout: Annotated[
        float | None,
        typer.Option(metavar="S", help="Seconds that calls in flight have to finish when it stops. Default: 30."),
    ] = None,
    max_calls_per_worker: Annotated[
        int | None, typer.Option(metavar="N", help="Replace a worker after about N calls; 0: never, the default.")
    ] = None,
    max_memory_per_worker: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Replace a worker that uses more memory, as 512MiB; 0: never, the default."),
    ] = None,
    start_timeout: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds that a worker may take until it serves. Default: 60.")
    ] = None,
    wait_for_broker: Annotated[
        bool | None,
        typer.Option(
            "--wait-for-broker/--no-wait-for-broker", help="Wait for a broker that is away at start, however long."
        ),
    ] = None,
    opentelemetry: Annotated[
        bool | None,
        typer.Option(
            "--opentelemetry/--no-opentelemetry", help="Make spans and metrics of OpenTelemetry, also for clients."
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=0,
            max=65535,
            help="Serve /metrics, /healthz and /readyz of all workers here. Needs rabibridge-telemetry[prometheus].",
        ),
    ] = None,
    metrics_host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address of that port. Default: 127.0.0.1.")
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a flame graph of the process when it ends: .svg needs py-spy, .html pyinstrument. "
            "Workers add their process id to the name.",
        ),
    ] = None,
    pid_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the process id to this file while it runs.")
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(
            help="DEBUG, INFO, WARNING, ERROR or CRITICAL. Default: RABIBRIDGE_LOG_LEVEL or the configuration file, "
            "else INFO."
        ),
    ] = None,
    log_format: Annotated[
        Literal["text", "json"] | None, typer.Option(help="How lines of the log look. Default: text.")
    ] = None,
    log_config: Annotated[
        str | None, typer.Option(metavar="FILE", help="A file for Python's logging.config: .json, .toml or .ini.")
    ] = None,
) -> None:
    """Serve functions until SIGTERM or SIGINT."""
    check_log_level(log_level)
    given: dict[str, object] = {
        "workers": workers,
        "bind_core": bind_core,
        "loop": loop,
        "drain_timeout": drain_timeout,
        "max_calls_per_worker": max_calls_per_worker,
        "max_memory_per_worker": max_memory_per_worker,
        "start_timeout": start_timeout,
        "wait_for_broker": wait_for_broker,
        "metrics_port": metrics_port,
        "metrics_host": metrics_host,
        "log_level": log_level,
        "log_format": log_format,
        "log_config": log_config,
    }
    if opentelemetry is not None:  # not for the server alone: its functions may have clients
        os.environ["RABIBRIDGE_OPENTELEMETRY"] = str(opentelemetry).lower()
    with report_errors(), pid_file_of(pid_file):
        if profile is not None:
            from rabibridge_core._hosting.profiling import check_profile  # most processes are not profiled

            check_profile(str(profile))
            profile = Path(working_folder()) / profile
        _serve(targets, factory, str(Path(working_folder()) / app_dir), reload, given, profile)


def _serve(
    targets: list[str], factory: bool, app_dir: str, reload: bool, given: dict[str, object], profile: Path | None
) -> None:
    check_targets(targets, factory=factory)
    options = ServeOptions(
        targets,
        factory=factory,
        app_dir=app_dir,
        reload=False,
        supervised=True,
        settings={name: value for name, value in given.items() if value is not None},
        profile=None if profile is None else str(profile),
    )
    settings = options.load_settings()
    loop_factory(settings.loop)  # before a worker has to say that there is none
    in_place = reload and settings.workers is None and all(Path(target).is_dir() for target in targets)
    if settings.workers is None and (in_place or not reload):
        replace(options, reload=in_place, supervised=False).run()
        return
    check_can_supervise("--reload" if settings.workers is None else "--workers")
    configure_logging(settings.log_level or "INFO", settings.log_format, settings.log_config, supervised=True)
    monitor = None if settings.metrics_port is None else open_monitor(settings.metrics_host, settings.metrics_port)
    supervise(
        options.launch(),
        SupervisorOptions(
            worker_count(settings.workers or 1),
            bind_core=settings.bind_core,
            start_timeout=settings.start_timeout,
            max_calls=settings.max_calls_per_worker or 0,
            max_memory=settings.max_memory_per_worker or 0,
            watched=watched_files(targets, app_dir) if reload else (),
            monitor=monitor,
        ),
    )
