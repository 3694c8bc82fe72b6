"""A synchronous client of a module that gunicorn loads, and uses, before it forks its workers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rabbitmq.support import Stage

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="these programs do not run there")

GUNICORN = """
import os
import time
from rabibridge.sync import Client
client = Client()
first = client.remote_call("SERVICE", (1, 2), timeout=30)  # before the workers are forked
def app(environ, start_response):
    time.sleep(0.1)  # so that the other workers get requests, too
    answer = f"{client.remote_call('SERVICE', (3, 4), timeout=30)} {client.name} {os.getpid()}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]
"""


async def add(left: int, right: int) -> int:
    return left + right


async def _get(address: Path) -> str:
    try:
        reader, writer = await asyncio.open_unix_connection(address)
    except OSError:  # it does not listen yet
        await asyncio.sleep(0.1)
        return ""
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answer = (await reader.read()).rpartition(b"\r\n\r\n")[2].decode()
    writer.close()
    return answer


async def test_a_client_of_a_module_that_gunicorn_forks(stage: Stage, tmp_path: Path) -> None:
    service = await stage.serve(add)
    (tmp_path / "web.py").write_text(GUNICORN.replace("SERVICE", service))
    address = tmp_path / "socket"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gunicorn", "--preload", "--workers=4", "--worker-class=sync",
        f"--bind=unix:{address}", "web:app", cwd=tmp_path, env=os.environ | {"RABIBRIDGE_URL": stage.url},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        answers = set[str]()
        async with asyncio.timeout(3 * PATIENCE):
            while len(answers) < 4:  # from each worker
                answers.update(filter(None, await asyncio.gather(*(_get(address) for _ in range(8)))))
                assert process.returncode is None
        names = set[str]()
        for answer in answers:
            total, name, pid = answer.split()
            assert total == "7"
            assert pid in name
            names.add(name)
        assert len(names) == 4
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.communicate(), PATIENCE)
