"""``rabibridge schema``, ``schema diff`` and ``stubs``: files, exit statuses, and what they say."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.support import fork_server
from tests.support.fork_server import server_of_commands

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

_SERVICES = """
from rabibridge import RMQServer, register_call

@register_call
async def add(a: int, b: int = 0) -> int:
    return a + b

def make() -> RMQServer:
    server = RMQServer()
    server.add_service(add, name="added")
    return server
"""


@pytest.fixture
def rabibridge(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return the command, in a folder with services, where no broker is configured."""
    (tmp_path / "services.py").write_text(_SERVICES)
    (tmp_path / "newer.py").write_text(_SERVICES.replace("b: int = 0", "c: str"))
    (tmp_path / "bad.py").write_text(f"{_SERVICES}\n@register_call\nasync def bad(a: 'Missing') -> None: ...\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RABI", "RABBIT"))}

    def run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = ["-m", "rabibridge", *arguments]
        return fork_server.run(
            server_of_commands, command, cwd=tmp_path, env=environment, input=given, text=True, timeout=120
        )

    return run


def test_documents_and_differences(rabibridge: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    written = rabibridge("schema", "services.py", "-o", "openrpc.json", "--title", "maths", "--api-version", "2")
    assert (written.returncode, written.stdout, written.stderr) == (0, "", "")
    document = json.loads((tmp_path / "openrpc.json").read_text())
    assert document["info"] == {"title": "maths", "version": "2"}
    printed = rabibridge("schema", "services:make", "--factory", "--format", "asyncapi")
    assert json.loads(printed.stdout)["channels"]["async_added"]["address"] == "async_added"
    same = rabibridge("schema", "diff", "openrpc.json", "services.py")
    assert (same.returncode, same.stdout) == (0, "")
    broken = rabibridge("schema", "diff", "-", "newer.py", given=json.dumps(document))
    assert broken.returncode == 1
    assert broken.stdout.splitlines() == [
        "breaks: add: the argument 'c' no longer takes integer",
        "breaks: add: the argument 'b' is called 'c' now",
        "breaks: add: the argument 'c' must be given now",
    ]
    as_json = json.loads(rabibridge("schema", "diff", "openrpc.json", "newer.py", "--json").stdout)
    assert as_json["breaks"] is True
    assert {each["rule"] for each in as_json["changes"]} == {
        "argument-renamed", "argument-required", "argument-narrowed",
    }  # fmt: skip


def test_stubs_of_code_and_of_a_document(
    rabibridge: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    rabibridge("schema", "services.py", "-o", "openrpc.json")
    of_code = rabibridge("stubs", "services.py", "--title", "maths")
    of_document = rabibridge("stubs", "openrpc.json", "--title", "maths", "-o", "client.py")
    assert of_document.returncode == 0
    assert (tmp_path / "client.py").read_text() == of_code.stdout
    assert "async def add(a: int, b: int = 0) -> int:" in of_code.stdout


def test_faults_have_exit_statuses(rabibridge: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    bad = rabibridge("schema", "bad.py")
    assert bad.returncode == 3
    assert [method["name"] for method in json.loads(bad.stdout)["methods"]] == ["add"]
    assert "service bad is left out" in bad.stderr
    assert "'Missing'" in bad.stderr
    missing = rabibridge("schema", "diff", "nothing.json", "services.py")
    assert missing.returncode == 3
    assert "nothing.json cannot be read" in missing.stderr
    assert rabibridge("stubs").returncode == 2
    helped = rabibridge("schema", "-h")
    assert "write" in helped.stdout
    assert "diff" in helped.stdout
