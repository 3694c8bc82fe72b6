"""RabiBridge 0.1 has a package of the same name: mixed files are refused, and what its programs import exists."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rabibridge


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """An environment into which both distributions were installed, ours last."""
    assert rabibridge.__file__ is not None
    shutil.copytree(Path(rabibridge.__file__).parent, tmp_path / "rabibridge")
    info = tmp_path / "RabiBridge-0.1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: RabiBridge\nVersion: 0.1.2\n")
    return tmp_path


def _run(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path.insert(0, {str(folder)!r})\n{program}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_importing_a_mixture_says_what_to_do(mixed: Path) -> None:
    last = _run(mixed, "import rabibridge").stderr.splitlines()[-1]
    assert last.startswith("ImportError: RabiBridge 0.1.2 is installed in")
    assert "pip uninstall RabiBridge" in last


@pytest.mark.parametrize("what", ["import rabibridge.plugin", "import rabibridge.cli"])
def test_so_does_what_is_left_of_ours_when_the_old_one_was_installed_last(mixed: Path, what: str) -> None:
    (mixed / "rabibridge" / "__init__.py").write_text("__version__ = '0.1.2'\n")
    assert "ImportError: RabiBridge 0.1.2 is installed in" in _run(mixed, what).stderr


def test_the_transport_is_missing_with_that_reason(mixed: Path) -> None:
    (mixed / "rabibridge" / "__init__.py").write_text("__version__ = '0.1.2'\n")
    done = _run(mixed, "from rabibridge_core.rpc import RpcClient\nRpcClient(url='amqp://a:b@localhost/')")
    assert "RabiBridge 0.1.2 is installed in" in done.stderr.splitlines()[-1]


def test_alone_it_is_imported(mixed: Path) -> None:
    shutil.rmtree(mixed / "RabiBridge-0.1.2.dist-info")
    assert _run(mixed, "import rabibridge; print(rabibridge.__file__)").stdout.strip().startswith(str(mixed))


def test_what_programs_for_version_0_import() -> None:
    import importlib.metadata

    from rabibridge import RemoteExecutionError, __version__
    from rabibridge.exceptions import RemoteExecutionError as ByItsOldPath

    assert ByItsOldPath is RemoteExecutionError
    assert __version__ == importlib.metadata.version("rabibridge-rabbitmq")
    with pytest.raises(AttributeError, match="no_such_name"):
        rabibridge.no_such_name  # type: ignore[attr-defined]  # noqa: B018
