"""The suite on an event loop with eager tasks: each begins to run where it is made, and may end there."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from rabibridge_testing.conformance import bind
from tests.conformance.test_fake import (
    break_connection,
    broker,
    dead_letters,
    delete_queue,
    make_transport,
    message_limit,
    unreachable,
    user_transport,
)

__all__ = [
    "break_connection", "broker", "dead_letters", "delete_queue", "make_transport", "message_limit", "unreachable",
    "user_transport",
]  # fmt: skip

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.11 has no eager tasks")


@pytest.fixture(autouse=True)
async def eager_tasks() -> None:
    factory: Any = vars(asyncio)["eager_task_factory"]
    asyncio.get_running_loop().set_task_factory(factory)


bind(globals())
