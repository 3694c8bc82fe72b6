"""Names of modules that do not depend on how a worker was started.

One class of one file has several values of ``__module__``: ``__main__`` if its file is the program, a name made by the
loader if it is a plug-in. What is sent to other processes, such as the type of an error, uses the names given here.
"""

from __future__ import annotations

import sys
from pathlib import PurePath

__all__ = ["name_package", "stable_module_name", "stable_type_name"]

_packages: dict[str, str] = {}
"""The stable names of packages that a loader has named, by their names in ``sys.modules``."""


def name_package(package: str, stable: str) -> None:
    """Let the modules of ``package`` be called ``stable`` and not ``package``; ``""``: by their own names alone."""
    _packages[package] = stable


def stable_type_name(cls: type) -> str:
    """Return ``module.qualname`` of a class, with the :func:`stable_module_name` of its module."""
    return f"{stable_module_name(cls.__module__)}.{cls.__qualname__}"


def stable_module_name(module: str) -> str:
    """Return the name that other processes are told of a module.

    - A module that was imported: its import name, such as ``app.services``. That includes the target of the command
      ``rabibridge run``, whether it is given as a module or as a file.
    - The program itself, ``__main__``: the module's name if it runs by ``python -m``, else the name of its file without
      ``.py``.
    - A plug-in file: the names of its folder and of the file, such as ``plugins.orders``.

    Args:
        module: the ``__module__`` of a class or function.
    """
    if module in ("__main__", "__mp_main__"):
        return _name_of_program(module)
    if _packages:
        package, rest = module, ""
        while package:
            stable = _packages.get(package)
            if stable is not None:
                return ".".join(part for part in (stable, rest) if part) or package
            package, _, last = package.rpartition(".")
            rest = f"{last}.{rest}" if rest else last
    return module


def _name_of_program(module: str) -> str:
    program = sys.modules.get(module)
    spec = getattr(program, "__spec__", None)
    if spec is not None and spec.name not in ("__main__", "__mp_main__"):
        return str(spec.name)
    file = getattr(program, "__file__", None)
    return PurePath(file).stem if isinstance(file, str) else module
