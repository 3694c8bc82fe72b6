"""What a supervisor and its workers log: as JSON, or as a file of the user says."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.waiting import soon

if TYPE_CHECKING:
    from rabibridge import RMQClient
    from tests.workers.support import Program

_SHOP = """
import logging

from rabibridge import register_call

log = logging.getLogger("shop")


@register_call
async def sell(what):
    try:
        {}["price"]
    except KeyError:
        log.exception("no price of %s\\nfor anyone", what, extra={"shelf": {7}})
"""


async def test_every_line_is_a_json_object(program: Program, client: RMQClient) -> None:
    (program.folder / "shop.py").write_text(_SHOP)
    with program.command("shop.py", "services.py", "--workers", "1", "--log-format", "json") as running:
        await running.serves(1)
        (worker,) = running.workers
        await soon(client.remote_call("sell", ("tea",), timeout=60))
        await running.logged("no price of tea")
        await client.notify("end", 3)
        await running.logged("exited with code 3")
        await running.logged(" serves", 2)
        running.send(signal.SIGTERM)
        assert await running.ended() == 0
        lines: list[dict[str, Any]] = [json.loads(line) for line in running.log.splitlines()]
    for line in lines:
        assert {"time", "level", "logger", "message", "process"} <= line.keys()
        assert datetime.fromisoformat(line["time"]).tzinfo == UTC
    (sold,) = (line for line in lines if line["logger"] == "shop")
    assert sold["message"] == "no price of tea\nfor anyone"
    assert sold["exception"].startswith("Traceback ")
    assert sold["exception"].endswith("KeyError: 'price'")
    assert (sold["level"], sold["process"], sold["worker"], sold["shelf"]) == ("ERROR", worker, 1, "{7}")
    (died,) = (line for line in lines if "exited with code 3" in line["message"])
    assert (died["level"], died["process"]) == ("ERROR", running.pid)
    assert "worker" not in died


_TO_A_FILE = """
[formatters.short]
format = "%(process)d|%(levelname)s|%(name)s"

[handlers.file]
class = "logging.FileHandler"
filename = "its.log"
formatter = "short"

[root]
handlers = ["file"]
level = "INFO"
"""
_TO_A_FILE_INI = """
[loggers]
keys = root
[handlers]
keys = file
[formatters]
keys = short
[logger_root]
level = INFO
handlers = file
[handler_file]
class = FileHandler
args = ("its.log",)
formatter = short
[formatter_short]
format = %(process)d|%(levelname)s|%(name)s
"""


@pytest.mark.parametrize(("name", "text"), [("log.toml", _TO_A_FILE), ("log.ini", _TO_A_FILE_INI)])
async def test_a_file_says_where_all_of_them_log(program: Program, name: str, text: str) -> None:
    (program.folder / name).write_text(text)
    with program.command("services.py", "--workers", "1", "--log-config", name, "--pid-file", "pid") as running:
        while not ((log := program.folder / "its.log").exists() and "_server.service_set" in log.read_text()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        (worker,) = running.workers
        running.send(signal.SIGTERM)
        assert await running.ended() == 0
        assert running.log == ""
    lines = [line.split("|") for line in log.read_text().splitlines()]
    assert {int(pid) for pid, _, _ in lines} == {worker, running.pid}


_WRONG = {
    "missing.toml": (None, "No such file or directory"),
    "missing.ini": (None, "No such file or directory"),
    "broken.json": ('{"version": 1,', "JSONDecodeError: "),
    "class.json": ('{"handlers": {"h": {"class": "logging.Nowhere"}}}', "Cannot resolve 'logging.Nowhere'"),
    "empty.ini": ("", "'formatters' is missing"),
}


async def test_a_file_that_cannot_be_used_is_one_error(program: Program) -> None:
    for name, (text, error) in _WRONG.items():
        if text is not None:
            (program.folder / name).write_text(text)
        with program.command("services.py", "--workers", "2", "--log-config", name) as running:
            assert await running.ended() == 3
            assert running.log.startswith(f"error: ConfigurationError: log_config {name}: ")
            assert error in running.log
            assert running.log.count("\n") == 1
