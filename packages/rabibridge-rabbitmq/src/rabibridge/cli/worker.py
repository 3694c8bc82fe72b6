"""What ``rabibridge run`` does in the process that serves: this one, or each worker of a supervisor.

A supervisor imports this module to say what its workers run, and must not wait for anything that only these need.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rabibridge.cli.logs import configure_logging
from rabibridge.cli.targets import load_server, use_app_dir
from rabibridge.settings import RABBITMQ
from rabibridge_core._hosting.program import loop_factory, serve_program
from rabibridge_core._hosting.supervisor.options import WorkerLaunch
from rabibridge_core._hosting.worker.link import current_link
from rabibridge_core._hosting.worker.programs import entry_program
from rabibridge_core._observability.metrics import installed_metrics
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.settings import load_settings

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rabibridge_core._api.server import RpcServer
    from rabibridge_core.settings import Settings

__all__ = ["ServeOptions", "main"]

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What is served and how, as the command line says it.

    Attributes:
        targets: modules, files, folders, or one server.
        factory: whether the target names a function that returns the server.
        app_dir: where modules are imported from.
        reload: whether plug-in folders are reloaded in place.
        supervised: whether a supervisor starts the processes that serve.
        settings: settings that the command line gives, by name.
        profile: the file that a profile of the process is written to; ``None``: none is.
    """

    targets: list[str]
    factory: bool
    app_dir: str
    reload: bool
    supervised: bool
    settings: dict[str, Any]
    profile: str | None = None

    def launch(self) -> WorkerLaunch:
        """Return how a worker is started that serves this."""
        return WorkerLaunch(entry_program(__name__, "main", asdict(self)))

    def load_settings(self) -> Settings:
        """Return all settings: those of the command line, of the environment and of the configuration file.

        Raises:
            ConfigurationError: one is wrong.
        """
        return load_settings(require_broker=False, transport_name=RABBITMQ.name, options=self.settings)

    def run(self) -> None:
        """Serve in this process until a signal comes.

        Raises:
            RabiBridgeError: it cannot serve.
        """
        settings = self.load_settings()
        configure_logging(
            settings.log_level or "INFO", settings.log_format, settings.log_config, supervised=self.supervised
        )
        with self._profiled(), asyncio.Runner(loop_factory=loop_factory(settings.loop)) as runner:
            runner.run(self._serve(settings))

    def _profiled(self) -> AbstractContextManager[None]:
        if self.profile is None:
            return nullcontext()
        from rabibridge_core._hosting.profiling import profiled  # most processes are not profiled

        return profiled(self.profile, one_of_several=self.supervised)

    async def _serve(self, settings: Settings) -> None:
        _log.info(
            "event loop: %s", type(asyncio.get_running_loop()).__module__.partition(".")[0],
            extra=log_fields("process.event_loop"),
        )  # fmt: skip
        use_app_dir(self.app_dir)
        monitor = None
        if settings.metrics_port is not None and not self.supervised:
            from rabibridge.cli.monitoring import open_monitor

            monitor = open_monitor(
                settings.metrics_host, settings.metrics_port
            )  # before a server is made, which counts
        if (drain_timeout := self.settings.get("drain_timeout")) is not None:
            os.environ["RABIBRIDGE_DRAIN_TIMEOUT"] = str(drain_timeout)  # for a server that the target makes
        server = await load_server(self.targets, factory=self.factory, make=self._make_server)
        async with nullcontext() if monitor is None else monitor.beside(server):
            await serve_program(server, reload=self.reload, wait_for_broker=settings.wait_for_broker)

    def _make_server(self) -> RpcServer:
        from rabibridge._api.server import RMQServer  # a worker has no use for clients, which rabibridge.mq imports
        from rabibridge_core._api.server import RpcServer

        settings = load_settings(transport_name=RABBITMQ.name, options=self.settings)
        elsewhere = any(endpoint.scheme not in (*RABBITMQ.schemes, "memory") for endpoint in settings.endpoints)
        return (RpcServer if elsewhere else RMQServer)(settings=settings)  # the class is part of the worker's name


def main(argument: dict[str, Any]) -> None:
    """Serve in a worker process, as its supervisor has told."""
    assert current_link() is not None
    if installed_metrics() is not None:
        from rabibridge.cli.monitoring import count_in_worker  # most supervisors want no metrics

        count_in_worker()
    ServeOptions(**argument).run()
