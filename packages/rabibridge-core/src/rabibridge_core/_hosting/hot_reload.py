"""Changes the services of a running server when the files of their plug-in folder change."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rabibridge_core._hosting.plugin_folder import names_of
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core._hosting.plugin_folder import Changes, PluginFolder
    from rabibridge_core._server.server import Server
    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["watch"]

_log = get_logger(__name__)
_POLL_INTERVAL_MS = 2000
"""How often to check the folder in any case, in milliseconds: file system events can be lost, and those of packages in
the folder are not asked for."""


async def watch(server: Server, folder: PluginFolder) -> None:
    """Change the services of a running server whenever the folder changes. Runs until cancelled."""
    refused: set[str] = set()
    async for changes in _changes(folder):
        for name in changes.added:
            if name in server.registry:
                refused.add(name)
                _log.error(
                    "the service %r of %s is ignored: the server has another one of that name", name, folder.path,
                    extra=log_fields("plugin_folder.duplicate_service", service=name, path=folder.path),
                )  # fmt: skip
        removed = [name for name in changes.removed if name not in refused]
        services = [schema for schema in changes.services if schema.name not in refused]
        try:
            await server.change(removed, services)
        except Exception:  # noqa: BLE001 - whatever it is, the next change must be seen
            _log.exception(
                "the services of %s could not be changed", folder.path,
                extra=log_fields("plugin_folder.change_failed", path=folder.path),
            )  # fmt: skip
        _tell(server, folder, removed, services)
        refused.difference_update(changes.removed)


def _tell(server: Server, folder: PluginFolder, removed: list[str], services: list[ServiceSchema]) -> None:
    """Log what serves now, after what was loaded and what was refused."""
    new: list[ServiceSchema] = []
    old: list[ServiceSchema] = []
    missing: list[ServiceSchema] = []
    for schema in services:
        running = server.services.runners.get(schema.name)
        (missing if running is None else new if running.schema.func_ptr is schema.func_ptr else old).append(schema)
    parts = [f"the new version of {names_of(new)}"] if new else []
    parts += [f"still the previous version of {names_of(old)}"] if old else []
    parts += [f"not {names_of(missing)}, which cannot be started"] if missing else []
    parts += [f"no longer {', '.join(removed)}"] if removed else []
    if parts:
        level = logging.WARNING if old or missing else logging.INFO
        _log.log(
            level, "%s: served now: %s", folder.path, "; ".join(parts),
            extra=log_fields("plugin_folder.changed", path=folder.path),
        )  # fmt: skip


async def _changes(folder: PluginFolder) -> AsyncIterator[Changes]:
    from watchfiles import awatch

    watching = awatch(folder.path, recursive=False, rust_timeout=_POLL_INTERVAL_MS, yield_on_timeout=True)
    async for _ in watching:
        changes = folder.update()
        if changes.removed or changes.services:
            yield changes
