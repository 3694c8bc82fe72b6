"""Print constraints for pip that hold every direct dependency of the packages at its lower bound, extras included.

The bounds are those of ``packages/*/pyproject.toml``. Dependencies of dependencies are left to pip, except those that
warn today of what the lowest versions do with them. Where the tests
need a later version than a package does, as of pytest-asyncio, that one is held: there are no tests without it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[1]
PACKAGES = ROOT / "packages"
_OF_THEIR_TIME = "anyio<4.12", "click<8.3"
"""Later versions warn of what starlette and typer import at their lower bounds."""
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[[^]]*\])?\s*(?P<versions>[^;]*)(?P<marker>;.*)?")


def constraints(files: Iterable[Path], of_tests: Iterable[str] = ()) -> Iterator[str]:
    """Yield one constraint for each dependency, as ``msgpack==1.1``.

    Args:
        files: the pyproject.toml of each package.
        of_tests: what the tests require, whose lower bounds count where they are higher.

    Raises:
        ValueError: a dependency has no lower bound, or two packages have different ones.
    """
    found: dict[str, str] = {}
    projects = [tomllib.loads(file.read_text(encoding="utf-8"))["project"] for file in files]
    own = {project["name"] for project in projects}
    for project in projects:
        extras = project.get("optional-dependencies", {}).values()
        for requirement in [*project["dependencies"], *(each for extra in extras for each in extra)]:
            name, constraint = _lowest(requirement)
            if name not in own and found.setdefault(name, constraint) != constraint:
                raise ValueError(f"{name} has two lower bounds: {found[name]} and {constraint}")
    for requirement in of_tests:
        name, constraint = _lowest(requirement)
        if name in found and _version_in(constraint) > _version_in(found[name]):
            found[name] = constraint
    yield from found.values()


def _version_in(constraint: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", constraint.partition("==")[2].partition(";")[0])))


def requirements_of_tests() -> list[str]:
    """Return what the tests require, beside the packages."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        groups = tomllib.load(file)["dependency-groups"]
    return [*groups["dev"], *groups["environments"]]


def _lowest(requirement: str) -> tuple[str, str]:
    match = _REQUIREMENT.fullmatch(requirement)
    bound = re.search(r"[>=]=\s*([\w.]+)", match["versions"]) if match else None
    if match is None or bound is None:
        raise ValueError(f"{requirement!r} has no lower bound: write it as NAME>=VERSION or NAME==VERSION")
    return match["name"], f"{match['name']}=={bound[1]}{match['marker'] or ''}"


def main() -> int:
    try:
        held = constraints(sorted(PACKAGES.glob("*/pyproject.toml")), requirements_of_tests())
        print(*held, *_OF_THEIR_TIME, sep="\n")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
