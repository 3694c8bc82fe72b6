"""A project that installs the wheels tests itself with the fake broker, in every mode that the pages promise."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

SAMPLE = Path(__file__).with_name("sample")
PACKAGES = Path(__file__).parents[2] / "packages"
_LESS = [
    word for name in ("benchmark", "cacheprovider", "hypothesispytest", "timeout") for word in ("-p", f"no:{name}")
]
_ONE_LOOP = ["-o", "asyncio_default_fixture_loop_scope=session", "-o", "asyncio_default_test_loop_scope=session"]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of a new environment, in which the wheels are; other libraries are those of this one."""
    folder = tmp_path_factory.mktemp("downstream")
    for member in ("core", "rabbitmq", "testing"):
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder / "wheels")],
            cwd=PACKAGES / f"rabibridge-{member}",
            check=True,
            capture_output=True,
            timeout=250,
        )
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True, timeout=250)
    bin_folder = "Scripts" if os.name == "nt" else "bin"
    python = str(folder / "venv" / bin_folder / "python")
    wheels = [str(wheel) for wheel in (folder / "wheels").glob("*.whl")]
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, *wheels], check=True, timeout=250)
    ours = sysconfig.get_path("purelib")
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
        timeout=250,
    ).stdout.strip()
    (Path(purelib) / "others.pth").write_text(f"{ours}\n")
    return python


@pytest.mark.parametrize(
    ("mode", "options", "passed"),
    [
        pytest.param("auto", ["-o", "asyncio_mode=auto"], 8, id="pytest-asyncio, auto"),
        pytest.param("strict", ["-o", "asyncio_mode=strict"], 8, id="pytest-asyncio, strict"),
        pytest.param("auto", ["-o", "asyncio_mode=auto", *_ONE_LOOP], 8, id="one loop for all tests"),
        pytest.param("anyio", ["-p", "no:asyncio", "-o", "filterwarnings=default"], 8, id="anyio"),
        pytest.param("auto", ["-o", "asyncio_mode=auto", "-n2"], 8, id="xdist"),
        pytest.param("auto", ["-o", "asyncio_mode=auto", "-o", "rabibridge_strict=true"], 8, id="strict broker"),
    ],
)
def test_the_sample_project(python: str, mode: str, options: list[str], passed: int) -> None:
    less = [] if "-n2" in options else ["-p", "no:xdist"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "RABIBRIDGE"))}
    done = subprocess.run(
        [python, "-m", "pytest", "-q", *_LESS, *less, *options, "sample_async.py", "sample_sync.py"],
        cwd=SAMPLE,
        env={**environment, "MODE": mode},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert f"{passed} passed" in done.stdout, done.stdout + done.stderr
    assert "failed" not in done.stdout
