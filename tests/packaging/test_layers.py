"""The layers that the contracts in pyproject.toml describe: kept, and checked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.packaging.conftest import Member

_LINT = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
_MAX_LINES = 300
_LONGER: dict[str, int] = {}
"""Files that may be longer, and by how many lines; each needs a reason."""


def _lint(root: Path, sources: list[Path]) -> tuple[int, str]:
    pytest.importorskip("importlinter", reason="import-linter needs a later Rich than `make test-lowest` has")
    path = os.pathsep.join(map(str, sources))
    done = subprocess.run(
        [*_LINT, str(root / "pyproject.toml")],
        cwd=root,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.returncode, done.stdout + done.stderr


def test_no_import_goes_up(root: Path, members: dict[str, Member]) -> None:
    status, output = _lint(root, [member.folder / "src" for member in members.values()])
    assert status == 0, output


@pytest.mark.parametrize(
    ("module", "planted", "contract"),
    [
        ("rabibridge_core/_protocol/naming.py", "import rabibridge", "Distributions"),
        ("rabibridge_core/_client/client.py", "import rabibridge_core._server.server", "Layers of rabibridge_core"),
        ("rabibridge/_amqp/frames.py", "import asyncio", "AMQP bytes"),
        ("rabibridge_core/transport/messages.py", "import rabibridge_core.transport.protocols", "No circles"),
    ],
    ids=["distributions", "layers", "bytes only", "circle"],
)
def test_a_planted_import_is_reported(
    root: Path, members: dict[str, Member], tmp_path: Path, module: str, planted: str, contract: str
) -> None:
    sources = []
    for member in members.values():
        sources.append(tmp_path / member.folder.name)
        shutil.copytree(member.folder / "src", sources[-1])
    shutil.copy(root / "pyproject.toml", tmp_path)
    (file,) = [source / module for source in sources if (source / module).exists()]
    file.write_text(f"{file.read_text()}\n\ndef _planted() -> None:\n    {planted}\n")
    status, output = _lint(tmp_path, sources)
    assert status == 1, output
    broken = re.findall(r"^(.*) BROKEN$", output, re.MULTILINE)
    assert any(name.startswith(contract) for name in broken), output


def test_no_file_is_long(root: Path, members: dict[str, Member]) -> None:
    folders = [*(member.folder for member in members.values()), root / "tests", root / "benchmarks", root / "tools"]
    long = {
        str(file.relative_to(root)): lines
        for folder in folders
        for file in folder.rglob("*.py")
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > _MAX_LINES
    }
    assert {name: lines for name, lines in long.items() if lines > _LONGER.get(name, 0)} == {}, (
        f"split these files: a file has at most {_MAX_LINES} lines"
    )


def test_every_package_says_what_belongs_in_it(member: Member) -> None:
    for file in (member.folder / "src").rglob("__init__.py"):
        doc = file.read_text(encoding="utf-8").lstrip().removeprefix('"""').partition('"""')[0]
        assert doc.count(".") >= 2, f"{file}: say in two sentences what belongs in this package and what does not"
