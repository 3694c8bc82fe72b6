"""Loads services from the targets on the command line: modules, Python files and plug-in folders."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rabibridge_core._hosting.file_package import load_file
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from types import ModuleType

    from rabibridge.mq import RMQServer

__all__ = ["load_target"]


def load_target(server: RMQServer, target: str) -> None:
    """Load the services of a plug-in folder, a Python file or a module.

    The working directory is added to the import path.

    Raises:
        ConfigurationError: the target does not exist, or contains no service.
    """
    path = Path(target)
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    if path.is_dir():
        server.load_plugins(path)
        return
    before = len(server.services)
    server.load_services(vars(_module(target, path)))
    if len(server.services) == before:
        raise ConfigurationError(f"{target} contains no function decorated with @register_call")


def _module(target: str, path: Path) -> ModuleType:
    if path.suffix != ".py" and os.sep not in target:
        try:
            return importlib.import_module(target)
        except ModuleNotFoundError as error:
            if error.name is None or not (target == error.name or target.startswith(error.name + ".")):
                raise  # the module exists, but a module that it imports does not
            raise ConfigurationError(
                f"no module named {target!r}: expected a module, a file that ends in .py, or a plug-in folder"
            ) from error
    if path.suffix != ".py" or not path.is_file():
        raise ConfigurationError(
            f"no Python file {target!r}: expected a module, a file that ends in .py, or a plug-in folder"
        )
    return load_file(path)
