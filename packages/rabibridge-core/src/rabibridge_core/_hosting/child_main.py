"""What a child process does: it imports the function of a service, and runs one call after the other.

It runs in the main thread, on an event loop of its own. The worker decides when it ends: signals that a terminal or an
operator sends to it have no effect.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import pickle
import signal
import sys
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from rabibridge_core._concurrency.background import repeat
from rabibridge_core._hosting.child_channel import ChildChannel, LogForwarder
from rabibridge_core._hosting.child_request import ChildProgress, ChildRequest, ChildSettler
from rabibridge_core._hosting.child_stacks import shown, tell_stacks
from rabibridge_core._hosting.file_package import package_of
from rabibridge_core._hosting.parent_death import die_with_parent
from rabibridge_core._observability.call_context import current_call_var
from rabibridge_core._protocol.payloads import decode_request
from rabibridge_core._reporting.error_text import message_of
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core._server.active_request import ActiveRequest
from rabibridge_core._server.injecting import executor_for
from rabibridge_core._server.observed import tell_begun, tell_ended
from rabibridge_core._server.process_scope import ProcessScope
from rabibridge_core._services.importable import ImportPath
from rabibridge_core._services.injection import injections_of
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.plugins.call_hooks import CallHooks
from rabibridge_core.plugins.observers import Subject
from rabibridge_core.plugins.observing import skips_request

if TYPE_CHECKING:
    import socket

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._server.executors import HandlerExecutor
    from rabibridge_core.plugins.observers import ServerObserver

__all__ = ["main"]

_log = get_logger(__name__)
_SUMMARY_INTERVAL = 5.0


def main(connection: socket.socket, parent: int) -> None:
    """Serve until the worker wants nothing more; ``parent`` is its process id."""
    channel = ChildChannel(connection)
    _prepare_signals(channel)
    die_with_parent()
    if os.getppid() != parent:
        sys.exit(0)  # it was gone before
    first = channel.receive()
    if first is None:
        sys.exit(0)
    _forward_logs(channel, first[0]["levels"])
    if first[0]["stacks"] is not None:
        tell_stacks(first[0]["stacks"])
    try:
        asyncio.run(_serve(channel, *first))
    except (BrokenPipeError, ConnectionResetError):
        sys.exit(0)  # the worker is gone, and nobody waits for an answer


def _prepare_signals(channel: ChildChannel) -> None:
    # Not SIG_IGN, which programs that the function starts would inherit, so that nobody could end them.
    signal.signal(signal.SIGINT, _ignore)
    signal.signal(signal.SIGTERM, _ignore)

    def after_fork() -> None:  # multiprocessing ends its processes by SIGTERM, too
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        channel.forget()

    os.register_at_fork(after_in_child=after_fork)


def _ignore(number: int, frame: object) -> None:
    pass


def _forward_logs(channel: ChildChannel, levels: dict[str, int]) -> None:
    logging.root.addHandler(LogForwarder(channel))
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)


def _found(path: list[str]) -> Any:
    return ImportPath(path[0], path[1], ()).find(importlib.import_module(path[0]))


def _service(told: dict[str, Any]) -> ServiceSchema:
    for folder in told["folders"]:
        package_of(Path(folder))
    function = _found(told["function"])
    raises = tuple(map(_found, told["raises"]))
    limits = ServiceLimits(validate=told["validate"], raises=raises, remote_traceback=told["remote_traceback"])
    schema = ServiceSchema.of(function, limits, told["service"])
    return replace(schema, executor="loop", uploads=(), injections=injections_of(function))


async def _serve(channel: ChildChannel, told: dict[str, Any], pickled: bytes) -> None:
    scope = ProcessScope()
    async with scope:
        try:
            codec: Codec = pickle.loads(pickled)  # noqa: S301 - from the parent process
            schema = _service(told)
            preparing = asyncio.ensure_future(scope.prepare(schema))
            await scope.attend((preparing,))
            preparing.result()
            executor = executor_for(schema, scope)
            observer = None if told["observed"] is None else _observer(schema.name, told["observed"])
        except BaseException as error:  # noqa: BLE001 - a module may raise anything when it is imported
            _log.error(
                "service %r cannot run in a child process", told["service"], exc_info=error,
                extra=log_fields("child.start_failed", service=told["service"], error=error),
            )  # fmt: skip
            channel.send({"kind": "failed", "text": f"{type(error).__name__}: {message_of(error)}"})
            return
        settler = ChildSettler(schema, codec)
        summaries = asyncio.ensure_future(repeat(_SUMMARY_INTERVAL, settler.failures.summarize))
        channel.send({"kind": "ready"})
        while (received := await channel.next()) is not None:
            request = ChildRequest(*received)
            active = ActiveRequest(schema.name, request)
            active._progress = ChildProgress(request, asyncio.get_running_loop(), channel.send)
            task = asyncio.create_task(_run(active, request, codec, executor, settler, observer), name=schema.name)
            with shown(active, task):
                await task
            channel.send(request.answer, request.answer_body)
        summaries.cancel()
        settler.failures.summarize()


def _observer(name: str, observed: dict[str, Any]) -> ServerObserver | None:
    """Return what observes calls in this process; the settings are those of the worker."""
    from rabibridge_core.settings import Settings  # most services need none of them here

    return CallHooks(subject=Subject("child", name, Settings(**observed), lambda: None)).server


async def _run(
    active: ActiveRequest,
    request: ChildRequest,
    codec: Codec,
    executor: HandlerExecutor,
    settler: ChildSettler,
    observer: ServerObserver | None,
) -> None:
    """Run one call, and settle it. It raises nothing."""
    if request.time_left is not None:
        active.ends_at = monotonic() + request.time_left
    current_call_var.set(active)
    ran = False
    failure: BaseException | None = None
    try:
        if observer is not None and (skips_request(observer, request) or not tell_begun(observer, active)):
            observer = None
        args, kwargs = decode_request(codec, request, on_loop=False)
        ran = True
        settler.settle_result(active, await executor.run(args, kwargs, active))
    except BaseException as error:  # noqa: BLE001 - a function may raise anything, also SystemExit
        cause = error.__cause__
        # What a coroutine must not raise, a function may, as it may in a thread.
        failure = raised = cause if type(cause) is StopIteration and type(error) is RuntimeError else error
        settler.settle_error(active, raised, ran=ran, shutting_down=False)
    finally:
        active.over = True
        if observer is not None:
            tell_ended(active, "succeeded" if failure is None else "failed", failure)
        failure = None  # a frame that keeps the exception which keeps the frame is a cycle
