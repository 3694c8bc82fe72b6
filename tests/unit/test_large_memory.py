"""The memory of large bodies is kept by glibc for the next ones."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has such a rule")

_FAULTS = """
import os, resource
from rabibridge_core._codec.codec import Codec

codec, body = Codec(), os.urandom(4 * 2**20)

def call():
    encoded, content_type, encoding = codec.encode(body)
    received = bytes(bytearray(encoded))  # as it comes from a socket
    return encoded, received, codec.decode(received, content_type, encoding)

def calls():
    assert all(decoded == body for _, _, decoded in [call(), call(), call()])

for _ in range(5):
    calls()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    calls()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 20)
"""
_LIMITED = """
import resource
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
import rabibridge_core._codec.large_memory as large_memory
resource.setrlimit(resource.RLIMIT_AS, (used + 24 * 2**20,) * 2)
large_memory.keep_blocks_of(2**20)
print("went on")
"""


def _run(program: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.strip()


def test_bodies_of_megabytes_take_no_fresh_pages_for_each_call() -> None:
    """A body of 4 MiB has 1,024 pages; three calls took 9,000 fresh ones."""
    assert int(_run(_FAULTS)) < 500


def test_without_address_space_nothing_changes() -> None:
    assert _run(_LIMITED) == "went on"
