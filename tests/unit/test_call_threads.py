"""Threads that a handler starts: the call goes with the functions that it is given to."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rabibridge_core._observability.call_context import current_call, inherited_time
from tests.unit.scripted_requests import ScriptedRequest, make_service, until


def _look(prefix: str = "") -> tuple[str, float | None]:
    return prefix + current_call().correlation_id, inherited_time()


async def _answer_of(handler: Any, *, is_async: bool = True) -> Any:
    service = make_service(handler)
    request = ScriptedRequest(correlation_id=b"id", time_left=20.0)
    service.received(request)
    await until(lambda: request.settled)
    await service.stop(0)
    return request.answer


async def test_run_in_thread() -> None:
    async def handler() -> Any:
        assert threading.current_thread() is threading.main_thread()
        return await current_call().run_in_thread(_look, prefix="the ")

    code, (found, left) = await _answer_of(handler)
    assert (code, found) == (0, "the id")
    assert 0 < left <= 20.0


@pytest.mark.parametrize("where", ["executor", "pool", "thread"])
async def test_functions_that_are_bound(where: str) -> None:
    with ThreadPoolExecutor(1) as pool:

        async def handler() -> Any:
            call = current_call()
            if where == "executor":
                return await call.run_in_executor(pool, _look)
            if where == "pool":
                bound = call.bind(_look)
                return [await asyncio.wrap_future(pool.submit(bound)) for _ in range(2)][1]
            seen: list[Any] = []

            def look() -> None:
                seen.append(_look())

            thread = threading.Thread(target=call.bind(look))
            thread.start()
            await asyncio.to_thread(thread.join)
            return seen[0]

        code, (found, left) = await _answer_of(handler)
    assert (code, found) == (0, "id")
    assert 0 < left <= 20.0


async def test_a_sync_handler_binds_as_well() -> None:
    def handler() -> Any:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(current_call().bind(_look), ["a ", "b "]))

    code, found = await _answer_of(handler)
    assert (code, [name for name, _ in found]) == (0, ["a id", "b id"])


async def test_without_it_a_thread_belongs_to_no_call() -> None:
    async def handler() -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, inherited_time)

    assert await _answer_of(handler) == [0, None]
