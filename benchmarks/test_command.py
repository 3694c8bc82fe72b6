"""How long the command takes to start: what people wait for at ``--help`` and at every completion."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
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
