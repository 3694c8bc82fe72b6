"""Checks a configuration file by itself, with all of its profiles, as far as it can be told from the file alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rabibridge_core.settings.configuration_file import FOUND_BY_NAME, flaw_of_path, read_file
from rabibridge_core.settings.faults import Faults
from rabibridge_core.settings.layers import profiles_of
from rabibridge_core.settings.loading import collect, known_keys, refuse_in_found_file
from rabibridge_core.settings.secret_reading import readable_password
from rabibridge_core.settings.sources import Sources
from rabibridge_core.settings.transports import installed_transports

if TYPE_CHECKING:
    from pathlib import Path

    from rabibridge_core.settings.configuration_file import ConfigurationFile
    from rabibridge_core.settings.transports import TransportCatalog

__all__ = ["FileCheck", "check_file"]


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What is to be said of a configuration file.

    Attributes:
        path: the file.
        profiles: the profiles that it has.
        faults: what is wrong with it.
        warnings: what is ignored, or depends on how the file is found.
    """

    path: Path
    profiles: list[str]
    faults: list[str]
    warnings: list[str]


def check_file(path: Path) -> FileCheck:
    """Check a file and all of its profiles.

    Settings that are missing are no faults: they can come from the environment. Files with secrets that the file names
    are not opened: they may exist elsewhere.

    Args:
        path: the file.
    """
    faults, warnings = Faults(), Faults()
    transports = installed_transports()
    known = known_keys(transports)
    profiles: list[str] = []
    if flaw := flaw_of_path(path):
        faults.add(f"the configuration file {path} {flaw}")
        return FileCheck(path, profiles, faults.texts, warnings.texts)
    with faults.noted():
        file = read_file(path, [table for table in known if table != "secret"], named=True)
        profiles = profiles_of(file)
        for profile in (None, *profiles):
            with faults.noted():
                _check(file, profile, transports, faults, warnings)
    return FileCheck(path, profiles, faults.texts, warnings.texts)


def _check(
    file: ConfigurationFile, profile: str | None, transports: TransportCatalog, faults: Faults, warnings: Faults
) -> None:
    known = known_keys(transports)
    sources = Sources({"profile": profile}, known, environ={}, file=file, read_secrets=False)
    for transport in transports:
        if not transport.variable_prefix:
            continue
        found = collect({}, require_broker=False, transport_name=transport.name, sources=sources)
        for text in found.faults.texts:
            faults.add(text)
        for text in found.warnings:
            warnings.add(text)
        password = sources.key(transport.name, transport.variable("password"))
        if password:
            with faults.noted():
                readable_password(password, sources, transport)
    for text in sources.warnings:
        warnings.add(text)
    if file.path is not None and file.path.name in FOUND_BY_NAME:
        by_chance = Sources({"profile": profile}, known, environ={}, file=replace(file, named=False))
        refuse_in_found_file(by_chance, transports, warnings)
