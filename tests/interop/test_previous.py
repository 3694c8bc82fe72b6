"""Clients and servers of the version before this one work with ours, in both directions."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from tools.previous import PreviousError, previous_python

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

_SCRIPTS = Path(__file__).with_name("previous_scripts")
_PATIENCE = 120.0
EXPECTED = {
    "result": 9,
    "large": True,
    "sync": 3,
    "any kind": 3,
    "many": True,
    "error": ["RemoteExecutionError", True, "builtins.LookupError", "not here"],
    "arguments": ["InvalidArgumentsError", False, "builtins.TypeError", ""],
    "declared": [
        "RemoteExecutionError", True, "serves.declared.<locals>.OutOfStock", "interop.out_of_stock: sku='A-17', left=2",
    ],
    "no service": ["NoRouteError", False],
    "one run for a key": [1, 1, 1],
    "idempotent": [2, 3],
    "persistent": 7,
    "deadline": True,
    "broadcast": [3],
    "notified": True,
    "cancelled on the worker": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def previous() -> Path:
    try:
        return previous_python()
    except PreviousError as error:
        if os.environ.get("CI") and "is not here" not in str(error):  # a shallow clone has no history to test against
            raise
        pytest.skip(str(error))


@asynccontextmanager
async def running(
    python: Path, script: str, config: dict[str, Any], variables: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RABI"))}
    environment |= variables
    process = await asyncio.create_subprocess_exec(
        str(python), str(_SCRIPTS / script), json.dumps(config), env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process: asyncio.subprocess.Process) -> Any:
    assert process.stdout is not None
    async with asyncio.timeout(_PATIENCE):
        return json.loads(await process.stdout.readline())


@pytest.mark.parametrize(
    ("caller", "server"),
    [("ours", "previous"), ("previous", "ours"), ("previous", "previous")],
    ids=["we call it", "it calls us", "it calls itself"],
)
async def test_every_kind_of_call(
    previous: Path, vhost_url: str, unique_name: Callable[[str], str], caller: str, server: str
) -> None:
    pythons = {"ours": Path(sys.executable), "previous": previous}
    config = {"url": vhost_url, "prefix": unique_name("previous") + "_", "any": "any"}
    async with running(pythons[server], "serves.py", config) as worker:
        assert "ready" in await line(worker)
        async with running(pythons[caller], "calls.py", config) as client:
            assert await line(client) == EXPECTED
