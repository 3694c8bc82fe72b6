"""A call by a thread that waits, whose reports of progress arrive in that thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from rabibridge_core._api.sync_iteration import iterate
from rabibridge_core._client.progress import ProgressHeaders
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rabibridge_core._api.sync_connection import SyncConnection
    from rabibridge_core._api.sync_iteration import Iteration
    from rabibridge_core._client.options import AnyOptions
    from rabibridge_core._protocol.progress import Progress

__all__ = ["call_with_progress"]

_log = get_logger(__name__)


class _Result(NamedTuple):
    value: Any


def call_with_progress(
    connection: SyncConnection,
    name: str,
    args: tuple[Any, ...] | list[Any],
    kwargs: dict[str, Any],
    options: AnyOptions,
    wanted: ProgressHeaders,
) -> Any:
    """Call, and let the function that wants the reports run in this thread while it waits.

    Meanwhile newer reports replace each other. What it raises is logged, and the call goes on, unless that is to end
    the thread, as KeyboardInterrupt is.
    """

    def begin(_: Iteration[Any]) -> AsyncGenerator[Progress | _Result]:
        return _reports_and_result(connection, name, args, kwargs, options, wanted.plain)

    for item in iterate(connection, begin):
        if isinstance(item, _Result):
            return item.value
        try:
            wanted.on_progress(item)
        except Exception:  # noqa: BLE001 - the call goes on, whatever its caller does with reports
            _log.exception("call of %r: on_progress has raised; the call goes on", name)
    raise AssertionError("a call has ended without a result and without an error")


async def _reports_and_result(
    connection: SyncConnection,
    name: str,
    args: tuple[Any, ...] | list[Any],
    kwargs: dict[str, Any],
    options: AnyOptions,
    headers: Any,
) -> AsyncGenerator[Progress | _Result]:
    newest: Progress | None = None
    changed = asyncio.Event()

    def report(progress: Progress) -> None:
        nonlocal newest
        newest = progress
        changed.set()

    options = (*options[:7], ProgressHeaders(headers, report))
    call = asyncio.get_running_loop().create_task(connection.remote_call(name, args, kwargs, options))
    call.add_done_callback(lambda _: changed.set())
    try:
        while not call.done() or newest is not None:
            await changed.wait()
            changed.clear()
            if newest is not None:
                reported, newest = newest, None
                yield reported
        yield _Result(call.result())
    finally:
        call.cancel()
        await asyncio.wait((call,))
