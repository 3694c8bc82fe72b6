"""mypy in strict mode over modules in a folder of a test, with what ``make check`` has found out of the packages."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["run_mypy"]

_ROOT = Path(__file__).parents[2]


def run_mypy(folder: Path, files: Iterable[str], further: str = "") -> subprocess.CompletedProcess[str]:
    """Check files of a folder; return the process, which has ended.

    mypy uses what it knows of a module again where the options are the same. So these are those of the repository, and
    it works on a copy of the repository's cache, where there is one. Without, it begins with the standard library.

    Args:
        folder: where the files are, and where it runs.
        files: their names.
        further: lines for the end of its configuration.
    """
    own = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    paths = [str(path) for path in _ROOT.glob("packages/*/src")]
    (folder / "mypy.ini").write_text(
        f"[mypy]\nstrict = true\npython_version = {own['python_version']}\nexplicit_package_bases = true\n"
        f"enable_error_code = {', '.join(own['enable_error_code'])}\nmypy_path = {':'.join(paths)}\n{further}",
        encoding="utf-8",
    )
    if (cache := _ROOT / ".mypy_cache").is_dir():
        shutil.copytree(cache, folder / ".mypy_cache")
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--no-error-summary", *files]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
