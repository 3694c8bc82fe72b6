"""Programs that are not alone: in notebooks, and beside libraries that replace threads."""

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

NOTEBOOK = """
import nbformat
from nbclient import NotebookClient
cells = [
    "import asyncio\\nfrom rabibridge.sync import Client\\nclient = Client()\\nasyncio.get_running_loop()",
    "print(client.remote_call('SERVICE', (1, 2), timeout=30))",
    "try:\\n    await asyncio.to_thread(lambda: asyncio.run(other()))\\nexcept Exception as error:\\n"
    "    print(type(error).__name__)",
    "client.close()",
    "from rabibridge import RMQClient, RMQServer\\nimport of_a_module\\n"
    "def of_a_cell(number: int) -> int:\\n    return -number\\n"
    "server = RMQServer(url='memory://notebook')\\n"
    "try:\\n    server.add_service(of_a_cell, executor='process')\\nexcept Exception as error:\\n"
    "    print(type(error).__name__, 'move it to a module' in str(error))\\n"
    "server.add_service(of_a_module.negative, executor='process', fetch_size=1)\\n"
    "async with server.serving(), RMQClient(url='memory://notebook') as other_client:\\n"
    "    print(await other_client.call(of_a_module.negative, 5))",
]
cells.insert(2, "async def other():\\n    return client.remote_call('SERVICE', (1, 2))")
book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
NotebookClient(book, timeout=90, kernel_name="python3").execute()
outputs = [output for cell in book.cells for output in cell.outputs if output.output_type == "stream"]
print("".join(output.text for output in outputs).split())
"""
PATCHED = """
{patch}
from rabibridge import ConfigurationError
from rabibridge.sync import Client
try:
    Client()
except ConfigurationError as error:
    print(error)
"""


async def run(script: str, folder: Path, url: str) -> str:
    (folder / "script.py").write_text(script)
    environment = os.environ | {"RABIBRIDGE_URL": url, "IPYTHONDIR": str(folder / "ipython")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "script.py", cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    async with asyncio.timeout(3 * PATIENCE):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def add(left: int, right: int) -> int:
    return left + right


async def test_in_a_cell_of_a_notebook_it_works_and_in_another_running_loop_it_refuses(
    stage: Stage, tmp_path: Path
) -> None:
    service = await stage.serve(add)
    (tmp_path / "of_a_module.py").write_text("def negative(number: int) -> int:\n    return -number\n")
    printed = await run(NOTEBOOK.replace("SERVICE", service), tmp_path, stage.url)
    assert "['3', 'ConfigurationError', 'RegistrationError', 'True', '-5']" in printed


@pytest.mark.parametrize(
    ("library", "patch"),
    [
        ("gevent", "from gevent import monkey; monkey.patch_all()"),
        ("eventlet", "import warnings; warnings.simplefilter('ignore'); import eventlet; eventlet.monkey_patch()"),
    ],
)
async def test_where_threads_are_replaced_it_says_so(library: str, patch: str, stage: Stage, tmp_path: Path) -> None:
    printed = await run(PATCHED.format(patch=patch), tmp_path, stage.url)
    assert f"{library} has replaced them" in printed
    assert "gthread" in printed
