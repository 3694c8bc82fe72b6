"""Print a dependency group of pyproject.toml, ``dev`` if none is named, for a pip that has no ``--group`` yet."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def main() -> None:
    group = sys.argv[1] if len(sys.argv) > 1 else "dev"
    with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
        for requirement in tomllib.load(file)["dependency-groups"][group]:
            print(requirement)


if __name__ == "__main__":
    main()
