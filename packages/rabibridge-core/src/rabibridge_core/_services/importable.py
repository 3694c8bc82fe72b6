"""Where another process finds a function: the module to import, and the name in it."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from rabibridge_core._services.callables import place_of
from rabibridge_core.errors import RegistrationError

__all__ = ["ImportPath", "import_path", "is_importable"]

_MAIN = ("__main__", "__mp_main__")


@dataclass(frozen=True, slots=True)
class ImportPath:
    """Where a function or class is found.

    Attributes:
        module: the name of the module.
        name: the name in the module, with dots for what is in a class.
        folders: folders of files that :func:`rabibridge_core._hosting.file_package.package_of` has loaded as packages,
            and that the module is in.
    """

    module: str
    name: str
    folders: tuple[str, ...]

    def find(self, module: Any) -> Any:
        """Return what the name stands for in the module.

        Raises:
            AttributeError: nothing.
        """
        return functools.reduce(getattr, self.name.split("."), module)


def import_path(func: Any) -> ImportPath:
    """Return where a child process finds a function.

    Raises:
        RegistrationError: it would not find it, or would find something else.
    """
    module, name = getattr(func, "__module__", None), getattr(func, "__qualname__", None)
    if module in _MAIN:
        raise _unusable(
            func, "is defined in the program itself, which a child process does not run again: move it to a module"
        )
    if not isinstance(module, str) or not isinstance(name, str):
        raise _unusable(func, "is no function that a child process could import: define one in a module")
    if isinstance(getattr(func, "__self__", None), ModuleType):
        raise _unusable(func, "is a built-in function: define one in a module that calls it")
    if "<" in name:
        what = "is a lambda" if name.endswith("<lambda>") else "is defined inside another function"
        raise _unusable(func, f"{what}, where a child process cannot find it: define it at the top level of a module")
    if not isinstance(getattr(func, "__self__", type), type):
        raise _unusable(
            func,
            "is a method of an object that exists in this process alone: use a function, a static method or a class "
            "method",
        )
    path = ImportPath(module, name, _folders(module))
    try:
        found = path.find(sys.modules[module])
    except (KeyError, AttributeError):
        raise _unusable(
            func,
            f"is not {module}.{name}, which does not exist: define it at the top level of a module that is imported",
        ) from None
    if found != func:  # a class method is made anew for each access
        raise _unusable(
            func,
            f"is not what {module}.{name} stands for, where a child process would look for it: put @register_call on "
            "top of all decorators, and give every function a name of its own",
        )
    return path


def is_importable(found: Any) -> bool:
    """Tell whether another process finds a class or function."""
    try:
        import_path(found)
    except RegistrationError:
        return False
    return True


def _unusable(func: Any, why: str) -> RegistrationError:
    return RegistrationError(f"{place_of(func)} cannot be served with executor='process': it {why}")


def _folders(module: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    while module:
        loader = getattr(getattr(sys.modules.get(module), "__spec__", None), "loader", None)
        folder = getattr(loader, "rabibridge_folder", None)
        if isinstance(folder, str):
            found[folder] = None
        module = module.rpartition(".")[0]
    return tuple(found)
