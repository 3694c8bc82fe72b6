"""What a worker process runs, and how that is told to it.

- An *entry*: a function of this package or of a sister distribution, with an argument that JSON can carry.
- A *function* of the user's program. The program is imported under the name ``__mp_main__`` first, as the processes of
  :mod:`multiprocessing` do it, so that what stands under ``if __name__ == "__main__":`` does not run.
- The *program again*: it runs as it was started, up to the line that has asked for workers, which then serves.
"""

from __future__ import annotations

import base64
import importlib
import os
import pickle
import runpy
import sys
from typing import TYPE_CHECKING, Any

from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Program", "entry_program", "function_program", "program_again", "run_program"]

Program = dict[str, Any]
"""A program as JSON can carry it."""


def entry_program(module: str, function: str, argument: Any) -> Program:
    """Return a program that calls ``function`` of ``module`` with ``argument``, and exits with what it returns."""
    return {"kind": "entry", "module": module, "function": function, "argument": argument}


def function_program(function: Callable[[], object]) -> Program:
    """Return a program that calls a function of the running program.

    Raises:
        ConfigurationError: another process would not find it.
    """
    try:
        pickled = pickle.dumps(function)
    except Exception as error:  # noqa: BLE001 - an object may raise anything when it is pickled
        raise ConfigurationError(
            f"{function!r} cannot be called in another process: define a function at the top level of a module "
            f"({error})"
        ) from None
    main = _main()
    if b"__main__" in pickled and main["kind"] == "code":
        raise ConfigurationError(
            f"{function!r} is defined in a program that has no file, which a worker process cannot import: move it to "
            "a module"
        )
    return {"kind": "function", "pickled": base64.b64encode(pickled).decode(), "main": main}


def program_again() -> Program:
    """Return a program that does again what this process was started to do.

    Raises:
        ConfigurationError: nobody knows how it was started, as in an interactive interpreter.
    """
    main = _main()
    if main["kind"] == "code" and main["code"] is None:
        raise ConfigurationError(
            "workers run the program again, and this one is no script, module or 'python -c': write it into a file"
        )
    return {"kind": "again", "main": main}


def _main() -> dict[str, Any]:
    """Return how the main module of this process is found."""
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None and spec.name != "__main__":
        return {"kind": "module", "name": spec.name}
    if isinstance(file, str):
        path = os.path.dirname(file) if spec is not None else file  # a folder or archive that is run
        return {"kind": "file", "path": os.path.abspath(path)}
    arguments = sys.orig_argv
    code = arguments[arguments.index("-c") + 1] if "-c" in arguments[:-1] else None
    return {"kind": "code", "code": code}


def run_program(program: Program, begins: Callable[[], None]) -> object:
    """Run a program to its end; return its exit code, or ``None`` for 0.

    ``begins`` is called when a function of the user's program was found and is about to be called.
    """
    if program["kind"] == "entry":
        function = getattr(importlib.import_module(program["module"]), program["function"])
        return function(program["argument"])
    main = program["main"]
    if program["kind"] == "again":
        _run_main(main)
        raise ConfigurationError("the program has ended without calling run(), which it had called in the supervisor")
    _import_main(main)
    function = pickle.loads(base64.b64decode(program["pickled"]))  # noqa: S301 - from the supervisor
    begins()
    function()
    return None


def _run_main(main: dict[str, Any]) -> None:
    if main["kind"] == "module":
        name = main["name"]
        runpy.run_module(name.removesuffix(".__main__"), run_name="__main__", alter_sys=True)
    elif main["kind"] == "file":
        runpy.run_path(main["path"], run_name="__main__")
    else:
        module = sys.modules["__main__"]
        module.__dict__.pop("__file__", None)
        exec(compile(main["code"], "<string>", "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the user's own program


def _import_main(main: dict[str, Any]) -> None:
    from multiprocessing.spawn import prepare

    if main["kind"] == "module":
        prepare({"init_main_from_name": main["name"]})
    elif main["kind"] == "file":
        prepare({"init_main_from_path": main["path"]})
