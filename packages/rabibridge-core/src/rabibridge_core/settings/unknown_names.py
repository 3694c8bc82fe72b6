"""Finds names in the configuration file and in the environment that no setting has.

In the file, they are errors: it is written for RabiBridge, and a key that is not read is a mistake. In the environment,
they are warnings: other programs have variables there, an older version does not know those of a newer one, and
Kubernetes adds variables for each Service whose name begins with "rabibridge".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rabibridge_core.settings.layers import PROFILE_TABLE
from rabibridge_core.settings.nearest import nearest, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rabibridge_core.settings.configuration_file import ConfigurationFile
    from rabibridge_core.settings.layers import Layer

__all__ = ["VARIABLES", "is_service_link", "unknown_keys", "unknown_tables", "unknown_variables"]

VARIABLES = "RABIBRIDGE_"
"""Prefix of the environment variables."""
_NO_KEYS = frozenset(
    f"{VARIABLES}{name}" for name in ("URL", "CONFIG", "PROFILE", "PASSWORD_FILE", "PASSPHRASE", "PASSPHRASE_FILE")
)
"""Variables that have no key in the file."""
_TESTS = "RABIBRIDGE_TEST_"
_SERVICE_LINKS = re.compile(r"\w*_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")
_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+:\d+")


def is_service_link(name: str, value: str) -> bool:
    """Tell whether Kubernetes has set a variable, for a Service, where a setting has the same name.

    A Service ``rabbitmq`` puts ``RABBITMQ_PORT=tcp://10.0.0.1:5672`` into every pod that starts after it.
    """
    return name.endswith("_PORT") and bool(_ADDRESS.fullmatch(value.strip()))


def unknown_tables(layer: Layer, known: Mapping[str, set[str]], file: ConfigurationFile) -> tuple[list[str], list[str]]:
    """Return what to say of the tables that do not exist: errors, and warnings.

    ``config/env.toml`` is a general name, which RabiBridge 0.1 has chosen: other programs may have tables there.
    """
    errors, warnings = [], []
    for table in layer.tables:
        if table in known or (table == PROFILE_TABLE and not layer.prefix):
            continue
        line = file.line_of((*layer.prefix, table))
        where = f"[{'.'.join((*layer.prefix, table))}] in {file.path}{f', line {line}' if line else ''}"
        if file.is_shared and not nearest(table, known):
            warnings.append(f"The table {where} is ignored: it is none of RabiBridge's")
        else:
            errors.append(f"unknown table {where}: {suggestion(table, known, 'the tables are')}")
    return errors, warnings


def unknown_keys(layer: Layer, known: Mapping[str, set[str]]) -> list[str]:
    """Return what to say of the keys that do not exist."""
    homes = {key: table for table, keys in known.items() for key in keys}
    faults = [
        f"unknown key {entry.origin}: {suggestion(key, homes, 'the keys are', VARIABLES)}"
        for key, entry in layer.loose.items()
    ]
    for table, entries in layer.tables.items():
        if table not in known:
            continue
        for key, entry in entries.items():
            if key in known[table]:
                continue
            home = homes.get(key)
            prefix = VARIABLES if table == "app" else f"{table.upper()}_"
            advice = (
                f"it belongs under [{'.'.join((*layer.prefix, home))}]"
                if home
                else suggestion(key, known[table], f"the keys of [{table}] are", prefix)
            )
            faults.append(f"unknown key {entry.origin}: {advice}")
    return faults


def unknown_variables(environ: Mapping[str, str], keys: set[str]) -> list[str]:
    """Return the names of variables that begin with ``RABIBRIDGE_`` and are no setting, with the nearest right name.

    Args:
        environ: the environment variables.
        keys: the keys that ``[app]`` may have.
    """
    right = _NO_KEYS | {VARIABLES + key for key in keys}
    stray = [
        name
        for name in sorted(environ)
        if name.startswith(VARIABLES)
        and name not in right
        and not name.startswith(_TESTS)
        and not _SERVICE_LINKS.fullmatch(name)
    ]
    near = {name: nearest(name, right, VARIABLES) for name in stray}
    return [f"{name} (did you mean {near[name]}?)" if near[name] else name for name in stray]
