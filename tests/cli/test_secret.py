"""``rabibridge secret``: what it prints, where it takes secrets from, and that others cannot see them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import fork_server
from tests.support.fork_server import server_of_commands

if TYPE_CHECKING:
    from pathlib import Path

PASSPHRASE = "correct horse battery"
SECRET = "hunter2-s3cr3t ä"


def run(*arguments: str, given: bytes = b"", **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RABIBRIDGE_")}
    command = ["-m", "rabibridge", "secret", *arguments]
    done = fork_server.run(server_of_commands, command, input=given, env=kept | variables, timeout=60)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_a_secret_from_standard_input_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    done = run("encrypt", "--passphrase-file", str(file), given=f"{SECRET}\n".encode())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("rabibridge-secret:v1:")
    back = run("decrypt", given=done.stdout.encode(), RABIBRIDGE_PASSPHRASE=PASSPHRASE)
    assert (back.returncode, back.stdout, back.stderr) == (0, f"{SECRET}\n", "")
    wrong = run("decrypt", given=done.stdout.encode(), RABIBRIDGE_PASSPHRASE="another passphrase")
    assert (wrong.returncode, wrong.stdout) == (3, "")
    assert "the secret cannot be decrypted: the passphrase is not the one" in wrong.stderr
    assert wrong.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "given", "variables", "message"),
    [
        ("encrypt", b"", {"RABIBRIDGE_PASSPHRASE": PASSPHRASE}, "standard input must hold the secret"),
        ("encrypt", b"\xff", {"RABIBRIDGE_PASSPHRASE": PASSPHRASE}, "standard input must hold the secret"),
        ("encrypt", b"x", {}, "there is no passphrase, and no terminal"),
        ("encrypt", b"x", {"RABIBRIDGE_PASSPHRASE": "short"}, "fewer than 12 characters"),
        ("decrypt", b"plain", {"RABIBRIDGE_PASSPHRASE": PASSPHRASE}, "no encrypted secret"),
    ],
    ids=["nothing", "not text", "no passphrase", "short passphrase", "not encrypted"],
)
def test_what_cannot_be_done_is_one_line(command: str, given: bytes, variables: dict[str, str], message: str) -> None:
    done = run(command, given=given, **variables)
    assert (done.returncode, done.stdout) == (3, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_neither_a_secret_nor_a_passphrase_can_be_an_argument() -> None:
    for command in ("encrypt", "decrypt"):
        assert run(command, "hunter2", RABIBRIDGE_PASSPHRASE=PASSPHRASE).returncode == 2
        assert run(command, "--passphrase", PASSPHRASE).returncode == 2


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of POSIX")
def test_the_prompts_do_not_echo() -> None:
    pexpect = pytest.importorskip("pexpect")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("RABIBRIDGE_")}
    child = pexpect.spawn(
        sys.executable, ["-m", "rabibridge", "secret", "encrypt"], env=variables, encoding="utf-8", timeout=60
    )
    printed = ""
    for prompt, answer in (
        ("Secret: ", SECRET),
        ("Secret, again: ", SECRET),
        ("Passphrase: ", PASSPHRASE),
        ("Passphrase, again: ", PASSPHRASE),
    ):
        child.expect_exact(prompt)
        printed += child.before
        child.waitnoecho()
        child.sendline(answer)
    child.expect(pexpect.EOF)
    printed += child.before
    child.close()
    assert child.exitstatus == 0
    assert "rabibridge-secret:v1:" in printed
    assert SECRET not in printed
    assert PASSPHRASE not in printed
