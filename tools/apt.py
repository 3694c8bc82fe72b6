"""Debian's packages, installed where that is possible: as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

_TIMEOUT = 900.0


def apt_install(*packages: str) -> bool:
    """Install ``packages`` with apt-get; return False if we are not root, there is no apt-get, or it fails."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return False
    print(f"Installing {' '.join(packages)} with apt-get ...", file=sys.stderr, flush=True)
    # RUNLEVEL 1 makes Debian's invoke-rc.d leave the system's own services unstarted: we want the programs.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        try:
            subprocess.run(
                [apt, "-qq", *command],
                env=environment,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                timeout=_TIMEOUT,
            )
        except (subprocess.SubprocessError, OSError) as error:
            print(f"apt-get {command[0]} failed: {error}", file=sys.stderr)
            return False
    return True
