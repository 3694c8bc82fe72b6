"""Every Python block of the documentation passes mypy and pyright, both in strict mode, as its reader's own would."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks_of, documents
from tests.support.strict_mypy import run_mypy

_PYTHON = ("python", "py")
_OTHERS = "[mypy-{module}]\nwarn_unused_ignores = false\n"  # readers have other versions of other packages
_PYRIGHT = {"typeCheckingMode": "strict", "reportMissingTypeStubs": False, "reportUnusedFunction": False}


def _modules(folder: Path) -> dict[str, Block]:
    """Write the blocks of all documents as modules of one folder; return them by the name of the file."""
    written: dict[str, Block] = {}
    for document in documents():
        blocks = [block for block in blocks_of(document) if block.language in _PYTHON and _is_checked(block)]
        prefix = re.sub(r"\W", "_", str(document.with_suffix("")))
        own = {block.file: f"{prefix}_{block.line}" for block in blocks if block.file is not None}
        stems = {file.removesuffix(".py").replace("/", "."): module for file, module in own.items()}
        for block in blocks:
            module = f"{prefix}_{block.line}"
            (folder / f"{module}.py").write_text(_with_modules(block.text, stems), encoding="utf-8")
            written[f"{module}.py"] = block
    return written


def _is_checked(block: Block) -> bool:
    return not {"not run", "untyped"} & block.directives.keys()


def _with_modules(text: str, stems: dict[str, str]) -> str:
    """Import the blocks of the same document under the names that they have here."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name in stems:
                alias = f" as {name}" if isinstance(node, ast.Import) and "." not in name else ""
                line = lines[node.lineno - 1]
                lines[node.lineno - 1] = re.sub(rf"\b{re.escape(name)}\b", stems[name] + alias, line, count=1)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_it_has_no_type_error(checker: str, tmp_path: Path) -> None:
    pytest.importorskip(checker)
    written = _modules(tmp_path)
    if checker == "mypy":
        done = run_mypy(tmp_path, written, "".join(_OTHERS.format(module=Path(file).stem) for file in written))
    else:
        (tmp_path / "pyrightconfig.json").write_text(json.dumps(_PYRIGHT), encoding="utf-8")
        command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    said = done.stdout.replace(f"{tmp_path}/", "")
    for file, block in written.items():
        said = said.replace(file, f"{block.document}, block of line {block.line}, line")
    assert done.returncode == 0, said + done.stderr
