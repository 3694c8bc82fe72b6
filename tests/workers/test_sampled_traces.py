"""Traces of programs that sample a part of them: each that begins is exported as a whole, by all its processes."""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.otlp_receiver import OtlpReceiver
from tests.workers.test_traces import TRACED

if TYPE_CHECKING:
    from tests.workers.support import Program

_SERVER, _CLIENT = 2, 3
CALLS = """
import asyncio
import sys

import traced

from rabibridge import RMQClient

async def main():
    async with RMQClient() as client:
        for _ in range(10):
            await asyncio.gather(*(client.options(timeout=60).remote_call("where") for _ in range(30)))
    if sys.argv[1] == "flush":
        traced.provider.force_flush()
        print("flushed", flush=True)
        await asyncio.Event().wait()
    if sys.argv[1] == "shutdown":
        traced.provider.shutdown()

asyncio.run(main())
"""


@pytest.mark.parametrize("end", ["flush", "shutdown", "exit"])
async def test_no_span_of_a_sampled_trace_is_lost(program: Program, end: str) -> None:
    (program.folder / "traced.py").write_text(TRACED)
    (program.folder / "calls.py").write_text(CALLS)
    with OtlpReceiver() as receiver:
        variables = {
            "COLLECTOR": receiver.endpoint,
            "PATIENCE": "60",
            "RABIBRIDGE_OPENTELEMETRY": "true",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.3",
        }
        with program.command("traced.py", "--workers", "2", variables=variables) as running:
            await running.serves(2)
            with program.python("calls.py", end, variables=variables) as calls:
                if end == "flush":
                    await calls.logged("flushed")
                    calls.send(signal.SIGKILL)
                    await calls.ended()
                else:
                    assert await calls.ended() == 0
            assert "Traceback" not in calls.log
            running.send(signal.SIGTERM)
            assert await running.ended() == 0
            assert "Traceback" not in running.log
        sent = Counter((span.trace_id, span.span_id) for _, span in receiver.named("where", _CLIENT))
        served = Counter((span.trace_id, span.parent_span_id) for _, span in receiver.named("where", _SERVER))
    assert served == sent
    assert set(sent.values()) == {1}
    assert 30 < len({trace_id for trace_id, _ in sent}) == len(sent) < 200
