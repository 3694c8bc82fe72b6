"""Client and server on a broker that limits the size of messages: what is too large ends its own call."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import os

import pytest

from rabibridge_core._client.options import CallOptions
from rabibridge_core.errors import ContentRejectedError, RemoteExecutionError
from rabibridge_testing.conformance.harness import PATIENCE, Bench, ConformanceBase, LimitMessages, service, soon

__all__ = ["MessageSizeConformance"]

_LIMIT = 200_000
_OPTIONS = CallOptions("any", PATIENCE)


class MessageSizeConformance(ConformanceBase):
    """The largest message that the broker accepts. All tests need the optional fixture ``message_limit``."""

    @pytest.mark.parametrize("idempotent", [False, True])
    async def test_a_request_that_is_too_large_ends_its_own_call(
        self, bench: Bench, limit_messages: LimitMessages, idempotent: bool
    ) -> None:
        async def length(body: bytes) -> int:
            return len(body)

        await limit_messages(_LIMIT)
        name = bench.name("length")
        await bench.server(service(length, name))
        client = await bench.client()
        options = CallOptions("any", PATIENCE, idempotent=idempotent)
        for _ in range(2):
            with pytest.raises(ContentRejectedError, match=f"the broker accepts at most {_LIMIT} "):
                await soon(client.call(name, (os.urandom(_LIMIT + 1),), {}, options))
            assert await soon(client.call(name, (os.urandom(_LIMIT - 100),), {}, options)) == _LIMIT - 100
        assert client.pending == 0

    @pytest.mark.parametrize("delivery", ["at-least-once", "at-most-once"])
    async def test_a_result_that_is_too_large_is_one_failure_after_one_run(
        self, bench: Bench, limit_messages: LimitMessages, delivery: str
    ) -> None:
        ran: list[int] = []

        async def make(size: int) -> bytes:
            ran.append(size)
            return os.urandom(size)

        await limit_messages(_LIMIT)
        name = bench.name("make")
        server = await bench.server(service(make, name, fetch_size=1, delivery=delivery))
        client = await bench.client()
        for _ in range(2):
            with pytest.raises(RemoteExecutionError, match=f"the broker accepts at most {_LIMIT} ") as failed:
                await soon(client.call(name, (_LIMIT + 1,), {}, _OPTIONS))
            assert failed.value.executed is True
            assert failed.value.error_type == "rabibridge_core.errors.ContentRejectedError"
            assert len(await soon(client.call(name, (_LIMIT - 100,), {}, _OPTIONS))) == _LIMIT - 100
        assert ran == [_LIMIT + 1, _LIMIT - 100] * 2
        assert server.active_requests == 0
