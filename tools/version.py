"""Sets the version of all distributions, of their pins and of the changelog: ``python -m tools.version 1.3.0``.

Without an argument, it prints the version.
"""

from __future__ import annotations

import re
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

from packaging.version import Version

_ROOT = Path(__file__).parents[1]
_VERSION = re.compile(r'^version = "(?P<version>[^"]+)"$', re.MULTILINE)
_PIN = re.compile(r"(?P<name>rabibridge-[a-z]+(?:\[[a-z,]+\])?)==[^\",]+")
_HEADING = re.compile(r"^## (?P<version>\S+) \(not released\)$", re.MULTILINE)


def current_version(root: Path = _ROOT) -> str:
    """Return the version that all distributions have.

    Raises:
        ValueError: they differ.
    """
    found = {tomllib.loads(file.read_text(encoding="utf-8"))["project"]["version"] for file in _projects(root)}
    if len(found) != 1:
        raise ValueError(f"the distributions have several versions: {', '.join(sorted(found))}")
    (version,) = found
    return str(version)


def set_version(version: str, root: Path = _ROOT) -> None:
    """Write ``version`` wherever it stands.

    A release takes the date of today in the changelog; a development version gets a new heading there, if the newest
    one is that of a release.

    Raises:
        ValueError: it is no version of PEP 440, or not above the one that there is.
    """
    new = Version(version)  # InvalidVersion is a ValueError
    if new <= Version(current_version(root)):
        raise ValueError(f"{new} is not above {current_version(root)}")
    for file in _projects(root):
        text = _VERSION.sub(f'version = "{new}"', file.read_text(encoding="utf-8"), count=1)
        file.write_text(_PIN.sub(rf"\g<name>=={new}", text), encoding="utf-8", newline="\n")
    _change_log(root / "CHANGELOG.md", new)


def _change_log(file: Path, new: Version) -> None:
    text = file.read_text(encoding="utf-8")
    heading = f"## {new} (not released)" if new.is_prerelease else f"## {new} ({datetime.now(UTC):%Y-%m-%d})"
    if _HEADING.search(text):
        text = _HEADING.sub(heading, text, count=1)
    else:
        text = text.replace("\n## ", f"\n{heading}\n\n## ", 1)
    file.write_text(text, encoding="utf-8", newline="\n")


def _projects(root: Path) -> list[Path]:
    return sorted(root.glob("packages/*/pyproject.toml"))


def main() -> int:
    try:
        if len(sys.argv) > 1:
            set_version(sys.argv[1])
        print(current_version())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
