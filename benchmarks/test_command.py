"""How long the command takes to start: what people wait for at ``--help``, at every completion, and for a worker."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

COMPLETION = {"_RABIBRIDGE_COMPLETE": "complete_bash", "COMP_WORDS": "rabibridge ca", "COMP_CWORD": "1"}


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [(["--help"], {}), (["call", "--help"], {}), ([], COMPLETION)],
    ids=["help", "help of call", "completion"],
)
def test_start(benchmark: BenchmarkFixture, arguments: list[str], variables: dict[str, str]) -> None:
    """The median of ``--help`` is to be under 0.3 s."""
    command = [sys.executable, "-m", "rabibridge", *arguments]

    def run() -> None:
        subprocess.run(command, env=os.environ | variables, stdout=subprocess.DEVNULL, timeout=60, check=True)

    benchmark.pedantic(run, rounds=11, warmup_rounds=1)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("workers", [[], ["--workers", "1"]], ids=["alone", "under a supervisor"])
def test_a_worker_until_it_serves(
    benchmark: BenchmarkFixture, vhost_url: str, tmp_path: Path, workers: list[str]
) -> None:
    """The median is to be under 1 s."""
    (tmp_path / "services.py").write_text(
        "from rabibridge import register_call\n\n@register_call\nasync def add(a, b):\n    return a + b\n"
    )
    command = [sys.executable, "-m", "rabibridge", "run", "services.py", *workers]
    running: list[subprocess.Popen[str]] = []

    def stop() -> None:
        while running:
            running[-1].terminate()
            running.pop().communicate(timeout=60)

    def run() -> None:
        environment = os.environ | {"RABIBRIDGE_URL": vhost_url}
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stderr is not None
        assert any("serves" in line for line in process.stderr)

    try:
        benchmark.pedantic(run, setup=stop, rounds=11, warmup_rounds=1)  # type: ignore[no-untyped-call]
    finally:
        stop()
