from __future__ import annotations

import subprocess
import sys

import pytest

from rabibridge_testing._servers.private import find_server
from tests.docs.blocks import ROOT


@pytest.mark.skipif(sys.platform == "win32" or find_server() is None, reason="needs an installed rabbitmq-server")
def test_a_soak_that_is_stopped_ends_with_its_tally() -> None:
    command = [sys.executable, "-m", "tools.soak", "600", "--seed", "7"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as soak:
        assert soak.stdout is not None
        assert soak.stdout.readline() == "seed 7, 600 s\n"
        soak.terminate()
        output, errors = soak.communicate(timeout=90)
    last = output.splitlines()[-1]
    assert last.startswith("interrupted in the middle of a round: calls 0, results 0, "), (output, errors)
    assert last.endswith(" s, seed 7")
    assert soak.returncode == 1
