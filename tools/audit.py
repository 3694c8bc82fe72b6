"""Asks a vulnerability service about everything that users install with our distributions, by pip-audit.

Where the service cannot be asked, or does not know these packages, this says so and is content. Vulnerabilities that it
knows fail continuous integration, where the variable ``CI`` is set, and are a warning elsewhere: they may be published
at any hour, and have nothing to do with what a developer has just changed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools.runtime import OWN, runtime_distributions

_ANSWER_TIMEOUT, _TIMEOUT = "10", 120


def verdict(report: dict[str, Any], *, in_ci: bool) -> tuple[int, list[str]]:
    """Return the exit status and the lines to print for the JSON report of pip-audit."""
    packages = report["dependencies"]
    known = [package for package in packages if "skip_reason" not in package]
    if not known:
        return 0, [f"audit skipped: the vulnerability service knows none of the {len(packages)} packages"]
    found = [
        f"{package['name']} {package['version']}: {one['id']}, fixed in {', '.join(one['fix_versions']) or 'none'}"
        for package in known
        for one in package["vulns"]
    ]
    unknown = f"; {len(packages) - len(known)} are not known to the service" if len(known) < len(packages) else ""
    if not found:
        return 0, [f"audit: no known vulnerabilities in {len(known)} packages{unknown}"]
    return int(in_ci), [f"audit: {len(found)} known vulnerabilities in {len(known)} packages{unknown}", *found]


def main() -> int:
    """Ask, print, and return the exit status."""
    pins = [f"{name}=={one.version}" for name, (one, _) in runtime_distributions().items() if name not in OWN]
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text("\n".join(pins) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--no-deps", "--disable-pip"]
        command += ["--format", "json", "--progress-spinner", "off", "--timeout", _ANSWER_TIMEOUT]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        except subprocess.TimeoutExpired:
            print(f"audit skipped: the vulnerability service has not answered in {_TIMEOUT} s")
            return 0
    try:
        report = json.loads(done.stdout)
    except ValueError:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1][:300]
        print(f"audit skipped: the vulnerability service cannot be asked ({reason})")
        return 0
    status, lines = verdict(report, in_ci=bool(os.environ.get("CI")))
    print(*lines, sep="\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
