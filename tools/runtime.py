"""The distributions that users install: ours, with all extras, and what these need, as this environment has them."""

from __future__ import annotations

from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OWN = ("rabibridge-core", "rabibridge-rabbitmq", "rabibridge-redis", "rabibridge-telemetry", "rabibridge-testing")


def runtime_distributions() -> dict[str, tuple[Distribution, list[str]]]:
    """Return each distribution with the names of those that it needs, by name, in alphabetical order.

    Raises:
        PackageNotFoundError: one of ours is not installed.
    """
    found: dict[str, tuple[Distribution, list[str]]] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(name, extra) for name in OWN for extra in ("", *_extras(distribution(name)))]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        one = distribution(name)
        _, needs = found.setdefault(name, (one, []))
        for requirement in map(Requirement, one.requires or ()):
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            need = canonicalize_name(requirement.name)
            if not _is_installed(need):
                continue  # an extra that this environment does without
            if need not in needs:
                needs.append(need)
            waiting += [(need, further) for further in ("", *requirement.extras)]
    return {name: (one, sorted(needs)) for name, (one, needs) in sorted(found.items())}


def _extras(one: Distribution) -> list[str]:
    return one.metadata.get_all("Provides-Extra") or []


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
