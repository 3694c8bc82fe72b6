"""Print the ``dev`` dependency group of pyproject.toml, for a pip that has no ``--group`` yet."""

from __future__ import annotations

import tomllib
from pathlib import Path


def main() -> None:
    with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
        for requirement in tomllib.load(file)["dependency-groups"]["dev"]:
            print(requirement)


if __name__ == "__main__":
    main()
