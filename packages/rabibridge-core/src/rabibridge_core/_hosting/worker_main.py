"""What a worker process does: it binds itself to its supervisor, and runs its program."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from rabibridge_core._hosting.parent_death import die_with_parent
from rabibridge_core._hosting.run import stop_servers
from rabibridge_core._hosting.worker.link import open_link
from rabibridge_core._hosting.worker.programs import run_program
from rabibridge_core._reporting.error_text import message_of, traceback_of
from rabibridge_core._reporting.user_frames import frames_of_user
from rabibridge_core.errors import ConnectionLostError, RabiBridgeError

if TYPE_CHECKING:
    import socket

    from rabibridge_core._hosting.worker.link import WorkerLink

__all__ = ["main"]


def main(connection: socket.socket, told: dict[str, Any]) -> NoReturn:
    """Run the program that the supervisor has told, and exit. ``told`` is what :class:`WorkerProcess` sends."""
    die_with_parent()
    if os.getppid() != told["parent"]:
        sys.exit(0)  # it was gone before
    if told["core"] is not None:
        os.sched_setaffinity(0, {told["core"]})
    program = told["program"]
    runs_again = program["kind"] == "again"
    if (descriptor := told.get("metrics")) is not None:
        from rabibridge_core._observability.metric_store import MetricStore  # most supervisors want no metrics
        from rabibridge_core._observability.metrics import start_metrics

        start_metrics(MetricStore.opened(descriptor))
    link = open_link(connection, told["number"], told["beat_interval"], runs_again=runs_again)
    link.stop = lambda again: stop_servers(again=again, why="")
    link.listen()
    if program["kind"] != "entry":  # a program of the user, with its own ideas of signals
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        code = run_program(program, lambda: link.tell("begins"))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - a program may raise anything; the supervisor logs it
        _tell(link, error)
        sys.exit(1)
    sys.exit(0 if code is None else int(str(code)))


def _tell(link: WorkerLink, error: BaseException) -> None:
    """Tell the supervisor why this worker ends, with the frames of the user's code."""
    frames = frames_of_user(error.__traceback__)
    known = isinstance(error, RabiBridgeError)
    text = message_of(error)
    if isinstance(error, SyntaxError) or (not known and frames is not None):
        trace = traceback_of(error, lambda: frames)
    else:
        trace = "" if known else traceback_of(error)
    link.tell(
        "failed",
        text=text if known else f"{type(error).__name__}: {text}",
        error=type(error).__name__,
        trace=trace,
        may_pass=isinstance(error, ConnectionLostError),
    )
