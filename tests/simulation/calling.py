"""Makes the calls of a plan, each in a task of its client, and tells the checker how they end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge_core import Hedge, RetryRefused
from tests.simulation.services import SERVICES, item

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.simulation.checker import Record
    from tests.simulation.members import AnyClient
    from tests.simulation.plan import Call

__all__ = ["NUMBER", "make_call"]

NUMBER = "call"
"""The header that names the number of a call."""


async def make_call(client: AnyClient, call: Call, record: Record) -> None:
    """Make a call, and note in ``record`` what came of it."""
    try:
        record.result = await _SHAPES[call.shape](client, call, record)
    except BaseException as error:  # noqa: BLE001 - the checker judges it
        record.error = error.with_traceback(None)
        error.__context__ = None


def _view(client: AnyClient, call: Call, **more: Any) -> Any:
    options = dict(call.options)
    if options.pop("retry", False):
        options["retry"] = RetryRefused(attempts=3, base=0.05, cap=0.5)
    if options.pop("key", False):
        options["idempotency_key"] = f"key-{call.number}"
    if after := options.pop("hedge", None):
        options["hedge"] = Hedge(after=after, ratio=1.0)
    return client.options(timeout=call.timeout, headers={NUMBER: call.number}, **options, **more)


async def _call(client: AnyClient, call: Call, record: Record) -> Any:
    return await _view(client, call).call(SERVICES[call.service].function, call.number, call.seconds, call.how)


async def _progress(client: AnyClient, call: Call, record: Record) -> Any:
    view = _view(client, call, on_progress=lambda progress: record.got.append(progress.fraction))
    return await view.call(SERVICES[call.service].function, call.number, call.seconds, call.how)


async def _notify(client: AnyClient, call: Call, record: Record) -> Any:
    await _view(client, call).notify(SERVICES[call.service].function, call.number, call.seconds, call.how)


async def _broadcast(client: AnyClient, call: Call, record: Record) -> Any:
    function = SERVICES[call.service].function
    async for reply in _view(client, call).broadcast(function, call.number, call.seconds, call.how):
        record.got.append((reply.worker, reply.error, None if reply.error else reply.result))


async def _stream(client: AnyClient, call: Call, record: Record) -> Any:
    function = SERVICES[call.service].function
    async with _view(client, call).stream(function, call.number, call.count, call.seconds, call.how) as stream:
        async for one in stream:
            record.got.append(one)
            if call.seconds == 0.01:
                await asyncio.sleep(0.03)  # a reader that does not keep up


async def _upload(client: AnyClient, call: Call, record: Record) -> Any:
    async def source() -> AsyncIterator[int]:
        for index in range(call.count):
            if call.seconds:
                await asyncio.sleep(call.seconds / 2)
            record.given = index + 1
            yield item(call.number, index)

    return await _view(client, call).call(
        SERVICES[call.service].function, call.number, source(), call.seconds, call.how
    )


async def _map(client: AnyClient, call: Call, record: Record) -> Any:
    options = {name: value for name, value in call.options.items() if name not in ("key", "hedge")}
    if options.pop("retry", False):
        options["retry"] = RetryRefused(attempts=3, base=0.05, cap=0.5)
    view = client.options(timeout=call.timeout, headers={NUMBER: call.number}, **options)
    numbers = [[call.number + (index + 1) * 100, call.seconds, call.how] for index in range(call.count)]
    async for one in view.starmap(SERVICES[call.service].function, numbers, concurrency=2):
        record.got.append(one)


_SHAPES = {
    "call": _call, "progress": _progress, "notify": _notify, "broadcast": _broadcast, "stream": _stream,
    "upload": _upload, "map": _map,
}  # fmt: skip
