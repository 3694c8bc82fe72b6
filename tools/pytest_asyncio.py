"""Run the tests of tests/downstream/sample with several versions of pytest-asyncio: ``make test-pytest-asyncio``.

Each version is installed, with the pytest that it needs, into a folder of its own in the virtual environment, once.
Where fixtures run on another loop than tests, each call must be refused with the sentence that says so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSIONS = ("0.24.0", "0.25.3", "0.26.0", "1.0.0", "1.1.0", "1.3.0")
MODES = ("auto", "strict")
ONE_LOOP_SINCE = (0, 26)
SAMPLE = Path(__file__).parents[1] / "tests/downstream/sample"
_FIXTURES_APART = ["-o", "asyncio_default_fixture_loop_scope=session"]
_ONE_LOOP = [*_FIXTURES_APART, "-o", "asyncio_default_test_loop_scope=session"]
_REFUSED = re.compile(r"ConfigurationError: .* was connected on another event loop")


def installed(version: str) -> Path:
    """Install a version, unless it is there; return its folder."""
    folder = Path(sys.prefix) / "pytest-asyncio" / version
    if not folder.is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-warn-conflicts", "--target", str(folder)]
        subprocess.run([*pip, f"pytest-asyncio=={version}"], check=True)
    return folder


def run(version: str, mode: str, options: list[str], project: Path) -> str:
    """Run the tests of the project; return what pytest says."""
    less = [word for name in ("benchmark", "cacheprovider", "timeout", "xdist") for word in ("-p", f"no:{name}")]
    # Most of these versions leave an event loop open themselves, with any project that has a synchronous test, too.
    options = [*options, "-o", f"asyncio_mode={mode}", "-o", "filterwarnings=default"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *less, *options, "sample_async.py", "sample_sync.py"],
        cwd=project,
        env={**os.environ, "MODE": mode, "PYTHONPATH": str(installed(version))},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def main() -> int:
    """Print a line for each combination, and what pytest has said where it is not as expected; return how many are."""
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        project = Path(shutil.copytree(SAMPLE, Path(folder) / "sample"))
        for version in sys.argv[1:] or VERSIONS:
            one_loop = tuple(map(int, version.split(".")[:2])) >= ONE_LOOP_SINCE
            scopes = [("a loop for each test", [], True), ("fixtures on another loop", _FIXTURES_APART, False)]
            scopes += [("one loop for all tests", _ONE_LOOP, True)] if one_loop else []
            for mode in MODES:
                for scope, options, works in scopes:
                    said = run(version, mode, options, project)
                    passed = "8 passed" in said and "failed" not in said
                    refused = len(_REFUSED.findall(said)) >= 4 and "4 failed, 4 passed" in said
                    expected = passed if works else refused
                    outcome = "passed" if passed else "refused" if refused else "failed"
                    print(f"pytest-asyncio {version:8}{mode:8}{scope:26}{outcome}", flush=True)
                    if not expected:
                        wrong += 1
                        print(said)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
