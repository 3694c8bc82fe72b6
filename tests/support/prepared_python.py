"""The process behind :mod:`tests.support.fork_server`: it imports modules, then forks a program for each request.

``python prepared_python.py DESCRIPTOR MODULE ...`` answers requests on a socket until that is closed. It imports
nothing of the tests, so that a program finds only what a new interpreter would have found, and the modules.
"""

from __future__ import annotations

import builtins
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import time
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any

LONGEST_REQUEST = 1 << 20


def main() -> None:
    """Serve; in a process that was forked, be the program."""
    control = socket.socket(fileno=int(sys.argv[1]))
    ctrl_c = signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with the tests, which may have more to do
    for module in sys.argv[2:]:
        with suppress(ImportError):  # an optional package
            importlib.import_module(module)
    gc.collect()
    gc.freeze()
    while True:
        request, files, _, _ = socket.recv_fds(control, LONGEST_REQUEST, 3)
        if not request:
            return
        if _fork(control):
            for file in files:
                os.close(file)
            continue
        control.close()
        signal.signal(signal.SIGINT, ctrl_c)
        _run(json.loads(request), files)
        return


def _fork(control: socket.socket) -> bool:
    """Fork a process that is no child of this one; tell whether this is the old process.

    The process in between ends at once, so that the kernel gives its child to the tests, which asked for that.
    """
    given, giving = os.pipe()
    wait, may_run = os.pipe()
    between = os.fork()
    if not between:
        program = os.fork()
        if program:
            os.write(giving, str(program).encode())
            os._exit(0)
        for end in (given, giving, may_run):
            os.close(end)
        os.read(wait, 1)  # nothing: the end of the pipe. From now on its parent is the right one.
        os.close(wait)
        return False
    os.waitpid(between, 0)
    control.send(os.read(given, 32))
    for end in (given, giving, wait, may_run):
        os.close(end)
    return True


def _run(request: dict[str, Any], files: list[int]) -> None:
    """Do what a new interpreter does with such arguments, in this process."""
    if request["session"]:
        os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    importlib.invalidate_caches()
    arguments = request["arguments"]
    sys.orig_argv = [sys.executable, *request["options"], *arguments]
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__builtins__ = builtins  # type: ignore[attr-defined] # as the interpreter does
    try:
        if arguments[0] == "-m":
            sys.argv, sys.path[0] = ["-m", *arguments[2:]], os.getcwd()
            runpy._run_module_as_main(arguments[1])  # type: ignore[attr-defined] # what "python -m" calls
        elif arguments[0] == "-c":
            sys.argv, sys.path[0] = ["-c", *arguments[2:]], ""
            exec(compile(arguments[1], "<string>", "exec", dont_inherit=True), main.__dict__)
        else:
            _run_file(main, arguments)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001 - reported by the hook, as the interpreter does
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        raise SystemExit(1) from None


def _run_file(main: ModuleType, arguments: list[str]) -> None:
    path = os.path.abspath(arguments[0])
    sys.argv, sys.path[0] = arguments, os.path.dirname(os.path.realpath(path))
    main.__file__, main.__loader__ = path, SourceFileLoader("__main__", path)
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    exec(code, main.__dict__)


if __name__ == "__main__":
    main()
