"""Every Python block of the documentation runs as it stands."""

from __future__ import annotations

import ast
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import Block, blocks_of, documents
from tests.docs.processes import clean_environment, run_python, running

if TYPE_CHECKING:
    from tests.support.tls_broker import TLSBroker
    from tools.broker import Broker

SERVICES = Path(__file__).with_name("services.py")
BLOCKS = [block for document in documents() for block in blocks_of(document) if block.language in ("python", "py")]
_WITHOUT = ("benchmark", "cacheprovider", "faker", "hypothesispytest", "time_machine", "timeout", "xdist")
"""Plug-ins of pytest that readers need not have, and that take long to import, as far as a block does not name them."""
PYTEST_INI = """\
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_it_is_python(block: Block) -> None:
    ast.parse(block.text, block.name)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.runner is not None], ids=lambda block: block.name)
def test_it_runs(block: Block, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    siblings = blocks_of(block.document)
    for other in siblings:
        if other.file is not None:
            (tmp_path / other.file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / other.file).write_text(other.text, encoding="utf-8")
    program = tmp_path / (block.file or ("test_block.py" if block.runner == "pytest" else "block.py"))
    program.write_text(block.text, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text(PYTEST_INI, encoding="utf-8")

    with ExitStack() as stack:
        url = _provide(block, request, stack, tmp_path)
        options = ["-m", "pytest", "-q", *_less(block)] if block.runner == "pytest" else []
        given = {} if url is None else {"RABIBRIDGE_TEST_URL": url}
        printed = run_python([*options, program.name], tmp_path, clean_environment(url) | given)

    following = siblings[siblings.index(block) + 1 :][:1]
    if following and "output" in following[0].directives:
        assert printed == following[0].text


def _less(block: Block) -> list[str]:
    used = {"hypothesispytest"} if "hypothesis" in block.text else set()
    return [word for name in _WITHOUT if name not in used for word in ("-p", f"no:{name}")]


def _provide(block: Block, request: pytest.FixtureRequest, stack: ExitStack, folder: Path) -> str | None:
    """Start what the block needs; return the URL of the broker, if it needs one."""
    need = block.directives.get("needs", "")
    if not need:
        return None
    what, _, names = need.partition(" ")
    assert what in ("broker", "service", "tls"), (
        f"{block.name} needs {need!r}: only 'broker', 'service NAME' and 'tls' are known"
    )
    if what == "tls":
        with_tls: TLSBroker = request.getfixturevalue("tls_broker")
        with_tls.write_client("guest", folder)
        return with_tls.url(login="")
    broker: Broker = request.getfixturevalue("rabbitmq")
    url = broker.fresh_vhost()
    if what == "service":
        wanted = names.replace(",", " ").split()
        stack.enter_context(running(SERVICES, clean_environment(url), wanted))
    return url
