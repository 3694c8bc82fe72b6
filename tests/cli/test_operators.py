"""The commands of an operator, as processes on a real broker."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import aiormq
import pytest
from typer.testing import CliRunner
from yarl import URL

from rabibridge.cli.app import app
from tests.cli.conftest import Command
from tests.rabbitmq.operators import add_letter, declare_dead_letters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from typer.testing import Result


class Here(NamedTuple):
    """The command in this process, which takes a tenth of the time; :attr:`process` runs it in one of its own."""

    process: Command

    def __call__(self, *arguments: str, **variables: str) -> Result:
        """Run it to its end."""
        return CliRunner(env=self.process.environment() | variables).invoke(app, arguments, prog_name="rabibridge")


@pytest.fixture
def command(vhost_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    """The command on a virtual host of its own."""
    monkeypatch.chdir(tmp_path)
    return Here(Command(vhost_url, tmp_path))


def _on_broker(url: str, work: Callable[[Any], Awaitable[Any]]) -> Any:
    async def connected() -> Any:
        async with await aiormq.connect(url) as connection:
            return await work(await connection.channel())

    return asyncio.run(connected())


async def _five_letters(raw: Any) -> None:
    await declare_dead_letters(raw, "one")
    for number in range(4):
        await add_letter(raw, number, ("one", "two")[number % 2], f"because of \x1b[31m{number}")
    await raw.basic_publish(b"of another program", routing_key="rpc.dead")


def test_dead_letters_are_listed_and_shown(command: Here) -> None:
    assert command("dead", "list").stdout.strip() == "0 of 0 dead letters"
    _on_broker(command.process.url, _five_letters)
    listed = command("dead", "list")
    assert listed.exit_code == 0
    assert listed.stdout.count("because of \\x1b[31m") == 4
    assert "(foreign)" in listed.stdout
    assert listed.stdout.rstrip().endswith("5 of 5 dead letters")
    assert "only the oldest 1" in command("dead", "list", "--limit", "1").stderr
    found = json.loads(command("dead", "list", "--service", "one", "--json").stdout)
    assert (found["waiting"], found["looked_at"]) == (5, 5)
    first = found["letters"][0]
    assert (first["service"], first["queue"], first["deaths"]) == ("one", "rpc_async_one", 1)
    shown = json.loads(command("dead", "show", first["id"], "--json").stdout)
    assert (shown["args"], shown["kwargs"], shown["correlation_id"]) == ([0], {}, "0")
    assert "because of" in command("dead", "show", first["id"]).stdout
    gone = command("dead", "show", "no-such-letter")
    assert (gone.exit_code, gone.stdout) == (6, "")


def test_dead_letters_are_requeued_and_purged(command: Here) -> None:
    _on_broker(command.process.url, _five_letters)
    for arguments in (["requeue"], ["purge"]):
        asked = command("dead", *arguments)
        assert asked.exit_code == 2
        assert "4 dead letters" in asked.stderr
        assert "--yes" in asked.stderr
    moved = command("dead", "requeue", "--reason", "31m0", "--yes")
    assert (moved.exit_code, moved.stdout) == (0, "1 dead letter requeued, 0 left\n")
    moved = command("dead", "requeue", "--yes", "--json")
    assert moved.exit_code == 1  # the queue of one service is not there
    report = json.loads(moved.stdout)
    assert [letter["correlation_id"] for letter in report["requeued"]] == ["2"]
    assert [one["letter"]["correlation_id"] for one in report["refused"]] == ["1", "3", None]
    for arguments in (["requeue", "unknown"], ["purge", "unknown", "--yes"]):
        unknown = command("dead", *arguments)
        assert unknown.exit_code == 6
        assert "unknown" in unknown.stderr
    assert command("dead", "purge", "--older-than", "1h", "--yes").stdout == "0 dead letters deleted\n"
    assert json.loads(command("dead", "purge", "--yes", "--json").stdout) == {"purged": 2}
    assert command("dead", "purge", "--yes", "--foreign").stdout == "1 dead letter deleted\n"


@pytest.mark.parametrize(
    "arguments",
    [["dead", "list", "--older-than", "soon"], ["dead", "requeue", "--timeout", "0", "--yes"], ["queue", "delete"]],
    ids=["age", "timeout", "no name"],
)
def test_what_a_command_line_cannot_say(command: Here, arguments: list[str]) -> None:
    assert command(*arguments).exit_code == 2


def test_queues(command: Here) -> None:
    (command.process.folder / "services.py").write_text(
        "from rabibridge import register_call\n\n@register_call\ndef one(): ...\n"
    )
    with command.process.serving("services.py"):
        for arguments in (["rpc_sync_one"], ["--target", "services.py"]):
            assert json.loads(command("queue", "list", *arguments, "--json").stdout) == [
                {"queue": "rpc_sync_one", "waiting": 0, "consumers": 1}
            ]
        refused = command("queue", "delete", "one", "--yes")
        assert refused.exit_code == 1
        assert "stop the workers" in refused.stderr

    async def call(raw: Any) -> None:
        await raw.basic_publish(b"", routing_key="rpc_sync_one")
        await raw.basic_publish(b"", routing_key="rpc_sync_one")

    _on_broker(command.process.url, call)
    asked = command("queue", "purge", "one")
    assert asked.exit_code == 2
    assert "rpc_sync_one: 2 calls to delete" in asked.stderr
    assert command("queue", "purge", "one", "--yes").stdout == "rpc_sync_one: 2 calls deleted\n"
    assert command("queue", "delete", "one", "--yes").stdout == "rpc_sync_one: deleted, with 0 calls\n"
    gone = command("queue", "delete", "one", "--yes")
    assert (gone.exit_code, gone.stdout) == (6, "")


def test_a_quorum_queue_is_deleted_too_but_not_under_its_worker(command: Here) -> None:
    (command.process.folder / "services.py").write_text(
        'from rabibridge import register_call\n\n@register_call(queue_type="quorum")\ndef one(): ...\n'
    )
    with command.process.serving("services.py"):
        assert command("queue", "delete", "one", "--yes").exit_code == 1
    assert command("queue", "delete", "one", "--yes").stdout == "rpc_sync_one: deleted, with 0 calls\n"


def test_doctor(command: Here) -> None:
    (command.process.folder / "services.py").write_text(
        "from rabibridge import register_call\n\n@register_call(queue_size=5)\ndef one(): ...\n"
    )
    healthy = command("doctor", "services.py")
    assert healthy.exit_code == 0, healthy.stdout
    assert healthy.stdout.splitlines()[-1].endswith("0 warning, 0 failure")

    async def declare(raw: Any) -> None:
        await raw.queue_declare(
            "rpc_sync_one", durable=True, arguments={"x-max-length": 6, "x-overflow": "reject-publish"}
        )

    _on_broker(command.process.url, declare)
    ill = command("doctor", "services.py", "--json")
    assert ill.exit_code == 1
    report = json.loads(ill.stdout)
    assert report["status"] == "failure"
    bad = {finding["check"]: finding for finding in report["findings"] if finding["status"] != "ok"}
    assert bad.keys() == {"queue", "consumers"}
    assert "queue_size is 6 on the broker, 5 here" in bad["queue"]["text"]
    alone = command("doctor", RABIBRIDGE_URL=str(URL(command.process.url).with_password("wrong")))
    assert alone.exit_code == 1
    assert "credentials" in alone.stdout
    assert "wrong" not in alone.stdout.replace("what is wrong", "")
    assert command("doctor", "no_such_module").exit_code == 1
    nothing = command("doctor", RABIBRIDGE_URL="", RABIBRIDGE_CONFIG="none")
    assert nothing.exit_code == 1
    assert "failure  configuration" in nothing.stdout


def test_each_command_as_a_process(command: Here) -> None:
    _on_broker(command.process.url, _five_letters)
    process = command.process
    identifier = json.loads(process("dead", "list", "--json").stdout)["letters"][0]["id"]
    assert json.loads(process("dead", "show", identifier, "--json").stdout)["args"] == [0]
    assert process("dead", "requeue", identifier).returncode == 0
    asked = process("dead", "purge")
    assert (asked.returncode, asked.stdout) == (2, "")
    assert "Traceback" not in asked.stderr
    assert "rpc_async_one" in process("queue", "list", "one").stdout
    assert process("queue", "purge", "one", "--yes").stdout == "rpc_async_one: 1 call deleted\n"
    assert process("queue", "delete", "one", "--yes").returncode == 0
    doctor = process("doctor", "--strict")
    assert doctor.returncode == 1
    assert "warning  dead letters" in doctor.stdout
    assert "\x1b" not in doctor.stdout
