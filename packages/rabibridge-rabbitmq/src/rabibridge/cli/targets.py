"""Loads what the command line names: modules, Python files and plug-in folders, or a server in one of them."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rabibridge_core._reporting.error_text import traceback_of
from rabibridge_core._reporting.user_frames import frames_of_user
from rabibridge_core.errors import ConfigurationError, RabiBridgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from rabibridge_core.rpc import RpcServer

__all__ = ["check_targets", "load_server", "load_target", "use_app_dir", "watched_files"]

_EXPECTED = "expected a module, a file that ends in .py, or a plug-in folder"


def use_app_dir(folder: str) -> None:
    """Import modules from this folder first."""
    if folder not in sys.path:
        sys.path.insert(0, folder)


def split_target(target: str) -> tuple[str, str]:
    """Return the module or file of a target, and the name of the server in it; ``""``: none is named."""
    where, separator, name = target.rpartition(":")
    if not separator or Path(target).exists() or not where or not name.replace(".", "").isidentifier():
        return target, ""
    return where, name


def check_targets(targets: Sequence[str], *, factory: bool) -> None:
    """Check what can be checked without importing anything.

    Raises:
        ConfigurationError: a server is named beside other targets, or ``--factory`` has nothing to call.
    """
    named = [target for target in targets if split_target(target)[1]]
    if named and len(targets) > 1:
        raise ConfigurationError(f"{named[0]} is a server of its own: it cannot be served together with other targets")
    if factory and not named:
        raise ConfigurationError("--factory needs the name of a function: module:function or file.py:function")


async def load_server(targets: Sequence[str], *, factory: bool, make: Callable[[], RpcServer]) -> RpcServer:
    """Return the server that is named, or one that serves what the targets offer.

    Args:
        targets: what the command line names.
        factory: whether the one target names a function that returns the server.
        make: makes the server of targets that name none.

    Raises:
        ConfigurationError: a target does not exist, cannot be imported or offers nothing.
    """
    check_targets(targets, factory=factory)
    where, name = split_target(targets[0])
    if name:
        return await _server_in(_module(where), name, targets[0], factory=factory)
    server = make()
    for target in targets:
        load_target(server, target)
    return server


async def _server_in(module: ModuleType, name: str, target: str, *, factory: bool) -> RpcServer:
    from rabibridge_core._api.server import RpcServer

    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ConfigurationError(
                f"{target}: there is no {name!r} in {module.__file__ or module.__name__}"
            ) from None
    if factory:
        if not callable(found):
            raise ConfigurationError(f"{target} is {type(found).__name__}, no function: leave --factory out")
        try:
            found = found()
            if inspect.isawaitable(found):
                found = await found
        except RabiBridgeError:
            raise
        except Exception as error:  # noqa: BLE001 - it is code of the user
            raise _cannot_load(target, error) from None
    if isinstance(found, RpcServer):
        return found
    what = f"returns {type(found).__name__}" if factory else f"is {type(found).__name__}"
    hint = "" if factory or not callable(found) else "; for a function that returns a server, add --factory"
    raise ConfigurationError(f"{target} {what}, expected an RMQServer or RpcServer{hint}")


def load_target(server: RpcServer, target: str) -> None:
    """Load the services of a plug-in folder, a Python file or a module.

    Raises:
        ConfigurationError: the target does not exist, cannot be imported, or contains no service.
    """
    path = Path(target)
    if path.is_dir():
        server.load_plugins(path)
        return
    before = len(server.services)
    server.load_services(vars(_module(target)))
    if len(server.services) == before:
        raise ConfigurationError(f"{target} contains no function decorated with @register_call")


def _module(target: str) -> ModuleType:
    try:
        return _import(target, Path(target))
    except RabiBridgeError:
        raise
    except Exception as error:  # noqa: BLE001 - it is code of the user
        raise _cannot_load(target, error) from None


def _cannot_load(target: str, error: Exception) -> ConfigurationError:
    trace = traceback_of(error, lambda: frames_of_user(error.__traceback__))
    return ConfigurationError(f"{target} cannot be loaded\n{trace.rstrip()}")


def _import(target: str, path: Path) -> ModuleType:
    if path.suffix != ".py" and os.sep not in target:
        try:
            return importlib.import_module(target)
        except ModuleNotFoundError as error:
            if error.name is None or not (target == error.name or target.startswith(error.name + ".")):
                raise  # the module exists, but a module that it imports does not
            raise ConfigurationError(f"no module named {target!r}: {_EXPECTED}") from None
    if path.suffix != ".py" or not path.is_file():
        raise ConfigurationError(f"no Python file {target!r}: {_EXPECTED}")
    from rabibridge_core._hosting.file_package import load_file

    return load_file(path)


def watched_files(targets: Sequence[str], app_dir: str) -> tuple[Path, ...]:
    """Return the folders whose changes concern the targets: of each file, of the package of each module, and plug-ins.

    Nothing is imported. A module that is not found is not watched: the workers say why it cannot be loaded.
    """
    found: dict[Path, None] = {}
    for target in targets:
        where = split_target(target)[0]
        path = Path(where)
        if path.is_dir():
            found[path.absolute()] = None
        elif path.suffix == ".py" or os.sep in where:
            found[path.absolute().parent] = None
        else:
            spec = PathFinder.find_spec(where.partition(".")[0], [app_dir, *sys.path])
            locations = list(spec.submodule_search_locations or ()) if spec is not None else []
            if spec is not None and spec.origin is not None and not locations:
                locations = [os.path.dirname(spec.origin)]
            found.update((Path(location).absolute(), None) for location in locations)
    return tuple(folder for folder in found if folder.is_dir())
