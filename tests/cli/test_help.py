"""The list of commands, and what every command has in common."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

from rabibridge.cli.app import COMMANDS
from rabibridge.cli.lazy import load_command
from tests.support import fork_server
from tests.support.fork_server import server_of_commands


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return fork_server.run(server_of_commands, ["-m", "rabibridge", *arguments], text=True, timeout=60)


def test_every_command_is_listed_with_its_summary() -> None:
    listed = run("-h").stdout
    for name, summary in COMMANDS.items():
        assert f"  {name}" in listed
        assert str(load_command(name).help).splitlines()[0] == summary, f"the summary of {name} in cli/app.py"


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"], ["pign"]])
def test_what_needs_no_connection_imports_no_client(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom rabibridge.cli import main\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "try:\n    main()\n"
        "except SystemExit:\n    print(sorted({'asyncio', 'rabibridge.mq', 'rich', 'aiormq'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_supervisor_imports_neither_server_nor_client() -> None:
    program = "import sys, rabibridge.cli.commands.run\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    heavy = ("rabibridge_core._api", "rabibridge_core.rpc", "rabibridge_core._codec.codec", "rabibridge.mq", "aiormq")
    assert not [name for name in done.stdout.splitlines() if name.startswith(heavy)]


def test_version_is_that_of_the_distribution() -> None:
    assert run("version").stdout.strip() == run("--version").stdout.strip() == version("rabibridge-rabbitmq")


def test_a_wrong_command_names_the_nearest_one() -> None:
    done = run("pign")
    assert done.returncode == 2
    assert "'ping'" in done.stderr


def test_help_is_printed_where_no_command_is_given() -> None:
    done = run()
    assert done.returncode == 2
    assert "Commands:" in done.stdout + done.stderr
