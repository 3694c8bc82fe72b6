"""Print dependency groups of pyproject.toml, ``dev`` if none is named, for a pip that has no ``--group`` yet."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def main() -> None:
    with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
        groups = tomllib.load(file)["dependency-groups"]
    for group in sys.argv[1:] or ["dev"]:
        print(*groups[group], sep="\n")


if __name__ == "__main__":
    main()
