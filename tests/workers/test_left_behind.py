"""Tests that are killed leave no supervisor and no worker behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.support.waiting import until
from tests.workers.support import alive

_TEST = """
import sys
from pathlib import Path
from tests.workers.support import Program

program = Program(Path(sys.argv[1]), "amqp://")
with program.python("-c", "import time; time.sleep(3600)") as running:
    print(running.pid, flush=True)
    sys.stdin.readline()
"""


def test_what_a_killed_test_has_started_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _TEST, str(tmp_path)],
        cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as test:  # fmt: skip
        assert test.stdout is not None
        started = int(test.stdout.readline())
        assert alive(started)
        test.kill()
    asyncio.run(until(lambda: not alive(started)))
