from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import ConfigurationError, current_call
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge_core import Headers
    from tests.rabbitmq.support import Stage


def _function() -> Callable[[], Awaitable[dict[str, Any]]]:
    async def seen() -> dict[str, Any]:
        return {name: value for name, value in current_call().headers.items() if not name.startswith("rb-")}

    return seen


@pytest.mark.parametrize("timeout", [30, float("inf")], ids=["a deadline", "no deadline"])
async def test_every_kind_of_header_reaches_the_function(stage: Stage, timeout: float) -> None:
    headers: Headers = {"tenant": "caf\u00e9", "weight": 1.5, "urgent": True, "count": -(2**63), "raw": b"\x00\xff"}
    name = await stage.serve(_function())
    client = await stage.client()
    assert await soon(client.remote_call(name, timeout=timeout, headers=headers)) == headers
    assert await soon(client.remote_call(name, timeout=timeout)) == {}


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"CC": "other"}, "further routing keys"),
        ({"BCC": "other"}, "further routing keys"),
        ({f"header {number}": "x" * 8000 for number in range(20)}, "send large values as arguments"),
    ],
    ids=["CC", "BCC", "too large"],
)
async def test_what_would_close_the_channel_is_refused_here(stage: Stage, headers: Headers, message: str) -> None:
    name = await stage.serve(_function())
    client = await stage.client()
    with pytest.raises(ConfigurationError, match=message):
        await soon(client.remote_call(name, timeout=30, headers=headers))
    assert client.pending == 0
    assert await soon(client.remote_call(name, timeout=30, headers={"tenant": "7"})) == {"tenant": "7"}
