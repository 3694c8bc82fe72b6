"""``rabibridge new``: the project that it makes works."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import Command

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(vhost_url: str, tmp_path: Path) -> Command:
    made = Command(vhost_url, tmp_path)("new", "my shop")
    assert made.returncode == 0, made.stderr
    return Command(vhost_url, tmp_path / "my shop")


@pytest.mark.skipif(importlib.util.find_spec("fastapi") is None, reason="the gateway needs FastAPI")
def test_its_own_tests_pass(project: Command) -> None:
    # The lowest Starlette that is allowed uses what the newest AnyIO calls by another name.
    warnings = ["-W", "error", "-W", "ignore:The anyio.abc.BlockingPortal alias is deprecated:DeprecationWarning"]
    command = [sys.executable, *warnings, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_its_client_calls_its_worker(project: Command) -> None:
    with project.serving("services.py"):
        done = subprocess.run(
            [sys.executable, "client.py"],
            cwd=project.folder,
            env=project.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.stdout, done.stderr) == ("1 + 2 = 3\n3\n2\n1\n0\n", "")
    assert (project.folder / "README.md").read_text().startswith("# my shop\n")


def test_it_overwrites_nothing(vhost_url: str, tmp_path: Path) -> None:
    (tmp_path / "services.py").write_text("mine")
    refused = Command(vhost_url, tmp_path)("new", ".")
    assert refused.returncode == 2
    assert "is not empty" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["services.py"]
