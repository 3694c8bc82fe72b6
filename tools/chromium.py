"""Where a Chromium for the tests comes from: ``python -m tools.chromium --install``.

The first of these that is there: the program that ``RABIBRIDGE_TEST_CHROMIUM`` names, an installed Chromium or Chrome,
Debian's package where that was asked for and we are root.
"""

from __future__ import annotations

import os
import shutil
import sys

from tools.apt import apt_install

VARIABLE = "RABIBRIDGE_TEST_CHROMIUM"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_chromium() -> str | None:
    """Return the path of a Chromium; None where none is installed."""
    named = os.environ.get(VARIABLE)
    return shutil.which(named) if named else next(filter(None, map(shutil.which, _NAMES)), None)


def main() -> int:
    """Install Chromium where none is; return 0 if there is one."""
    if find_chromium() is None and "--install" in sys.argv[1:]:
        apt_install("chromium")
    if find_chromium() is None:
        print(f"no Chromium: install it, or set {VARIABLE}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
