"""The commands of docs/operations.md run, one after the other, on a broker with what the page is about."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import aiormq
from typer.testing import CliRunner

from rabibridge.cli.app import app
from tests.docs.blocks import ROOT, blocks_of
from tests.rabbitmq.operators import add_letter, declare_dead_letters

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PAGE = ROOT / "docs" / "operations.md"
COMMANDS = [line for block in blocks_of(PAGE) if block.language == "sh" for line in block.text.splitlines()]
SERVICES = """
from rabibridge import register_call

@register_call
async def resize(): ...
"""


async def _prepare(url: str) -> None:
    async with await aiormq.connect(url) as connection:
        raw = await connection.channel()
        await declare_dead_letters(raw)
        for name in ("resize", "thumbnail"):
            await raw.queue_declare(f"rpc_async_{name}", durable=True, arguments={"x-overflow": "reject-publish"})
        for number in range(6):
            name = ("resize", "thumbnail")[number % 2]
            await add_letter(raw, number, name, "redelivery_limit=5", headers={"rb-deadline": 1000})


def test_every_command_of_the_page_does_what_it_says(
    vhost_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "services.py").write_text(SERVICES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RABIBRIDGE_URL", vhost_url)
    asyncio.run(_prepare(vhost_url))

    def run(line: str) -> Any:
        words = shlex.split(line, comments=True)
        assert words[0] == "rabibridge"
        return CliRunner().invoke(app, words[1:], prog_name="rabibridge")

    identifier = json.loads(run("rabibridge dead list --service resize --json").stdout)["letters"][0]["id"]
    printed = {}
    for line in COMMANDS:
        done = run(re.sub(r"\bID\b", identifier, line))
        said = re.search(r"# exit status (\d+)", line)
        assert done.exit_code == (int(said[1]) if said else 0), f"{line}\n{done.output}{done.exception!r}"
        printed[line] = done.stdout
    assert "resize" in printed["rabibridge dead list"]
    assert printed["rabibridge dead requeue ID --timeout 60"] == "1 dead letter requeued, 0 left\n"
    assert printed["rabibridge dead requeue --service resize --timeout 5m --yes"] == "2 dead letters requeued, 0 left\n"
    assert printed["rabibridge queue purge resize --yes"] == "rpc_async_resize: 3 calls deleted\n"
    assert printed["rabibridge dead purge --service thumbnail --yes"] == "3 dead letters deleted\n"
    assert json.loads(printed["rabibridge doctor --json"])["status"] == "warning"


def test_the_commands_in_the_tables_exist() -> None:
    for command in re.findall(r"`(rabibridge [a-z][^`]*)`", PAGE.read_text(encoding="utf-8")):
        words = shlex.split(command)
        names = words[1 : 3 if words[1] in ("dead", "queue") else 2]
        done = CliRunner().invoke(app, [*names, "--help"], prog_name="rabibridge")
        assert done.exit_code == 0, command
        for option in (word for word in words if word.startswith("--")):
            assert option in done.output, command
