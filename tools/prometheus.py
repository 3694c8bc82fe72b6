"""Finds or installs Prometheus, for tests of alerts and of the dashboard: ``python -m tools.prometheus --install``."""

from __future__ import annotations

import shutil
import sys

from tools.apt import apt_install

__all__ = ["find"]


def find(name: str = "prometheus") -> str | None:
    """Return the path of ``prometheus`` or ``promtool``; ``None``: it is not installed."""
    return shutil.which(name)


def main() -> int:
    """Install Debian's package where it is missing and we are root; return 0 if it is there."""
    if find("promtool") is None and "--install" in sys.argv[1:]:
        apt_install("prometheus")
    if find("promtool") is None:
        print("no Prometheus: install it, with promtool", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
