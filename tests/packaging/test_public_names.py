"""The public modules and their names, compared with a stored list.

A name in the list is a promise to users. ``python -m tests.packaging.test_public_names`` writes the list anew.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.packaging.conftest import Member

STORED = Path(__file__).with_name("public_names.txt")
MODULES = (
    "rabibridge",
    "rabibridge.contrib.asgi",
    "rabibridge.contrib.events",
    "rabibridge.contrib.fastapi",
    "rabibridge.contrib.problems",
    "rabibridge.contrib.starlette",
    "rabibridge.dashboard",
    "rabibridge.errors",
    "rabibridge.exceptions",
    "rabibridge.mq",
    "rabibridge.sync",
    "rabibridge.plugin",
    "rabibridge.settings",
    "rabibridge_core",
    "rabibridge_core.connection",
    "rabibridge_core.errors",
    "rabibridge_core.introspection",
    "rabibridge_core.operations",
    "rabibridge_core.plugins",
    "rabibridge_core.rpc",
    "rabibridge_core.schemas",
    "rabibridge_core.settings",
    "rabibridge_core.transport",
    "rabibridge_redis",
    "rabibridge_redis.plugin",
    "rabibridge_redis.settings",
    "rabibridge_telemetry",
    "rabibridge_telemetry.opentelemetry",
    "rabibridge_telemetry.plugin",
    "rabibridge_telemetry.health_server",
    "rabibridge_telemetry.prometheus",
    "rabibridge_testing",
    "rabibridge_testing.conformance",
    "rabibridge_testing.faults",
    "rabibridge_testing.memory",
    "rabibridge_testing.plugin",
    "rabibridge_testing.servers",
    "rabibridge_testing.strategies",
)
NOT_PUBLIC = {"rabibridge.cli"}
"""Modules without an underscore that are not for import: the command is public, its code is not."""
UPDATE = (
    "the public names differ from tests/packaging/public_names.txt: a name that is gone breaks programs of users. If "
    "this is meant, run `python -m tests.packaging.test_public_names`, commit the list, and say so in CHANGELOG.md"
)


def current_names() -> list[str]:
    return [f"{module}:{name}" for module in MODULES for name in sorted(importlib.import_module(module).__all__)]


def test_public_names_are_those_of_the_list() -> None:
    stored, current = set(STORED.read_text(encoding="utf-8").split()), set(current_names())
    assert {"gone": sorted(stored - current), "new": sorted(current - stored)} == {"gone": [], "new": []}, UPDATE


def test_every_name_that_is_announced_exists() -> None:
    names = (line.split(":") for line in current_names())
    assert [f"{module}:{name}" for module, name in names if not hasattr(importlib.import_module(module), name)] == []


def test_every_module_is_private_or_in_the_list(members: dict[str, Member]) -> None:
    found = set()
    for member in members.values():
        for path in (member.folder / "src" / member.import_name).iterdir():
            if path.suffix == ".py" or (path / "__init__.py").is_file():
                found.add(f"{member.import_name}.{path.stem}")
    public = {name for name in found if not name.rpartition(".")[2].startswith("_")}
    assert public == {".".join(name.split(".")[:2]) for name in MODULES if "." in name} | NOT_PUBLIC, (
        "a new module is private, and then in a package whose name begins with an underscore, or it is public, and "
        "then listed in MODULES of this test"
    )


if __name__ == "__main__":
    STORED.write_text("\n".join(current_names()) + "\n", encoding="utf-8")
