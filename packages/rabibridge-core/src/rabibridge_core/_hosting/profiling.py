"""Writes where a process that serves has spent its time: a flame graph, by a profiler that is installed beside it.

py-spy is a program that reads the memory of this process from outside: it sees all threads and costs the process next
to nothing. pyinstrument runs in the thread of the event loop, sees that one alone, and needs no right to look into
processes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from time import monotonic, sleep
from typing import IO, TYPE_CHECKING, Any, Final

from rabibridge_core._reporting.error_text import printable
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_profile", "profiled"]

_log = get_logger(__name__)
_PER_SECOND: Final = 100
_STARTS_WITHIN: Final = 20.0
_WRITES_WITHIN: Final = 60.0
_PR_SET_PTRACER: Final = 0x59616D61
_ANYBODY: Final = -1


def check_profile(file: str) -> None:
    """Check that a profile can be written to a file, as far as that is known before it begins.

    Raises:
        ConfigurationError: its name does not say by what, that profiler is not installed, or there is no such folder.
    """
    path = Path(file)
    if path.suffix == ".svg":
        if _py_spy() is None:
            raise ConfigurationError(
                f"--profile {file} needs py-spy, which is not installed: pip install py-spy; a file that ends in .html "
                "is written by pyinstrument"
            )
    elif path.suffix == ".html":
        try:
            import_module("pyinstrument")
        except ImportError as error:
            raise ConfigurationError(
                f"--profile {file} needs pyinstrument, which is not installed: pip install pyinstrument; a file that "
                f"ends in .svg is written by py-spy ({error})"
            ) from error
    else:
        raise ConfigurationError(
            f"--profile {file}: the name of the file must end in .svg, for a flame graph by py-spy, or in .html, for "
            "one by pyinstrument. The profile of the configuration file stands before the command: "
            f"rabibridge --profile {file} run"
        )
    if not path.absolute().parent.is_dir():
        raise ConfigurationError(f"--profile {file}: there is no folder {path.absolute().parent}")


@contextmanager
def profiled(file: str | None, *, one_of_several: bool = False) -> Iterator[None]:
    """Profile this process during a block, on its main thread, and write the file when the block ends.

    Args:
        file: the file; ``None``: nothing is profiled.
        one_of_several: whether other processes do it, too: then the name of the file gets the id of the process.

    Raises:
        ConfigurationError: the profiler cannot be started.
    """
    if file is None:
        yield
        return
    path = Path(file)
    if one_of_several:
        path = path.with_suffix(f".{os.getpid()}{path.suffix}")
    profile = _PySpy(path) if path.suffix == ".svg" else _Pyinstrument(path)
    profile.start()
    try:
        yield
    finally:
        try:
            profile.stop()
        except Exception as error:  # noqa: BLE001 - the program has done its work
            _log.exception(
                "no profile is written to %s", path, extra=log_fields("profile.failed", path=path, error=error)
            )
        else:
            _log.info("the profile is in %s", path, extra=log_fields("profile.written", path=path))


class _Pyinstrument:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._profiler: Any = None

    def start(self) -> None:
        # Not its mode for asyncio, which follows one task: a server has one for each call.
        self._profiler = import_module("pyinstrument").Profiler(interval=1 / _PER_SECOND, async_mode="disabled")
        self._profiler.start()

    def stop(self) -> None:
        self._profiler.stop()
        self._path.write_text(self._profiler.output_html(), encoding="utf-8")


class _PySpy:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    def start(self) -> None:
        program = _py_spy()
        assert program is not None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - stop() closes it
        _let_look(_ANYBODY)
        self._process = subprocess.Popen(  # noqa: S603 - no shell, and an argument of whoever has started this
            [program, "record", "--pid", str(os.getpid()), "--output", str(self._path), "--format", "flamegraph",
             "--rate", str(_PER_SECOND), "--subprocesses"],
            stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        _let_look(self._process.pid)
        ends_at = monotonic() + _STARTS_WITHIN
        while b"Sampling process" not in self._said() and self._process.poll() is None and monotonic() < ends_at:
            sleep(0.02)
        if self._process.poll() is not None:
            raise ConfigurationError(f"--profile {self._path}: py-spy cannot read this process: {self._text()}")

    def stop(self) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            status = self._process.wait(_WRITES_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        if status or not self._path.exists():
            raise RuntimeError(f"py-spy has ended with status {status}: {self._text()}")
        assert self._output is not None
        self._output.close()

    def _said(self) -> bytes:
        assert self._output is not None
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), min(size, 65536), 0)

    def _text(self) -> str:
        return printable(" ".join(self._said().decode("utf-8", "replace").split()))[:500]


def _py_spy() -> str | None:
    """Return the program py-spy: that of this environment, else the one on PATH."""
    beside = shutil.which("py-spy", path=str(Path(sys.executable).parent))
    return beside or shutil.which("py-spy")


def _let_look(pid: int) -> None:
    """Let a process of the same user read this one, where the kernel allows that only to parents (Yama)."""
    if sys.platform != "linux":
        return
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(pid & (2**64 - 1) if pid < 0 else pid), 0, 0, 0)
    except (ImportError, OSError, AttributeError) as error:
        _log.debug("py-spy may not be allowed to look: %s", error, extra=log_fields("profile.not_allowed", error=error))
