"""The module for Flask and the cell of a notebook in docs/sync.md run as they stand, on a RabbitMQ."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import Block, blocks_of
from tests.docs.processes import clean_environment, run_python, running
from tests.docs.test_python_blocks import SERVICES

if TYPE_CHECKING:
    from tools.broker import Broker

pytestmark = [
    pytest.mark.rabbitmq,
    pytest.mark.skipif(sys.platform == "win32", reason="these programs do not run there"),
]

_FLASK = """
from shop import app
browser = app.test_client()
answer = browser.get("/sum/1/2")
print(answer.status_code, answer.json)
"""
_NOTEBOOK = """
import json, sys
import nbformat
from nbclient import NotebookClient
book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in json.loads(sys.argv[1])])
NotebookClient(book, timeout=80, kernel_name="python3").execute()
print([output.data["text/plain"] for cell in book.cells for output in cell.outputs])
"""


def _block(words: str) -> Block:
    (found,) = [block for block in blocks_of(Path("docs/sync.md")) if words in block.text]
    return found


def test_the_module_for_flask(rabbitmq: Broker, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(_block("Flask(__name__)").text, encoding="utf-8")
    environment = clean_environment(rabbitmq.fresh_vhost())
    with running(SERVICES, environment, ["add"]):
        printed = run_python(["-c", _FLASK], tmp_path, environment)
    assert printed == "200 {'sum': 3}\n"


@pytest.mark.skipif(importlib.util.find_spec("nbclient") is None, reason="nbclient is missing")
def test_the_cell_of_a_notebook(rabbitmq: Broker, tmp_path: Path) -> None:
    cell = _block("not run: a cell of a notebook").text
    environment = clean_environment(rabbitmq.fresh_vhost()) | {"IPYTHONDIR": str(tmp_path / "ipython")}
    with running(SERVICES, environment, ["add"]):
        printed = run_python(["-c", _NOTEBOOK, json.dumps([cell, cell.splitlines()[-1]])], tmp_path, environment)
    assert printed == "['3', '3']\n"
