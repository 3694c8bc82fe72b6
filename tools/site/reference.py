"""The pages of the API reference: one for each public module, written from its docstrings."""

from __future__ import annotations

import inspect
from importlib import import_module

from tools.site.docstrings import plain

GROUPS = {
    "Programs": (
        "rabibridge",
        "rabibridge.sync",
        "rabibridge.errors",
        "rabibridge.mq",
        "rabibridge.settings",
    ),
    "Gateways and dashboard": (
        "rabibridge.contrib.fastapi",
        "rabibridge.contrib.starlette",
        "rabibridge.contrib.asgi",
        "rabibridge.contrib.problems",
        "rabibridge.contrib.events",
        "rabibridge.dashboard",
    ),
    "Tests": (
        "rabibridge_testing",
        "rabibridge_testing.strategies",
        "rabibridge_testing.servers",
        "rabibridge_testing.faults",
        "rabibridge_testing.memory",
        "rabibridge_testing.conformance",
    ),
    "Telemetry": (
        "rabibridge_telemetry",
        "rabibridge_telemetry.opentelemetry",
        "rabibridge_telemetry.prometheus",
        "rabibridge_telemetry.health_server",
    ),
    "Plug-ins and transports": (
        "rabibridge_core",
        "rabibridge_core.rpc",
        "rabibridge_core.schemas",
        "rabibridge_core.connection",
        "rabibridge_core.errors",
        "rabibridge_core.introspection",
        "rabibridge_core.operations",
        "rabibridge_core.plugins",
        "rabibridge_core.settings",
        "rabibridge_core.transport",
        "rabibridge_redis",
        "rabibridge_redis.settings",
    ),
}
"""The public modules, by what they are for."""

PLUGINS = (
    "rabibridge.plugin",
    "rabibridge_redis.plugin",
    "rabibridge_telemetry.plugin",
    "rabibridge_testing.plugin",
    "rabibridge.exceptions",
)
"""Public modules without a page: entry points, which programs do not import, and names of version 0.1."""


def pages() -> dict[str, str]:
    """Return the pages, by their place on the site. What several modules export is described once, and named there."""
    described: dict[int, str] = {}
    found: dict[str, str] = {}
    for modules in GROUPS.values():
        for module in modules:
            found[place(module)] = _page(module, described)
    return found


def place(module: str) -> str:
    """Return where the page of a module is on the site."""
    return f"reference/{module}.md"


def _page(name: str, described: dict[int, str]) -> str:
    module = import_module(name)
    own: list[str] = []
    others: list[str] = []
    for public in sorted(module.__all__, key=lambda one: (one.startswith("__"), one.lower())):
        value = getattr(module, public)
        full = f"{name}.{public}"
        if described.setdefault(id(value), full) != full and not isinstance(value, (str, int, float)):
            others.append(described[id(value)])
        elif public != "__version__":
            own.append(full)
    text = f"# {name}\n\n{plain(inspect.getdoc(module) or '')}\n"
    if others:
        links = ", ".join(f"[`{full.rpartition('.')[2]}`][{full}]" for full in others)
        text += f"\nDescribed on other pages: {links}.\n"
    return text + "".join(f"\n::: {full}\n" for full in own)


def navigation() -> list[dict[str, list[dict[str, str]]]]:
    """Return their part of the navigation."""
    return [{group: [{module: place(module)} for module in modules]} for group, modules in GROUPS.items()]
