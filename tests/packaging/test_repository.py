from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# Put together here, so that this file does not hold what it looks for.
_FOREIGN = re.compile(
    "|".join(
        [
            r"(?<![\w.])/" + r"(?:home|root|Users|work|tmp)/\w",
            "files.python" + "hosted",
            "pypi" + r"\.org/simple",
            "registry" + r"\.npmjs",
        ]
    )
)


def test_no_file_holds_a_machine_path_or_a_package_index(root: Path) -> None:
    found = [
        f"{path.relative_to(root)}:{number}: {line.strip()}"
        for path in _sources(root)
        for number, line in enumerate(_text(path).splitlines(), 1)
        if _FOREIGN.search(line)
    ]
    assert found == []


def test_files_stay_rooms_that_one_person_can_hold_in_mind(root: Path) -> None:
    sizes = {path.relative_to(root): len(_text(path).splitlines()) for path in _sources(root) if path.suffix == ".py"}
    assert {path: size for path, size in sizes.items() if size > 400} == {}


def test_every_module_logs_through_get_logger(root: Path) -> None:
    """Records of other loggers can be forged by the values in them."""
    plain = re.compile(r"logging\.(getLogger\(__name__|(debug|info|warning|error|exception|critical|log)\()")
    found = [
        f"{path.relative_to(root)}:{number}: use rabibridge_core._reporting.loggers.get_logger"
        for path in _sources(root)
        if path.suffix == ".py" and path.is_relative_to(root / "packages")
        for number, line in enumerate(_text(path).splitlines(), 1)
        if plain.search(line)
    ]
    assert found == []


def _sources(root: Path) -> list[Path]:
    if shutil.which("git") is None or not (root / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [root / name for name in listing.stdout.split("\0") if name and (root / name).is_file()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""
